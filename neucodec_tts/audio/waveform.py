"""The waveform that the codec takes, from any recording.

Everything the codec hears passes `as_waveform`, so an error names the recording and the mend, and does not come
from a layer of the network.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from neucodec_tts.audio.reading import load_audio
from neucodec_tts.audio.resampling import resample
from neucodec_tts.errors import AudioError

if TYPE_CHECKING:
    import torch

#: One recording: a file, or an array, tensor or list of floats (these need a sample rate).
Audio: TypeAlias = "str | os.PathLike[str] | np.ndarray | torch.Tensor | list[float]"

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000  # Hz; outside it is a mistake, not a recording
MAX_CHANNELS = 8
# Float audio lives in [-1, 1] and overshoots a little after resampling or mixing; 16-bit numbers turned to
# floats without scaling reach into the thousands. What lies in between is taken as it is, as upstream does.
_MAX_AMPLITUDE = 8.0
_INTEGER_SCALE = {"uint8": 128.0, "int16": 32768.0, "int32": 2147483648.0}


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
        rate = check_rate(rate, name)
        if sample_rate is not None and check_rate(sample_rate, name) != rate:
            raise AudioError(
                f"{name}: the file's sample rate is {rate} Hz and not the {sample_rate} Hz given as "
                "sample_rate; leave sample_rate out for files"
            )
    else:
        samples = as_samples(audio, name)
        if sample_rate is None:
            raise AudioError(f"{name}: an array does not say its sample rate; give sample_rate=... in Hz")
        rate = check_rate(sample_rate, name)
    check_values(samples, name, rate)
    samples = _mono(samples, name)
    waveform = torch.from_numpy(np.require(samples, dtype=np.float32, requirements=["C", "W"]))
    return resample(waveform, rate, target_rate)


def as_samples(audio: object, name: str) -> np.ndarray:
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


def check_rate(sample_rate: object, name: str) -> int:
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


def check_values(samples: np.ndarray, name: str, rate: int) -> None:
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
