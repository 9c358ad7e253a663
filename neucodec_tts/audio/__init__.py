"""Recordings in and out: read a file, bring any waveform to what the codec wants, write a file.

Everything the codec hears passes `as_waveform`, so whatever is wrong with a recording is said here,
with its name and the mend, and not by a layer of the network.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from neucodec_tts.audio.resampling import resample
from neucodec_tts.errors import AudioError
from neucodec_tts.files import atomic_path, check_writable

if TYPE_CHECKING:
    import soundfile
    import torch

logger = logging.getLogger(__name__)

#: What counts as one recording: a file, or an array, tensor or list of floats (these need a sample rate).
Audio: TypeAlias = "str | os.PathLike[str] | np.ndarray | torch.Tensor | list[float]"

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000  # Hz; outside it is a mistake, not a recording
MAX_CHANNELS = 8
FFMPEG_CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,nut,ogg,"
    "rm,tta,voc,w64,wav,wv"
)
"""What ffmpeg may take a file for: containers of sound that name no other file, as play lists do."""
# Float audio lives in [-1, 1] and overshoots a little after resampling or mixing; 16-bit numbers turned to
# floats without scaling reach into the thousands. What lies in between is taken as it is, as upstream does.
_MAX_AMPLITUDE = 8.0
_READ_FRAMES = 1_000_000  # frames read at a time, so that a long many-channel file is never in memory whole
_INTEGER_SCALE = {"uint8": 128.0, "int16": 32768.0, "int32": 2147483648.0}
_WRITE_FORMATS = {  # suffix -> (libsndfile format, subtype)
    "": ("WAV", "PCM_16"),
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}


def load_audio(path: str | os.PathLike[str]) -> tuple[np.ndarray, int]:
    """Read a recording and mix it to mono (the mean of its channels).

    libsndfile reads WAV, FLAC, OGG, Opus, MP3, AIFF, AU, CAF and more; anything else goes through ``ffmpeg``
    if that program is installed. A file that ends before its header says is refused: half a recording would
    quietly become half an utterance. (A header that leaves the length open, as a streaming writer leaves it,
    is fine, and OGG has no length to compare with.)

    Args:
        path: the file.

    Returns:
        float32 array (samples,), nominally in [-1, 1], and its sample rate in Hz.

    Raises:
        AudioError: the file is missing, not readable, empty, cut short, or not a recording.
    """
    import soundfile

    file = Path(path)
    _check_readable(file)
    if file.suffix.lower() == ".raw":
        raise AudioError(
            f"{file}: raw samples without a header cannot be read as a file; read them into an array "
            "(numpy.fromfile) and give it with its sample_rate, or convert the file to WAV"
        )
    try:
        with soundfile.SoundFile(str(file)) as recording:
            samples, rate = _read_mono(recording, file)
    except soundfile.LibsndfileError as problem:
        samples, rate = _load_through_ffmpeg(file, problem)
    if samples.size == 0:
        raise AudioError(f"{file}: the file is a recording of zero length; leave it out or record it again")
    return samples, rate


def as_waveform(
    audio: Audio,
    sample_rate: int | float | None = None,
    *,
    target_rate: int = 16_000,
    name: str = "audio",
) -> torch.Tensor:
    """Turn any recording into a mono float32 waveform at `target_rate`.

    Args:
        audio: a file; or an array, tensor (any device) or list of floats, as one of (samples,),
            (channels, samples), (samples, channels). Of two axes the shorter one is the channels, the first if
            they are equal; there may be at most 8. Floats of any width are nominally in [-1, 1]; int16 and
            int32 are scaled by their range, uint8 is centred at 128 as in WAV files.
        sample_rate: in Hz. Needed for everything but a file; with a file it must be the file's own.
        target_rate: in Hz.
        name: what to call this recording in an error; a file goes by its path.

    Returns:
        float32 tensor (samples,) on the CPU; it may share memory with `audio`. Channels are mixed by their
        mean, then resampled as upstream neucodec does (see `neucodec_tts.audio.resampling`).

    Raises:
        AudioError: what `load_audio` raises, or the samples are missing, of another type or shape, not
            finite, far beyond [-1, 1], or the sample rate is missing or impossible.
    """
    import torch

    if isinstance(audio, (str, os.PathLike)):
        name = os.fspath(audio)
        samples, rate = load_audio(audio)
        rate = _checked_rate(rate, name)
        if sample_rate is not None and _checked_rate(sample_rate, name) != rate:
            raise AudioError(
                f"{name}: the file's sample rate is {rate} Hz and not the {sample_rate} Hz given as "
                "sample_rate; leave sample_rate out for files"
            )
    else:
        samples = _as_array(audio, name)
        if sample_rate is None:
            raise AudioError(f"{name}: an array does not say its sample rate; give sample_rate=... in Hz")
        rate = _checked_rate(sample_rate, name)
    _check_values(samples, name, rate)
    samples = _mono(samples, name)
    waveform = torch.from_numpy(np.require(samples, dtype=np.float32, requirements=["C", "W"]))
    return resample(waveform, rate, target_rate)


def write_audio(
    path: str | os.PathLike[str], waveform: np.ndarray | torch.Tensor | list[float], sample_rate: int
) -> None:
    """Write a mono recording; the suffix chooses the format (.wav or none, .flac, .ogg, .opus, .mp3).

    WAV and FLAC get 16-bit samples. Samples beyond [-1, 1] are clipped, with a warning in the log. The file
    appears under its name when it is complete, never before.

    Args:
        path: the file to write; its folder must exist.
        waveform: floats (samples,) or (1, samples).
        sample_rate: in Hz.

    Raises:
        AudioError: the samples cannot be written (type, shape, NaN), the suffix is unknown, or the folder is
            missing or not writable.
    """
    import soundfile

    file = Path(path)
    form, subtype = _write_format(file)
    samples = _as_array(waveform, f"the waveform for {file}")
    if samples.ndim == 2 and samples.shape[0] == 1:
        samples = samples[0]
    if samples.ndim != 1:
        raise AudioError(f"{file}: a mono waveform (samples,) is what can be written, not {samples.shape}")
    rate = _checked_rate(sample_rate, str(file))
    _check_values(samples, f"the waveform for {file}", rate)
    beyond = int(np.count_nonzero(np.abs(samples) > 1.0))
    if beyond:
        logger.warning("%s: %d of %d samples were beyond [-1, 1] and are clipped", file, beyond, samples.size)
        samples = np.clip(samples, -1.0, 1.0)
    with atomic_path(file, AudioError) as temporary:
        try:
            with soundfile.SoundFile(temporary, "w", rate, 1, subtype=subtype, format=form) as output:
                # In pieces: libsndfile's Vorbis encoder overflows the stack on a long signal given at once.
                for start in range(0, samples.size, _READ_FRAMES // 20):
                    output.write(samples[start : start + _READ_FRAMES // 20])
        except (soundfile.LibsndfileError, ValueError, OSError) as problem:
            raise AudioError(
                f"{file}: {form}/{subtype} cannot be written at {rate} Hz ({problem}); write .wav instead"
            ) from problem


def check_output(path: str | os.PathLike[str]) -> None:
    """Check that `write_audio` can write `path`, before long work is done for it.

    Raises:
        AudioError: the suffix is unknown, or the folder is missing or not writable.
    """
    _write_format(Path(path))
    check_writable(path, AudioError)


def _write_format(file: Path) -> tuple[str, str]:
    """libsndfile's format and subtype for a file's suffix."""
    try:
        return _WRITE_FORMATS[file.suffix.lower()]
    except KeyError:
        known = ", ".join(suffix for suffix in _WRITE_FORMATS if suffix)
        raise AudioError(f"{file}: cannot write {file.suffix}; end the name in one of {known}") from None


def _check_readable(file: Path) -> None:
    try:
        found = os.stat(file)
        if stat.S_ISDIR(found.st_mode):
            raise AudioError(f"{file}: this is a folder, not a recording; name the files in it")
        if not stat.S_ISREG(found.st_mode):  # looked at before it is opened: opening a pipe would wait
            raise AudioError(f"{file}: this is not a plain file; save the recording to one first")
        with open(file, "rb"):
            pass
    except FileNotFoundError as problem:
        raise AudioError(f"{file}: no such file; check the path (now in {Path.cwd()})") from problem
    except PermissionError as problem:
        raise AudioError(f"{file}: no permission to read it; change its mode or its owner") from problem
    except OSError as problem:
        raise AudioError(f"{file}: cannot be opened ({problem.strerror or problem})") from problem
    if found.st_size == 0:
        raise AudioError(f"{file}: the file is empty (0 bytes); copy or download it again")


def _read_mono(recording: soundfile.SoundFile, file: Path) -> tuple[np.ndarray, int]:
    """Read an open file in blocks: float32 (samples,), and its rate."""
    _check_promised_bytes(recording, file)
    blocks = []
    # Not recording.blocks(): it believes the header and fills up with rubbish what a damaged file lacks.
    while (block := recording.read(_READ_FRAMES, dtype="float32", always_2d=True)).shape[0]:
        blocks.append(block[:, 0].copy() if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32))
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    # libsndfile only estimates the length of an MP3, to within the encoder's delay of two frames.
    tolerance = 2 * 1152 if recording.format.startswith("MP") else 0
    length_known = recording.frames < 2**62  # a FLAC stream whose header leaves it open says 2**63 - 1
    if length_known and 0 < samples.size < recording.frames - tolerance:
        raise _truncated(file, samples.size / recording.samplerate, recording.frames / recording.samplerate)
    return samples, int(recording.samplerate)


def _check_promised_bytes(recording: soundfile.SoundFile, file: Path) -> None:
    """Compare the length of the sample data in the header of WAV, AIFF, AU and W64 files with what is there.

    libsndfile silently goes by the file's true length; its log has both: ``data : 96000 (should be 63985)``.
    """
    found = re.search(
        r"^\s*(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)", recording.extra_info, re.MULTILINE
    )
    if not found:
        return
    promised, present = int(found[1]), int(found[2])
    # Writers that stream cannot know the length and leave the largest number there is, or a little less.
    left_open = any(0 <= limit - promised <= 4096 for limit in (2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1))
    if promised > present > 0 and not left_open:
        seconds = recording.frames / recording.samplerate
        raise _truncated(file, seconds, seconds * promised / present)


def _truncated(file: Path, present: float, promised: float) -> AudioError:
    return AudioError(
        f"{file}: the file is cut short, {present:.2f} of {promised:.2f} s are there; copy or download it "
        f"again, or, to keep what is there, convert it: ffmpeg -i {file.name} mended.wav"
    )


def _load_through_ffmpeg(file: Path, problem: Exception) -> tuple[np.ndarray, int]:
    """Read what libsndfile cannot, by way of a temporary WAV file."""
    import soundfile

    said = str(problem).split(": ", 1)[-1].rstrip(". ")
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(
            f"{file}: not a recording that libsndfile can read ({said}); install ffmpeg so that other formats "
            "can be read, or convert the file to WAV or FLAC"
        ) from problem
    with tempfile.TemporaryDirectory(prefix="neucodec-tts-") as folder:
        converted = Path(folder) / "converted.wav"
        # This file only, nothing that it might name. Errors in the data end it.
        command = [program, "-nostdin", "-v", "error", "-xerror", "-protocol_whitelist", "file"]
        command += ["-format_whitelist", FFMPEG_CONTAINERS]
        command += [
            "-i",
            f"file:{file}",
            "-map",
            "0:a:0",
            "-c:a",
            "pcm_f32le",
            "-rf64",
            "auto",
            f"file:{converted}",
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        except OSError as error:
            raise AudioError(f"{file}: libsndfile says: {said}; ffmpeg does not start: {error}") from error
        if done.returncode != 0 or not converted.exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise AudioError(
                f"{file}: not a recording, or a damaged one (libsndfile: {said}; ffmpeg: "
                f"{lines[-1].strip() if lines else 'no audio found'}); convert it to WAV, or leave it out"
            ) from problem
        try:
            with soundfile.SoundFile(str(converted)) as recording:
                return _read_mono(recording, file)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{file}: no samples could be decoded; convert it to WAV or FLAC") from error


def _as_array(audio: object, name: str) -> np.ndarray:
    """An array, tensor or list as float32 or float64 numbers, scaled by the range of an integer type."""
    import torch

    if isinstance(audio, torch.Tensor):
        tensor = audio.detach().cpu()
        # NumPy has no bfloat16.
        audio = tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
    elif isinstance(audio, (list, tuple)):
        try:
            audio = np.asarray(audio)
        except ValueError as problem:
            raise AudioError(f"{name}: a list of numbers of equal rows was expected ({problem})") from problem
    if not isinstance(audio, np.ndarray):
        raise AudioError(
            f"{name}: a file, an array, a tensor or a list of floats was expected, not {type(audio).__name__}"
        )
    if audio.size == 0:
        raise AudioError(f"{name}: there are no samples in it (shape {audio.shape}); leave it out")
    kind = audio.dtype.name
    if kind in _INTEGER_SCALE:
        scale = _INTEGER_SCALE[kind]
        return (audio.astype(np.float32) - (128.0 if kind == "uint8" else 0.0)) / np.float32(scale)
    if audio.dtype.kind != "f":
        raise AudioError(
            f"{name}: samples of type {kind} cannot be read as audio; convert them to float32 in [-1, 1] "
            "(int16, int32 and uint8 are scaled by themselves)"
        )
    return audio.astype(np.float32) if kind == "float16" else audio


def _checked_rate(sample_rate: object, name: str) -> int:
    """The sample rate as a whole number of Hz in the range of recordings."""
    if isinstance(sample_rate, (bool, np.bool_)) or not isinstance(sample_rate, (int, float, np.number)):
        raise AudioError(f"{name}: sample_rate must be a number in Hz, not {sample_rate!r}")
    if not math.isfinite(sample_rate) or int(sample_rate) != sample_rate:
        raise AudioError(f"{name}: sample_rate must be a whole number of Hz, not {sample_rate!r}")
    rate = int(sample_rate)
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise AudioError(
            f"{name}: a sample rate of {rate} Hz is not one of a recording ({MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE}); give it in Hz (16 kHz is 16000), and check the file's header"
        )
    return rate


def _check_values(samples: np.ndarray, name: str, rate: int) -> None:
    """Refuse NaN, infinity, and numbers that are not in the unit of float audio; any shape."""
    low, high = float(samples.min()), float(samples.max())  # NaN anywhere makes both NaN
    if not (math.isfinite(low) and math.isfinite(high)):
        first = np.argwhere(~np.isfinite(samples))[0]
        time = int(first[int(np.argmax(samples.shape))])
        where = f"sample {time} ({time / rate:.3f} s)"
        if samples.ndim > 1:
            where += f" of channel {int(first[1 - int(np.argmax(samples.shape))])}"
        raise AudioError(
            f"{name}: {where} is {samples[tuple(first)]}; audio must be finite: repair it or leave it out"
        )
    peak = max(-low, high)
    if peak > _MAX_AMPLITUDE:
        raise AudioError(
            f"{name}: samples reach {peak:.6g}, but float audio lives in [-1, 1]; divide it by its full scale "
            "(32768 for 16-bit numbers)"
        )


def _mono(samples: np.ndarray, name: str) -> np.ndarray:
    """(samples,), (channels, samples) or (samples, channels) to (samples,) by the mean."""
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2:
        raise AudioError(
            f"{name}: one recording has the shape (samples,), (channels, samples) or (samples, channels), "
            f"not {samples.shape}; give several recordings as a list"
        )
    axis = 0 if samples.shape[0] <= samples.shape[1] else 1
    if samples.shape[axis] > MAX_CHANNELS:
        raise AudioError(
            f"{name}: the shape {samples.shape} would be {samples.shape[axis]} channels, more than "
            f"{MAX_CHANNELS}; give one recording as (samples,), several as a list"
        )
    mixed: np.ndarray = samples.mean(axis=axis, dtype=np.result_type(samples.dtype, np.float32))
    return mixed
