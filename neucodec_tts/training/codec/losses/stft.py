"""Spectral convergence and log-magnitude distance of STFTs at several resolutions.

Source: Parallel WaveGAN (arXiv:1910.11480), equations 4 to 6.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neucodec_tts.training.codec.losses.spectra import Spectra, window_size


class STFTLoss(nn.Module):
    """Mean over resolutions of the relative distance of magnitudes, and of their logarithms' L1 distance.

    Args:
        rate: of the audio, Hz.
        windows: of each resolution, seconds.
        log_weight: of the logarithms, which a mel loss has already; 0 leaves them out.
        overlap: windows that cover one sample.
    """

    def __init__(
        self,
        rate: int,
        windows: Sequence[float] = (0.0054, 0.0214, 0.0854),
        log_weight: float = 0.0,
        overlap: int = 2,
    ) -> None:
        super().__init__()
        self.log_weight, self.overlap = log_weight, overlap
        self.sizes = [window_size(seconds, rate) for seconds in windows]

    def forward(self, spectra: Spectra) -> Tensor:
        """A reconstruction and its target to a scalar."""
        distances = []
        for size in self.sizes:
            ours, theirs = spectra.sine_magnitudes(size, size // self.overlap)
            scale = theirs.flatten(1).norm(dim=1).clamp(min=1e-4)
            distance = ((ours - theirs).flatten(1).norm(dim=1) / scale).mean()
            if self.log_weight:
                logs = ((ours + 1e-5).log() - (theirs + 1e-5).log()).abs().mean()
                distance = distance + self.log_weight * logs
            distances.append(distance)
        return torch.stack(distances).mean()
