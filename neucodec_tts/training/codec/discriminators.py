"""Networks that tell recordings from reconstructions: by their periods, and by their spectra at several resolutions.

Sources: multi-period, HiFi-GAN (arXiv:2010.05646); multi-resolution spectra, Vocos (``gemelo-ai/vocos``,
``discriminators.py``) and the Descript audio codec (arXiv:2306.06546), which see real and imaginary parts in bands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

Judgement = tuple[list[Tensor], list[list[Tensor]]]
"""Logits of each network, and its hidden layers."""


@dataclass(frozen=True)
class DiscriminatorSizes:
    """How large the discriminators are. The defaults are HiFi-GAN's and Vocos'; a CPU wants a small part of them."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    """Samples."""
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    windows: tuple[float, ...] = (0.0213, 0.0427, 0.0853)
    """Seconds, each a quarter of itself after the one before."""
    spectrum_channels: int = 32


class PeriodDiscriminator(nn.Module):
    """Convolutions over every ``period``-th sample."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.period = period
        sizes = [1, *channels]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv1d(sizes[i], size, 5, 3 if i + 1 < len(channels) else 1, padding=2))
            for i, size in enumerate(channels)
        )
        self.last = weight_norm(nn.Conv1d(sizes[-1], 1, 3, padding=1))

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, T) to logits and hidden layers, one after the other for each phase: (B * period, C, T')."""
        spare = -audio.shape[1] % self.period
        x = F.pad(audio[:, None], (0, spare), mode="reflect").unflatten(2, (-1, self.period))
        x = x.permute(0, 3, 1, 2).flatten(0, 1)
        hidden = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            hidden.append(x)
        return self.last(x), hidden


class SpectrumDiscriminator(nn.Module):
    """Convolutions over real and imaginary parts of an STFT, compressed, frequency by frequency."""

    window: Tensor

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.hop = size // 4
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(2 if i == 0 else channels, channels, kernel, stride, padding))
            for i, (kernel, stride, padding) in enumerate(
                [((3, 9), (1, 2), (1, 4))] * 3 + [((3, 9), (1, 2), (1, 4)), ((3, 3), (1, 1), (1, 1))]
            )
        )
        self.last = weight_norm(nn.Conv2d(channels, 1, (3, 3), padding=(1, 1)))

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, T) to logits and hidden layers."""
        with torch.autocast(audio.device.type, enabled=False):
            frames = audio.float().unfold(1, len(self.window), self.hop) * self.window
            spectrum = torch.view_as_real(torch.fft.rfft(frames))  # (B, frames, bins, 2)
            # Roots bring what is soft nearer to what is loud; the sign, and so the phase, stays.
            power = spectrum.square().sum(-1, keepdim=True) + 1e-6
            # Channels stay last in memory, so that convolutions of few of them are twice as fast on a CPU.
            x = (spectrum * power**-0.35).permute(0, 3, 1, 2)
        hidden = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            hidden.append(x)
        return self.last(x), hidden


class Discriminators(nn.Module):
    """All of them.

    Args:
        rate: of the audio, Hz.
        sizes: how many there are, and how large.
    """

    def __init__(self, rate: int, sizes: DiscriminatorSizes | None = None) -> None:
        super().__init__()
        sizes = sizes or DiscriminatorSizes()
        self.networks = nn.ModuleList(
            [
                *(PeriodDiscriminator(period, sizes.period_channels) for period in sizes.periods),
                *(
                    SpectrumDiscriminator(4 * round(seconds * rate / 4), sizes.spectrum_channels)
                    for seconds in sizes.windows
                ),
            ]
        )

    def forward(self, audio: Tensor) -> Judgement:
        """(B, T) to the logits of each and its hidden layers."""
        logits, hidden = zip(*(network(audio) for network in self.networks), strict=True)
        return list(logits), list(hidden)
