"""Writing recordings."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neucodec_tts.audio.resampling import resample
from neucodec_tts.audio.waveform import as_samples, check_rate, check_values
from neucodec_tts.errors import AudioError
from neucodec_tts.files import atomic_path, check_writable, native

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_FORMATS = {  # suffix -> (libsndfile format, subtype)
    "": ("WAV", "PCM_16"),
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)  # Hz; RFC 6716 knows no others
_BLOCK_SAMPLES = 50_000  # libsndfile's Vorbis encoder overflows the stack on a long signal given at once


def write_audio(
    path: str | os.PathLike[str], waveform: np.ndarray | torch.Tensor | list[float], sample_rate: int
) -> None:
    """Write a mono recording; the suffix chooses the format (.wav or none, .flac, .ogg, .opus, .mp3).

    WAV and FLAC get 16-bit samples. Samples beyond [-1, 1] are clipped, with a warning in the log. Opus knows few
    rates: others are converted to 48 kHz for it. The file appears under its name when it is complete, never before.

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
    form, subtype = _format_of(file)
    samples = as_samples(waveform, f"the waveform for {file}")
    if samples.ndim == 2 and samples.shape[0] == 1:
        samples = samples[0]
    if samples.ndim != 1:
        raise AudioError(f"{file}: a mono waveform (samples,) is what can be written, not {samples.shape}")
    rate = check_rate(sample_rate, str(file))
    check_values(samples, f"the waveform for {file}", rate)
    if subtype == "OPUS" and opus_rate(rate) != rate:
        import torch

        converted = resample(
            torch.from_numpy(np.ascontiguousarray(samples, np.float32)), rate, opus_rate(rate)
        )
        samples, rate = converted.numpy(), opus_rate(rate)
    beyond = int(np.count_nonzero(np.abs(samples) > 1.0))
    if beyond:
        logger.warning("%s: %d of %d samples were beyond [-1, 1] and are clipped", file, beyond, samples.size)
        samples = np.clip(samples, -1.0, 1.0)
    with atomic_path(file, AudioError) as temporary:
        try:
            with soundfile.SoundFile(native(temporary), "w", rate, 1, subtype=subtype, format=form) as output:
                for start in range(0, samples.size, _BLOCK_SAMPLES):
                    output.write(samples[start : start + _BLOCK_SAMPLES])
        except (soundfile.LibsndfileError, ValueError, OSError) as problem:
            raise AudioError(
                f"{file}: {form}/{subtype} cannot be written at {rate} Hz ({problem}); write .wav instead"
            ) from problem


def opus_rate(sample_rate: int) -> int:
    """The rate at which Opus holds sound of `sample_rate`, both in Hz."""
    return sample_rate if sample_rate in _OPUS_RATES else max(_OPUS_RATES)


def check_output(path: str | os.PathLike[str]) -> None:
    """Check that `write_audio` can write `path`, before long work is done for it.

    Raises:
        AudioError: the suffix is unknown, or the folder is missing or not writable.
    """
    _format_of(Path(path))
    check_writable(path, AudioError)


def _format_of(file: Path) -> tuple[str, str]:
    """Return libsndfile's format and subtype for a file's suffix."""
    try:
        return _FORMATS[file.suffix.lower()]
    except KeyError:
        known = ", ".join(suffix for suffix in _FORMATS if suffix)
        raise AudioError(f"{file}: cannot write {file.suffix}; end the name in one of {known}") from None
