"""The input of the two encoders: the padded waveform, and Kaldi's mel filter bank, normalised per item."""

from __future__ import annotations

import logging
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

logger = logging.getLogger(__name__)

N_MELS = 80
SAMPLE_RATE = 16_000
FRAME_LENGTH = 400  # 25 ms
FRAME_SHIFT = 160  # 10 ms
_N_FFT = 512
_PREEMPHASIS = 0.97
MEL_FLOOR = 1.192092955078125e-07
_FRAMES_AT_ONCE = 16_384  # bounds the memory of long recordings


def padded_length(samples: int, hop_length: int) -> int:
    """Samples after padding: upstream appends ``hop - samples % hop`` zeros, a whole hop if it is aligned already."""
    return (samples // hop_length + 1) * hop_length


@lru_cache(maxsize=4)
def _window_and_filters(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Kaldi's Povey window (400,) and mel filters (257, 80)."""
    from transformers.audio_utils import mel_filter_bank, window_function

    window = torch.from_numpy(window_function(FRAME_LENGTH, "povey", periodic=False))
    filters = torch.from_numpy(
        mel_filter_bank(
            num_frequency_bins=_N_FFT // 2 + 1,
            num_mel_filters=N_MELS,
            min_frequency=20,
            max_frequency=SAMPLE_RATE // 2,
            sampling_rate=SAMPLE_RATE,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
    )
    return window.to(device, dtype), filters.to(device, dtype)


def log_mel(waveform: Tensor) -> Tensor:
    """Kaldi's log mel filter bank, (B, T) at 16 kHz to float32 (B, frames, 80), one frame every 10 ms.

    Behaviour as ``transformers``' ``SeamlessM4TFeatureExtractor`` before normalisation, which upstream feeds to
    Wav2Vec2-BERT: frames wholly inside the signal, mean removed, pre-emphasis, Povey window, power spectrum.
    In float64 as there, but on MPS, which has none.
    """
    dtype = torch.float32 if waveform.device.type == "mps" else torch.float64
    window, filters = _window_and_filters(waveform.device, dtype)
    frames = (waveform * 2**15).unfold(-1, FRAME_LENGTH, FRAME_SHIFT)
    return torch.cat(
        [_log_mel_of_frames(f.to(dtype), window, filters) for f in frames.split(_FRAMES_AT_ONCE, 1)], 1
    )


def _log_mel_of_frames(frames: Tensor, window: Tensor, filters: Tensor) -> Tensor:
    power = torch.fft.rfft(_emphasized(frames) * window, n=_N_FFT).abs().square()
    return (power @ filters).clamp(min=MEL_FLOOR).log().float()


def _emphasized(frames: Tensor) -> Tensor:
    frames = frames - frames.mean(dim=-1, keepdim=True)
    first = frames[..., :1] * (1 - _PREEMPHASIS)
    return torch.cat([first, frames[..., 1:] - _PREEMPHASIS * frames[..., :-1]], dim=-1)


def fourier_and_filters(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The steps before the power spectrum as one matrix, (400, 514) for real and imaginary parts; and mel filters."""
    window, filters = _window_and_filters(torch.device("cpu"), dtype)
    spectrum = torch.fft.rfft(_emphasized(torch.eye(FRAME_LENGTH, dtype=dtype)) * window, n=_N_FFT)
    return torch.cat([spectrum.real, spectrum.imag], 1), filters


def semantic_features(waveform: Tensor, lengths: Tensor, margin: int = 0) -> tuple[Tensor, Tensor]:
    """Input of the semantic encoder: two frames of the filter bank, stacked, fifty times a second.

    Args:
        waveform: (B, T) at 16 kHz, padded as ``padded_length`` says and with zeros up to the longest.
        lengths: padded length of each item in samples, LongTensor (B,), at least 640.
        margin: samples of silence before and after each item; X-Codec 2 has half a hop, NeuCodec none.

    Returns:
        Features, float32 (B, frames, 160), each mel band with zero mean and unit variance over the item's own
        frames, zeros beyond its end; and each item's number of frames, LongTensor (B,).
    """
    features = log_mel(F.pad(waveform, (margin, margin)))
    counts = (lengths + 2 * margin - FRAME_LENGTH) // FRAME_SHIFT + 1
    counts = counts - counts % 2
    features = features[:, : int(counts.max())]
    mask = (torch.arange(features.shape[1], device=waveform.device) < counts[:, None])[..., None]
    precise = features if features.device.type == "mps" else features.double()
    n = counts[:, None, None]
    mean = precise.masked_fill(~mask, 0).sum(dim=1, keepdim=True) / n
    centred = (precise - mean).masked_fill(~mask, 0)
    variance = centred.square().sum(dim=1, keepdim=True) / (n - 1)
    normed = (centred / (variance + 1e-7).sqrt()).float()
    return normed.reshape(normed.shape[0], -1, 2 * N_MELS), counts // 2


def pad_waveforms(waveforms: list[Tensor], hop_length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Waveforms (T_i,) to one zero-padded batch (B, T) on ``device`` and the padded lengths, LongTensor (B,).

    A GPU copies it from pinned memory on a stream of its own, beside what it computes meanwhile.
    """
    lengths = [padded_length(w.shape[-1], hop_length) for w in waveforms]
    longest = max(lengths)
    batch = torch.stack([F.pad(w, (0, longest - w.shape[-1])) for w in waveforms])
    if device.type != "cuda":
        return batch.to(device), torch.tensor(lengths, device=device)
    try:
        batch = batch.pin_memory()
    except RuntimeError:  # the machine allows no more of it; the copy is then slower
        logger.debug("the batch is copied from memory that is not pinned")
    copying = _copying(device)
    with torch.cuda.stream(copying):
        copied = batch.to(device, non_blocking=True), torch.tensor(lengths, device=device)
    copying.synchronize()
    for tensor in copied:  # its memory must not be used again before the caller's stream is through with it
        tensor.record_stream(torch.cuda.current_stream(device))
    return copied


@lru_cache(maxsize=8)
def _copying(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
