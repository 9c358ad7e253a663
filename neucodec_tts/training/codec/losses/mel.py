"""L1 distance of log-mel spectra at several resolutions.

Source: BigCodec (arXiv:2409.05377) and X-Codec 2 (arXiv:2502.04128), after the Descript audio codec (arXiv:2306.06546).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neucodec_tts.training.codec.losses.spectra import Spectra, mel_filters, window_size


class MelLoss(nn.Module):
    """Mean L1 distance of log-mel magnitudes, in nepers.

    Short windows matter for this decoder: its frames are 80 ms long and 20 ms apart, and only windows shorter than
    that see whether neighbouring frames add up in phase.

    Args:
        rate: of the audio, Hz.
        resolutions: window in seconds and number of mel bands, of each. X-Codec 2 has seven, of 32 to 2,048 samples
            with 5 to 320 bands.
        overlap: windows that cover one sample.
        floor: added to magnitudes before the logarithm.
    """

    def __init__(
        self,
        rate: int,
        resolutions: Sequence[tuple[float, int]] = ((0.0054, 12), (0.0214, 48), (0.0854, 120)),
        overlap: int = 2,
        floor: float = 1e-4,
    ) -> None:
        super().__init__()
        self.overlap, self.floor = overlap, floor
        self.sizes = [window_size(seconds, rate) for seconds, _ in resolutions]
        for index, (size, (_, mels)) in enumerate(zip(self.sizes, resolutions, strict=True)):
            self.register_buffer(f"filters{index}", mel_filters(size // 2 + 1, mels, rate), persistent=False)

    def forward(self, spectra: Spectra) -> Tensor:
        """A reconstruction and its target to a scalar."""
        distances = []
        for index, size in enumerate(self.sizes):
            filters = self.get_buffer(f"filters{index}")
            ours, theirs = (
                (magnitudes @ filters + self.floor).log()
                for magnitudes in spectra.sine_magnitudes(size, size // self.overlap)
            )
            distances.append((ours - theirs).abs().mean())
        return torch.stack(distances).mean()
