"""L1 distance of mel cepstra, the features of a classic speech recogniser: the spectrum's smooth shape.

Source: Davis and Mermelstein 1980, doi:10.1109/TASSP.1980.1163420. What they leave out, pitch, weighs much in a mel
loss; what they keep tells the sounds of speech apart. A small codec gains words by it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neucodec_tts.training.codec.losses.spectra import Spectra, mel_filters


class CepstralLoss(nn.Module):
    """Frames of 25 ms, 10 ms apart; mel bands from 100 to 7,600 Hz; coefficients of a DCT-II; nepers.

    Args:
        rate: of the audio, Hz.
        bands: mel bands.
        coefficients: the first ones, of which 16 leave out the harmonics of the voice.
    """

    def __init__(self, rate: int, bands: int = 40, coefficients: int = 16) -> None:
        super().__init__()
        size, self.hop = round(0.025 * rate), round(0.01 * rate)
        self.n_fft = 1 << (size - 1).bit_length()
        self.register_buffer("window", torch.hann_window(size) / (size / 2), persistent=False)
        filters = mel_filters(self.n_fft // 2 + 1, bands, rate, 100, min(7600, rate / 2))
        self.register_buffer("filters", filters, persistent=False)
        angle = torch.pi / bands * (torch.arange(bands) + 0.5)[:, None] * torch.arange(coefficients)
        self.register_buffer("cosines", angle.cos() * (2 / bands) ** 0.5, persistent=False)

    def forward(self, spectra: Spectra) -> Tensor:
        """A reconstruction and its target to a scalar."""
        window, filters, cosines = map(self.get_buffer, ("window", "filters", "cosines"))
        ours, theirs = (
            (magnitudes.square() @ filters + 1e-8).log() / 2 @ cosines
            for magnitudes in spectra.magnitudes(window, self.hop, self.n_fft)
        )
        return (ours - theirs).abs().mean()
