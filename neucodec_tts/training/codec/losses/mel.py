"""L1 distance of log-mel spectra at several resolutions.

Source: BigCodec (arXiv:2409.05377) and X-Codec 2 (arXiv:2502.04128), after the Descript audio codec (arXiv:2306.06546).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neucodec_tts.training.codec.losses.spectra import magnitudes, mel_filters, sine_window


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
        self.count = len(resolutions)
        for index, (seconds, mels) in enumerate(resolutions):
            size = 2 * round(seconds * rate / 2)
            self.register_buffer(f"window{index}", sine_window(size), persistent=False)
            self.register_buffer(f"filters{index}", mel_filters(size // 2 + 1, mels, rate), persistent=False)

    def forward(self, audio: Tensor, target: Tensor) -> Tensor:
        """(B, T) twice to a scalar."""
        distances = []
        for index in range(self.count):
            window, filters = self.get_buffer(f"window{index}"), self.get_buffer(f"filters{index}")
            log_mel = (
                magnitudes(audio, target, window, len(window) // self.overlap) @ filters + self.floor
            ).log()
            ours, theirs = log_mel.chunk(2)
            distances.append((ours - theirs).abs().mean())
        return torch.stack(distances).mean()
