"""Short-time spectra of a reconstruction and its target, and mel filters."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Spectra:
    """Short-time magnitudes of a reconstruction and its target, for losses that compare them. Each is computed once.

    Args:
        audio: the reconstruction, float32 (B, T).
        target: float32 (B, T); no gradients are computed for it.
    """

    def __init__(self, audio: Tensor, target: Tensor) -> None:
        self.audio, self.target = audio, target
        self._of_sines: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def magnitudes(self, window: Tensor, hop: int, n_fft: int | None = None) -> tuple[Tensor, Tensor]:
        """Of both, float32 (B, frames, n_fft / 2 + 1), to be differentiated once.

        Args:
            window: (W,), T at least as long.
            hop: samples between windows.
            n_fft: samples of the transform; W if None.

        Raises:
            ValueError: the transform is of an odd number of samples, or shorter than the window.
        """
        n_fft = n_fft or len(window)
        if n_fft % 2 or n_fft < len(window):
            raise ValueError(
                f"a transform of {n_fft} samples for a window of {len(window)}: it must be even and as long"
            )
        ours = _Magnitudes.apply(self.audio.unfold(-1, len(window), hop) * window, n_fft)
        with torch.no_grad():
            theirs = _Magnitudes.apply(self.target.unfold(-1, len(window), hop) * window, n_fft)
        return ours, theirs

    def sine_magnitudes(self, size: int, hop: int) -> tuple[Tensor, Tensor]:
        """Of both, (B, frames, size / 2 + 1), with a window in which the magnitude of a sine is its amplitude."""
        if (size, hop) not in self._of_sines:
            self._of_sines[size, hop] = self.magnitudes(_sine_window(size, self.audio.device), hop)
        return self._of_sines[size, hop]


class _Magnitudes(torch.autograd.Function):
    """Magnitudes of real frames. PyTorch's own gradient of ``rfft`` takes a complex transform of twice the size."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, n_fft: int) -> Tensor:
        spectrum = torch.fft.rfft(frames, n_fft)
        magnitudes = (torch.view_as_real(spectrum).square().sum(-1) + 1e-10).sqrt()
        ctx.save_for_backward(spectrum, magnitudes)
        ctx.n_fft, ctx.size = n_fft, frames.shape[-1]
        return magnitudes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        spectrum, magnitudes = ctx.saved_tensors
        share = gradients[0] / magnitudes
        share[..., 1:-1] *= 0.5  # the inverse counts these bins twice
        frames = torch.fft.irfft(spectrum * share, ctx.n_fft, norm="forward")
        return frames[..., : ctx.size], None


def window_size(seconds: float, rate: int) -> int:
    """The even number of samples nearest to a duration whose transform is fast: it has no prime factor above 5.

    Args:
        seconds: the duration.
        rate: Hz.
    """
    wanted = seconds * rate

    def fast(size: int) -> bool:
        for prime in (2, 3, 5):
            while size % prime == 0:
                size //= prime
        return size == 1

    return min((n for n in range(2, 2 * int(wanted) + 4, 2) if fast(n)), key=lambda n: abs(n - wanted))


@lru_cache(maxsize=16)
@torch.inference_mode(mode=False)
def _sine_window(size: int, device: torch.device) -> Tensor:
    hann = torch.hann_window(size, device=device)
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
