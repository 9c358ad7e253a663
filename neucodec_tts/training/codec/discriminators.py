"""Networks that tell recordings from reconstructions: by their periods, their spectra, and what a speech model hears.

Sources: multi-period, HiFi-GAN (arXiv:2010.05646); multi-resolution spectra, Vocos (``gemelo-ai/vocos``,
``discriminators.py``) and the Descript audio codec (arXiv:2306.06546), which see real and imaginary parts in bands;
features of a speech model, StyleTTS 2 (arXiv:2306.07691).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from neucodec_tts.training.codec.losses.spectra import mel_filters

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
    mel_channels: int = 0
    """Of a network that sees log-mel spectra, which is cheap; 0 leaves it out."""
    feature_channels: int = 0
    """Of one that sees what the teacher hears, with ``weights.heard``; 0 leaves it out."""


class _Convolutions(nn.Module):
    """Convolutions with leaky rectifiers between them, and a last one to logits."""

    layers: nn.ModuleList
    last: nn.Module

    def _judge(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        hidden = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            hidden.append(x)
        return self.last(x), hidden


class PeriodDiscriminator(_Convolutions):
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
        return self._judge(x)


class SpectrumDiscriminator(_Convolutions):
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
        return self._judge(x)


class MelDiscriminator(_Convolutions):
    """Convolutions over the log-mel spectrum of windows of 25 ms, 10 ms apart, in 80 bands up to 7.6 kHz.

    Above, recordings differ by their microphones and rates more than by being real.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, rate: int, channels: int) -> None:
        super().__init__()
        size, self.hop = 4 * round(0.025 * rate / 4), round(0.01 * rate)
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        self.register_buffer("filters", mel_filters(size // 2 + 1, 80, rate, high=7600.0), persistent=False)
        self.layers = nn.ModuleList(
            nn.Conv2d(given, made, kernel, stride, (kernel[0] // 2, kernel[1] // 2))
            for given, made, kernel, stride in (
                (1, channels, (3, 9), (1, 2)),
                (channels, channels, (3, 9), (2, 2)),
                (channels, 2 * channels, (3, 5), (2, 2)),
                (2 * channels, 2 * channels, (3, 5), (1, 2)),
            )
        )
        self.last = nn.Conv2d(2 * channels, 1, 3, padding=1)

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, T) to logits and hidden layers."""
        with torch.autocast(audio.device.type, enabled=False):
            frames = audio.float().unfold(1, len(self.window), self.hop) * self.window
            power = torch.view_as_real(torch.fft.rfft(frames)).square().sum(-1)
            x = ((power @ self.filters).clamp(min=1e-8).log() / 4)[:, None]
        return self._judge(x)


class FeatureDiscriminator(_Convolutions):
    """Convolutions over a teacher's features, each of which is brought to the same range first."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.size = size
        self.layers = nn.ModuleList(
            nn.Conv1d(given, channels, kernel, padding=kernel // 2)
            for given, kernel in ((size, 1), (channels, 5), (channels, 5))
        )
        self.last = nn.Conv1d(channels, 1, 3, padding=1)

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, L, size) to logits and hidden layers."""
        x = F.layer_norm(features, (self.size,)).transpose(1, 2)
        return self._judge(x)


class Discriminators(nn.Module):
    """All of them.

    Args:
        rate: of the audio, Hz.
        sizes: how many there are, and how large.
        features: of the teacher, whose features they see too (``sizes.feature_channels``); None without a teacher.
    """

    def __init__(
        self, rate: int, sizes: DiscriminatorSizes | None = None, features: int | None = None
    ) -> None:
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
        if sizes.mel_channels:
            self.networks.append(MelDiscriminator(rate, sizes.mel_channels))
        self.of_features: FeatureDiscriminator | None = None
        if sizes.feature_channels and features is not None:
            self.of_features = FeatureDiscriminator(features, sizes.feature_channels)

    def forward(self, audio: Tensor, features: Tensor | None = None) -> Judgement:
        """(B, T), and a teacher's features (B, L, D) if one sees these, to the logits of each and its hidden layers."""
        judgements = [network(audio) for network in self.networks]
        if self.of_features is not None:
            assert features is not None
            judgements.append(self.of_features(features))
        logits, hidden = zip(*judgements, strict=True)
        return list(logits), list(hidden)
