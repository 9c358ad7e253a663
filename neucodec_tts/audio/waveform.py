"""The waveform that the codec takes, from any recording.

Everything the codec hears passes `as_waveform`, so an error names the recording and the mend, and does not come
from a layer of the network.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np

from neucodec_tts.audio.channels import MAX_CHANNELS, mix
from neucodec_tts.audio.reading import load_audio
from neucodec_tts.audio.resampling import resample
from neucodec_tts.errors import AudioError

if TYPE_CHECKING:
    import torch

#: One recording: a file, its content or an open one, a row of Hugging Face's datasets, or an array, tensor or list of
#: floats (these need a sample rate).
Audio: TypeAlias = (
    "str | os.PathLike[str] | bytes | BinaryIO | Mapping[str, Any] | np.ndarray | torch.Tensor | list[float]"
)

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000  # Hz; outside it is a mistake, not a recording
# Float audio lives in [-1, 1] and overshoots a little after resampling or mixing; 16-bit numbers turned to
# floats without scaling reach into the thousands. What lies in between is taken as it is, as upstream does.
_MAX_AMPLITUDE = 8.0
_INTEGER_SCALE = {"uint8": 128.0, "int16": 32768.0, "int32": 2147483648.0}


def as_waveform(
    audio: Audio,
    sample_rate: int | float | None = None,
    *,
    target_rate: int = 16_000,
    channels_first: bool | None = None,
    name: str = "audio",
) -> torch.Tensor:
    """Turn any recording into a mono float32 waveform at `target_rate`.

    Args:
        audio: a file, the content of one (bytes), or an open one (read from where it stands); a row of Hugging Face's
            datasets, as ``{"array", "sampling_rate"}``, ``{"bytes", "path"}`` or a decoder; or an array, tensor (any
            device) or list of floats, (samples,), (1, samples) or (samples, channels) with at most 8 channels. Floats
            of any width are nominally in [-1, 1]; int16 and int32 are scaled by their range, uint8 is centred at 128
            as in WAV files.
        sample_rate: in Hz. Needed for what does not say its own; with the rest it must be its own.
        target_rate: in Hz.
        channels_first: True for arrays (channels, samples), False for (samples, channels). Two rows may be two
            recordings or the channels of one, so that such an array is refused without it.
        name: what to call this recording in an error; a file goes by its path.

    Returns:
        float32 tensor (samples,) on the CPU; it may share memory with `audio`. Channels are mixed as
        `neucodec_tts.audio.channels` says, then resampled as upstream neucodec does (`neucodec_tts.audio.resampling`).

    Raises:
        AudioError: what `load_audio` raises, or the samples are missing, of another type or shape, not
            finite, far beyond [-1, 1], or the sample rate is missing, impossible, or not the recording's own.
    """
    import torch

    samples, rate, _ = as_mono(audio, sample_rate, channels_first=channels_first, name=name)
    waveform = torch.from_numpy(np.require(samples, dtype=np.float32, requirements=["C", "W"]))
    return resample(waveform, rate, target_rate)


def as_mono(
    audio: Audio,
    sample_rate: int | float | None = None,
    *,
    channels_first: bool | None = None,
    name: str = "audio",
) -> tuple[np.ndarray, int, str]:
    """Turn any recording into one channel at its own rate: all that `as_waveform` does but for resampling.

    Args:
        audio: as for `as_waveform`.
        sample_rate: as for `as_waveform`.
        channels_first: as for `as_waveform`.
        name: as for `as_waveform`.

    Returns:
        float array (samples,), its sample rate in Hz, and what to call the recording in an error.

    Raises:
        AudioError: as for `as_waveform`.
    """
    samples, own_rate, first, name = _open(audio, name)
    if own_rate is None:
        if sample_rate is None:
            raise AudioError(f"{name}: an array does not say its sample rate; give sample_rate=... in Hz")
        rate = check_rate(sample_rate, name)
    else:
        rate = check_rate(own_rate, name)
        if sample_rate is not None and check_rate(sample_rate, name) != rate:
            raise AudioError(
                f"{name}: its sample rate is {rate} Hz and not the {sample_rate} Hz given as sample_rate; leave "
                "sample_rate out for what says its own"
            )
    check_values(samples, name, rate)
    return _mono(samples, name, first if first is not None else channels_first), rate, name


def _open(audio: object, name: str) -> tuple[np.ndarray, int | None, bool | None, str]:
    """The samples of what was given, its own rate and whether its channels come first, if it says so, and its name."""
    if isinstance(audio, (str, os.PathLike)):
        return *load_audio(audio), None, os.fspath(audio)
    if isinstance(audio, (bytes, bytearray, memoryview)):
        return *load_audio(bytes(audio), name=name), None, name
    if isinstance(audio, Mapping):
        return _open_row(audio, name)
    if hasattr(audio, "get_all_samples"):  # a decoder of torchcodec, which datasets gives out
        decoded = audio.get_all_samples()
        return as_samples(decoded.data, name), int(decoded.sample_rate), True, name
    if hasattr(audio, "read"):
        name = str(getattr(audio, "name", name))
        try:
            content = audio.read()
        except (OSError, ValueError) as problem:
            raise AudioError(f"{name}: cannot be read ({problem}); open it for reading") from problem
        if not isinstance(content, bytes):
            raise AudioError(f'{name}: it is open for text; open it with mode "rb"')
        if not content:
            raise AudioError(f"{name}: there is nothing left to read; go back to its beginning with seek(0)")
        return *load_audio(content, name=name), None, name
    return as_samples(audio, name), None, None, name


def _open_row(row: Mapping[str, Any], name: str) -> tuple[np.ndarray, int | None, bool | None, str]:
    """A recording as Hugging Face's datasets have it."""
    path = row.get("path")
    name = name if path is None else os.fspath(path)
    if row.get("array") is not None:
        rate = row.get("sampling_rate", row.get("sample_rate"))
        if rate is None:
            raise AudioError(f'{name}: an "array" needs its "sampling_rate" in Hz beside it')
        return as_samples(row["array"], name), rate, None, name
    if row.get("bytes") is not None:
        return *load_audio(bytes(row["bytes"]), name=name), None, name
    if path is not None:
        return *load_audio(path), None, name
    raise AudioError(
        f'{name}: a recording as a dictionary has "array" and "sampling_rate", or "bytes", or "path"; this one has '
        f"{', '.join(map(repr, row)) or 'nothing'}"
    )


def as_samples(audio: object, name: str) -> np.ndarray:
    """An array, tensor or list as float32 or float64 numbers, scaled by the range of an integer type."""
    torch = sys.modules.get("torch")  # whoever holds a tensor has imported torch
    if torch is not None and isinstance(audio, torch.Tensor):
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


def _mono(samples: np.ndarray, name: str, channels_first: bool | None) -> np.ndarray:
    """(samples,), (channels, samples) or (samples, channels) to (samples,)."""
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2:
        raise AudioError(
            f"{name}: one recording has the shape (samples,), (channels, samples) or (samples, channels), "
            f"not {samples.shape}; give several recordings as a list"
        )
    if channels_first is None:
        if 1 < samples.shape[0] <= samples.shape[1]:
            raise AudioError(
                f"{name}: the shape {samples.shape} may be {samples.shape[0]} recordings or the channels of one; give "
                "recordings as a list, or say channels_first=True"
            )
        channels_first = samples.shape[0] == 1
    channels = samples.shape[0 if channels_first else 1]
    if channels > MAX_CHANNELS:
        raise AudioError(
            f"{name}: the shape {samples.shape} would be {channels} channels, more than {MAX_CHANNELS}; give one "
            "recording as (samples,), several as a list"
        )
    return mix(samples.T if channels_first else samples, name)
