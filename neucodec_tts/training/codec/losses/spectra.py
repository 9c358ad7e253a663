"""Short-time spectra of two waveforms at once, and mel filters."""

from __future__ import annotations

import torch
from torch import Tensor


def magnitudes(audio: Tensor, target: Tensor, window: Tensor, hop: int, n_fft: int | None = None) -> Tensor:
    """Magnitudes of both, (2B, frames, n_fft / 2 + 1): the reconstruction's first.

    Args:
        audio: float32 (B, T).
        target: float32 (B, T).
        window: (W,), T at least as long.
        hop: samples between windows.
        n_fft: samples of the transform, W if None.
    """
    frames = torch.cat([audio, target]).unfold(-1, len(window), hop) * window
    spectrum = torch.view_as_real(torch.fft.rfft(frames, n_fft))
    return (spectrum.square().sum(-1) + 1e-10).sqrt()


def sine_window(size: int) -> Tensor:
    """A Hann window (size,) in which the magnitude of a sine is its amplitude."""
    hann = torch.hann_window(size)
    return 2 * hann / hann.sum()


def mel_filters(bins: int, mels: int, rate: int, low: float = 0.0, high: float | None = None) -> Tensor:
    """Triangular filters (bins, mels) of sum 1, equally spaced in mel (O'Shaughnessy 1987) from ``low`` to ``high`` Hz.

    Args:
        bins: of a real FFT.
        mels: number of filters.
        rate: of the signal, Hz.
        low: lower edge of the first, Hz.
        high: upper edge of the last, Hz; half the rate if None.
    """

    def mel(hertz: Tensor) -> Tensor:
        return 2595 * torch.log10(1 + hertz / 700)

    top = rate / 2 if high is None else high
    edges = torch.linspace(float(mel(torch.tensor(low))), float(mel(torch.tensor(top))), mels + 2)
    position = mel(torch.linspace(0, rate / 2, bins))[:, None]
    filters = (1 - (position - edges[1:-1]).abs() / (edges[1] - edges[0])).clamp(min=0)
    return filters / filters.sum(dim=0).clamp(min=1e-6)
