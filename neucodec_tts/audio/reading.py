"""Reading recordings: one reader with one rule for files and for bytes, whoever asks.

libsndfile reads WAV, FLAC, OGG, Opus, MP3, AIFF, AU, CAF and more. Anything else goes through ffmpeg, if it is
installed. A recording that ends before its header says is refused: half a recording would quietly become half an
utterance.
"""

from __future__ import annotations

import codecs
import logging
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from neucodec_tts.audio.channels import Mixer, warn_of_opposite_channels
from neucodec_tts.audio.containers import Recordings, find_recordings
from neucodec_tts.audio.ffmpeg import NoFfmpegError, convert_to_wav
from neucodec_tts.audio.mp3 import may_be_mp3, quiet_decoder
from neucodec_tts.audio.splice import SplicedFile, opened_buffer
from neucodec_tts.errors import AudioError
from neucodec_tts.files import native

if TYPE_CHECKING:
    import soundfile

logger = logging.getLogger(__name__)

AUDIO_SUFFIXES = frozenset(
    (
        *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64"),
        *(".rf64", ".sph"),
        *(".m4a", ".mp4", ".aac", ".wma", ".webm", ".mka", ".amr"),  # through ffmpeg
    )
)
"""Endings of files that are taken for recordings in a folder. A file that is named may have any ending."""
MPEG_SUFFIXES = frozenset((".mp3", ".mp2", ".mp1", ".mpga", ".mpa"))
"""Files called so go to mpg123, which prints what it thinks of them."""
# In the log of libsndfile: two lengths in bytes, or the samples that a header promises.
_TWO_LENGTHS = r"^\s*(?:(?:data|SSND|BODY|Data Size|riff)\s*:|Data length) (\d+) \(?should be (\d+)"
_SAMPLES_IN_LOG = {
    "AVR": r"Frames\s*: (\d+)",
    "MPC2K": r"Frames\s*: (\d+)",
    "MAT4": r"Cols\s*: (\d+)",
    "MAT5": r"Cols\s*: (\d+)",
}
_VOC_HEADER = 30  # bytes of a file before the first sample of its block, less what the block counts
_BLOCK_SAMPLES = (
    2**22
)  # read at a time, of all channels: a long file of many channels is never in memory whole
_MOST_EXPECTED = 2**30  # samples that a file's header is believed before they are read
MOST_CHANNELS = 64  # of a file; arrays of microphones have so many
ROUNDED_SECONDS = 0.1  # by which a part may end beyond its file, as corpora round their times


class AudioTooLongError(AudioError):
    """A recording is longer than asked for. It was not decoded further than that.

    Attributes:
        seconds: its length, or at least that much if it does not say its length.
    """

    def __init__(self, name: str, seconds: float, limit: float) -> None:
        super().__init__(f"{name}: {seconds:.3f} s, more than {limit:g} s")
        self.seconds = seconds


@dataclass(frozen=True)
class _Wanted:
    """The part of a recording that is to be read, and its greatest length, in seconds."""

    name: str
    start: float
    end: float | None
    limit: float | None

    @property
    def whole(self) -> bool:
        return self.start == 0.0 and self.end is None

    def check(self, seconds: float) -> None:
        if self.limit is not None and seconds > self.limit:
            raise AudioTooLongError(self.name, seconds, self.limit)


def load_audio(
    source: str | os.PathLike[str] | bytes,
    *,
    start: float = 0.0,
    end: float | None = None,
    max_seconds: float | None = None,
    name: str | None = None,
    timeout: float | None = None,
) -> tuple[np.ndarray, int]:
    """Read a recording, or a part of one, and mix it to mono (see `neucodec_tts.audio.channels`).

    Args:
        source: a file, or the content of one.
        start: the beginning of the part, in seconds.
        end: its end, in seconds; None is the end of the recording. An end up to 0.1 s beyond it counts as its end.
        max_seconds: longer audio is refused before it is decoded; None takes any length.
        name: its name in errors; a file goes by its path.
        timeout: seconds to wait for ffmpeg, for formats that need it; None waits for ever.

    Returns:
        float32 array (samples,), nominally in [-1, 1], and its sample rate in Hz.

    Raises:
        AudioTooLongError: it is longer than `max_seconds`.
        AudioError: it is missing, not readable, empty, cut short, has no such part, or is not a recording.
    """
    import soundfile

    if name is None:
        name = "audio" if isinstance(source, bytes) else os.fspath(source)
    wanted = _Wanted(name, start, end, max_seconds)
    if end is not None:
        wanted.check(end - start)
    if not isinstance(source, bytes):
        check_readable(Path(source), name)
    elif not source:
        raise AudioError(f"{name}: the file is empty (0 bytes); copy or download it again")
    loud = not isinstance(source, bytes) and Path(source).suffix.lower() in MPEG_SUFFIXES
    with opened_buffer(source) as data, quiet_decoder() if loud or may_be_mp3(data) else nullcontext():
        found = find_recordings(data, name)
        if found is not None:
            samples, rate = _read_recordings(found, wanted, timeout)
        else:
            whole = SplicedFile([(source, 0, len(source))]) if isinstance(source, bytes) else native(source)
            try:
                with soundfile.SoundFile(whole) as file:
                    samples, rate = _read(file, wanted)
            except soundfile.LibsndfileError as problem:
                samples, rate = _read_through_ffmpeg(source, wanted, timeout, problem)
    if samples.size == 0:
        raise AudioError(f"{name}: the file is a recording of zero length; leave it out or record it again")
    return samples, rate


def _read_recordings(found: Recordings, wanted: _Wanted, timeout: float | None) -> tuple[np.ndarray, int]:
    """Read what was found in a file, several recordings as one: float32 (samples,), and their rate in Hz."""
    import soundfile

    for note in found.notes:
        logger.warning("%s: %s", wanted.name, note)
    parts, rates = [], []
    everything = wanted if len(found.parts) == 1 else replace(wanted, start=0.0, end=None)
    for part in found.parts:
        try:
            quiet = quiet_decoder() if part.lead else nullcontext()
            with quiet, soundfile.SoundFile(SplicedFile(part.pieces)) as file:
                samples, rate = _read(file, everything, part.lead)
        except soundfile.LibsndfileError as problem:
            samples, rate = _read_through_ffmpeg(
                SplicedFile(part.pieces).read(), everything, timeout, problem
            )
        parts.append(samples)
        rates.append(rate)
    if len(set(rates)) > 1:
        raise AudioError(
            f"{wanted.name}: it is joined from recordings of {', '.join(map(str, rates))} Hz; split it, or convert "
            "each to one rate before joining them"
        )
    samples = np.concatenate(parts)
    if len(parts) > 1:
        logger.warning("%s: it is joined from %d recordings, which are read as one", wanted.name, len(parts))
        if wanted.whole:
            wanted.check(samples.size / rates[0])
        else:
            first, last = _bounds(wanted, samples.size, rates[0])
            samples = samples[first:last]
    return samples, rates[0]


def check_readable(file: Path, name: str) -> None:
    """Refuse what cannot be opened as a recording, before a decoder sees it."""
    try:
        found = os.stat(file)
        if stat.S_ISDIR(found.st_mode):
            raise AudioError(f"{name}: this is a folder, not a recording; name the files in it")
        if not stat.S_ISREG(found.st_mode):  # looked at before it is opened: opening a pipe would wait
            raise AudioError(f"{name}: this is not a plain file; save the recording to one first")
        with open(file, "rb"):
            pass
    except FileNotFoundError as problem:
        here = "" if file.is_absolute() or name != str(file) else f" (now in {Path.cwd()})"
        raise AudioError(f"{name}: no such file; check the path{here}") from problem
    except PermissionError as problem:
        raise AudioError(f"{name}: no permission to read it; change its mode or its owner") from problem
    except OSError as problem:
        raise AudioError(f"{name}: cannot be opened ({problem.strerror or problem})") from problem
    if found.st_size == 0:
        raise AudioError(f"{name}: the file is empty (0 bytes); copy or download it again")
    if file.suffix.lower() == ".raw":
        raise AudioError(
            f"{name}: raw samples without a header cannot be read as a file; read them into an array "
            "(numpy.fromfile) and give it with its sample_rate, or convert the file to WAV"
        )


def _read(file: soundfile.SoundFile, wanted: _Wanted, lead: int = 0) -> tuple[np.ndarray, int]:
    """Read an open file in blocks, without its first `lead` samples: float32 (samples,), and its rate in Hz."""
    rate = int(file.samplerate)
    length = promised_samples(file, wanted.name, lead)
    if not wanted.whole and length is not None and file.seekable():
        first, last = _bounds(wanted, length, rate)
        file.seek(first)
        samples = _read_blocks(file, wanted, last - first)
        if samples.size < last - first:
            raise AudioError(
                f"{wanted.name}: the file is cut short, it ends at {(first + samples.size) / rate:.2f} s; copy or "
                "download it again"
            )
        return samples, rate
    if wanted.whole and length is not None:
        wanted.check(length / rate)
    check_promised_bytes(file, wanted.name)
    samples = _read_blocks(file, wanted)[lead:]
    check_length(file, wanted.name, samples.size, length)
    if not wanted.whole:
        first, last = _bounds(wanted, samples.size, rate)
        samples = samples[first:last]
    return samples, rate


def promised_samples(file: soundfile.SoundFile, name: str, lead: int = 0) -> int | None:
    """Return the samples that an open file says it has; None where it does not say.

    Raises:
        AudioError: it has more channels than a recording of a voice.
    """
    if file.channels > MOST_CHANNELS:
        raise AudioError(
            f"{name}: a recording of {file.channels} channels is none of a voice; {MOST_CHANNELS} are the most"
        )
    # A FLAC header that leaves it open says 2**63 - 1.
    return file.frames if file.frames < 2**62 and not lead else None


def check_length(file: soundfile.SoundFile, name: str, samples: int, promised: int | None) -> None:
    """Refuse a file that has ended after fewer samples than it promised."""
    # libsndfile only estimates the length of an MP3, to within the encoder's delay of two frames.
    tolerance = 2 * 1152 if file.format.startswith("MP") else 0
    if promised is not None and 0 < samples < promised - tolerance:
        raise _truncated(name, samples / file.samplerate, promised / file.samplerate)


def _read_blocks(file: soundfile.SoundFile, wanted: _Wanted, count: int | None = None) -> np.ndarray:
    """Read `count` samples of each channel, or all there are, mixed to one: float32 (samples,)."""
    order = file.format == "OGG"
    start = file.tell() if file.seekable() else 0
    mixer = Mixer(file.channels, vorbis_order=order)
    samples = _mixed_blocks(file, wanted, count, mixer)
    if mixer.cancelled and file.seekable():
        warn_of_opposite_channels(wanted.name)
        file.seek(start)
        samples = _mixed_blocks(file, wanted, count, mixer.turned_over())
    return samples


def _mixed_blocks(file: soundfile.SoundFile, wanted: _Wanted, count: int | None, mixer: Mixer) -> np.ndarray:
    size, left, done = max(1, _BLOCK_SAMPLES // file.channels), count, 0
    blocks: list[np.ndarray] = []
    # Filled as it comes: to put an hour together from its blocks would take its memory twice.
    expected = file.frames if count is None else count
    samples = np.empty(expected if expected <= _MOST_EXPECTED else 0, np.float32)
    # Not file.blocks(): it believes the header and fills up with rubbish what a damaged file lacks.
    while left is None or left > 0:
        block = file.read(size if left is None else min(size, left), dtype="float32", always_2d=True)
        if not block.shape[0]:
            break
        mixed = mixer.mix(block)
        if done + mixed.size <= samples.size:
            samples[done : done + mixed.size] = mixed
        else:
            blocks += [samples[:done], mixed] if not blocks else [mixed]
        done += block.shape[0]
        if wanted.whole:
            wanted.check(done / file.samplerate)  # the header may say less than there is
        left = None if left is None else left - block.shape[0]
    return np.concatenate(blocks) if blocks else samples[:done]


def _bounds(wanted: _Wanted, length: int, rate: int) -> tuple[int, int]:
    """Return the first sample of a part, and the one after its last."""
    first = round(wanted.start * rate)
    last = length if wanted.end is None else round(wanted.end * rate)
    if 0 < last - length <= ROUNDED_SECONDS * rate:
        last = length
    if not 0 <= first < last <= length:
        end = "the end" if wanted.end is None else f"{wanted.end:g} s"
        raise AudioError(
            f"{wanted.name}: there is no part from {wanted.start:g} s to {end} in a recording of {length / rate:.2f} s"
        )
    wanted.check((last - first) / rate)
    return first, last


def check_promised_bytes(file: soundfile.SoundFile, name: str) -> None:
    """Compare the length of the sample data in a file's header with what is there.

    libsndfile silently goes by the file's true length; its log has both: ``data : 96000 (should be 63985)``.
    """
    promised, present = _lengths_in_log(file)
    # Writers that stream cannot know the length and leave the largest number there is, or a little less.
    left_open = any(0 <= limit - promised <= 4096 for limit in (2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1))
    if promised > present > 0 and not left_open:
        seconds = file.frames / file.samplerate
        raise _truncated(name, seconds, seconds * promised / present)


def _lengths_in_log(file: soundfile.SoundFile) -> tuple[int, int]:
    """The length in a file's header, and the one that is there, in bytes or samples of a channel; 0 and 0 if untold."""
    told = file.extra_info
    found = re.search(_TWO_LENGTHS, told, re.MULTILINE)
    if found:
        return int(found[1]), int(found[2])
    if file.format in _SAMPLES_IN_LOG:
        counts = re.findall(_SAMPLES_IN_LOG[file.format], told)
        return (int(counts[-1]) if counts else 0), file.frames
    if file.format == "VOC" and "truncated" in told:
        block = re.search(r"(?:Extended II|Sound Data) : (\d+)", told)
        rest = re.search(r"Length : (\d+)", told)
        if block and rest:
            return int(block[1]), int(rest[1]) - _VOC_HEADER
    return 0, 0


def _truncated(name: str, present: float, promised: float) -> AudioError:
    return AudioError(
        f"{name}: the file is cut short, {present:.2f} of {promised:.2f} s are there; copy or download it "
        f"again, or, to keep what is there, convert it: ffmpeg -i {PurePosixPath(name).name} mended.wav"
    )


def _read_through_ffmpeg(
    source: str | os.PathLike[str] | bytes, wanted: _Wanted, timeout: float | None, problem: Exception
) -> tuple[np.ndarray, int]:
    """Read what libsndfile cannot."""
    # A second more than wanted shows that there is more.
    limit = wanted.limit + 1 if wanted.limit is not None and wanted.whole else None
    with opened_through_ffmpeg(source, wanted.name, problem, limit, timeout) as file:
        return _read(file, wanted)


def _refuse_text(source: str | os.PathLike[str] | bytes, name: str) -> None:
    """Refuse pages of errors, pointers and tables that stand where a recording should be."""
    if isinstance(source, bytes):
        head = source[:200]
    else:
        with open(source, "rb") as file:
            head = file.read(200)
    if head.startswith(b"version https://git-lfs"):
        raise AudioError(f"{name}: a pointer of Git LFS, not the recording; fetch it: git lfs pull")
    text = _text(head)
    if text and head[:5] != b"#!AMR":
        shown = " ".join(text.split())[:40]
        raise AudioError(f"{name}: text ({shown!r} ...), not a recording; download or copy it again")


def _text(head: bytes) -> str:
    """The first bytes of a file as text, in UTF-8, or UTF-16 with a mark; empty if they are something else."""
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        # Not to the end: a character may be cut there.
        decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")()
        text = decoder.decode(head)
    except UnicodeDecodeError:
        return ""
    return text if all(letter.isprintable() or letter in "\t\n\r" for letter in text) else ""


@contextmanager
def opened_through_ffmpeg(
    source: str | os.PathLike[str] | bytes,
    name: str,
    problem: Exception,
    limit: float | None = None,
    timeout: float | None = None,
) -> Iterator[soundfile.SoundFile]:
    """Open what libsndfile cannot, by way of a WAV file that is there while the block runs.

    Args:
        source: a file, or the content of one.
        name: its name in errors.
        problem: what libsndfile said.
        limit: seconds to convert; None converts all.
        timeout: seconds to wait for ffmpeg; None waits for ever.

    Raises:
        AudioError: ffmpeg is missing, or cannot read it either.
    """
    import soundfile

    _refuse_text(source, name)
    said = str(problem).split(": ", 1)[-1].rstrip(". ")
    with tempfile.TemporaryDirectory(prefix="neucodec-tts-") as folder:
        file, converted = Path(folder) / "recording", Path(folder) / "converted.wav"
        if isinstance(source, bytes):
            file.write_bytes(source)
        else:
            file = Path(source)
        try:
            complaint = convert_to_wav(file, converted, max_seconds=limit, timeout=timeout)
        except NoFfmpegError as missing:
            raise AudioError(
                f"{name}: not a recording that libsndfile can read ({said}); install ffmpeg so that other "
                "formats can be read, or convert the file to WAV or FLAC"
            ) from missing
        except AudioError as error:
            seen = str(error).replace(f"file:{file}", name)
            raise AudioError(
                f"{name}: not a recording, or a damaged one (libsndfile: {said}; ffmpeg: {seen}); convert it "
                "to WAV, or leave it out"
            ) from problem
        if complaint:
            logger.warning("%s: it may be damaged, and read in part (ffmpeg: %s)", name, complaint)
        try:
            with soundfile.SoundFile(str(converted)) as opened:
                yield opened
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{name}: no samples could be decoded; convert it to WAV or FLAC") from error
