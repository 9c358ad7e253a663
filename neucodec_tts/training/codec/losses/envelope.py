"""One minus the correlation of short-time band envelopes: STOI as a loss.

Source: Taal et al. 2011, doi:10.1109/TASL.2011.2114881; as a loss, Fu et al. 2018, arXiv:1709.03658.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neucodec_tts.training.codec.losses.spectra import Spectra

_FRAMES = 30  # a segment, 384 ms
_CLIP = 1 + 10 ** (15 / 20)


class EnvelopeLoss(nn.Module):
    """STOI's 15 third-octave bands, 25.6 ms frames, 384 ms segments, normalisation and clipping, at any rate.

    Frames 40 dB under the loudest weigh nothing here, where STOI cuts them out. Audio must be 0.4 s or longer.

    Args:
        rate: of the audio, Hz.
    """

    def __init__(self, rate: int) -> None:
        super().__init__()
        size = 2 * round(0.0128 * rate)
        self.hop = size // 2
        self.n_fft = 1 << (size - 1).bit_length()
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        frequency = torch.linspace(0, rate / 2, self.n_fft // 2 + 1)[:, None]
        centre = 150 * 2 ** (torch.arange(15) / 3)
        bands = (frequency >= centre * 2 ** (-1 / 6)) & (frequency < centre * 2 ** (1 / 6))
        self.register_buffer("bands", bands.float(), persistent=False)

    def forward(self, spectra: Spectra) -> Tensor:
        """A reconstruction and its target to a scalar, 0 for equal envelopes."""
        window, bands = self.get_buffer("window"), self.get_buffer("bands")
        powers = [m.square() for m in spectra.magnitudes(window, self.hop, self.n_fft)]
        # Envelopes (B, frames, 15) in segments (B, segments, 15, 30).
        ours, theirs = ((power @ bands + 1e-8).sqrt().unfold(1, _FRAMES, 3) for power in powers)
        with torch.no_grad():
            energy = powers[1].sum(-1)  # (B, frames)
            active = (energy > energy.amax(dim=1, keepdim=True) * 1e-4).float()
            active = active.unfold(1, _FRAMES, 3)[:, :, None]  # (B, segments, 1, 30)
            count = active.sum(-1, keepdim=True).clamp(min=1)
        level = (ours * active).norm(dim=-1, keepdim=True).clamp(min=1e-5)
        scale = (theirs * active).norm(dim=-1, keepdim=True) / level
        ours = torch.minimum(ours * scale, theirs * _CLIP)
        ours = (ours - (ours * active).sum(-1, keepdim=True) / count) * active
        theirs = (theirs - (theirs * active).sum(-1, keepdim=True) / count) * active
        correlation = F.cosine_similarity(ours, theirs, dim=-1, eps=1e-6).mean(-1)  # (B, segments)
        weight = count[:, :, 0, 0] / _FRAMES
        return 1 - (correlation * weight).sum() / weight.sum().clamp(min=1e-6)
