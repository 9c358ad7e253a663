"""The acoustic encoder of the distilled codec (SQCodec's): 16 kHz waveform to one vector per code.

Convolutions to 250 vectors a second, a transformer, a stride of five, and another transformer. Architecture as in
upstream ``codec_encoder_distill.py``, ``distill_layers.py`` and ``tconv/``, with weight norm folded into the weights.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neucodec_tts.codec.chunks import forward_in_chunks
from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig
from neucodec_tts.codec.distilled.local_attention import LocalTransformer
from neucodec_tts.codec.ragged import Ragged

_KERNEL = 7  # of the convolutions that keep the rate
_EPS = torch.finfo(torch.float32).eps


class TrendConvolutions(nn.Module):
    """Convolutions over the waveform and over its envelope, pooled more and more coarsely, and a mix of them all.

    Upstream's ``V3FirstBlock`` (``tconv/t_first.py``).
    """

    float32_parts = ("convs",)

    def __init__(self, config: DistillNeuCodecConfig) -> None:
        super().__init__()
        self.pool_sizes = tuple(config.trend_pool_sizes)
        channels = config.trend_channels
        self.convs = nn.ModuleList(
            nn.Conv1d(1, channels, _KERNEL, padding=_KERNEL // 2) for _ in self.pool_sizes
        )
        inner = 4 * channels * len(self.pool_sizes)
        self.mix1 = nn.Conv1d(inner // 4, inner, kernel_size=1)
        self.mix2 = nn.Conv1d(inner + 1, config.encoder_channels[0], kernel_size=1)

    def forward(self, waveform: Tensor, ragged: Ragged) -> Tensor:
        """(B, 1, T), zero beyond each item's end, to (B, C, T)."""
        waveform = waveform.to(next(self.convs.parameters()).dtype)
        dtype = self.mix1.weight.dtype
        trends = [
            conv(self._pool(waveform, size, ragged)).to(dtype)
            for conv, size in zip(self.convs, self.pool_sizes, strict=True)
        ]
        mixed = F.gelu(self.mix1(torch.cat(trends, dim=1)))
        return self.mix2(torch.cat([mixed, waveform.to(dtype)], dim=1))

    @staticmethod
    def _pool(waveform: Tensor, size: int, ragged: Ragged) -> Tensor:
        if size == 1:
            return waveform
        # Magnitudes are not negative, so that for the maximum zeros beyond the end are as good as none; the mean
        # takes zeros there in any case.
        peaks = F.max_pool1d(waveform.abs(), size, stride=1, padding=size // 2)
        envelope = F.avg_pool1d(ragged.zero(peaks), size, stride=1, padding=size // 2)
        return ragged.zero(envelope)


class Snake(nn.Module):
    """x + sin^2(alpha x) / alpha, one alpha per channel (Ziyin et al., arXiv:2006.08195)."""

    float32_parts = ("",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        alpha = self.alpha[:, None]
        return torch.addcmul(x, (x * alpha).sin().square(), (alpha + _EPS).reciprocal()).to(x.dtype)


class ConvUnit(nn.Module):
    """A depthwise convolution and two linear layers, around which the input is added.

    Upstream has a "global response norm" before the last layer, whose norm is taken over channels as well as time,
    divided by itself: it is 1 but for an epsilon that changes no value by more than 1.2e-7 of its scale. What is
    left of it, a scale and a shift per channel, is folded into the last layer (see ``checkpoints.upstream_distilled``).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, _KERNEL, padding=_KERNEL // 2, groups=channels)
        self.fc1 = nn.Conv1d(channels, 4 * channels, kernel_size=1)
        self.snake = Snake(4 * channels)
        self.fc2 = nn.Conv1d(4 * channels, channels, kernel_size=1)

    def forward(self, x: Tensor, ragged: Ragged) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        return x + self.fc2(self.snake(self.fc1(self.depthwise(ragged.zero(x)))))


class Stage(nn.Module):
    """Residual units, then a convolution that divides the rate by ``stride``, or with stride 1 keeps it."""

    def __init__(self, channels: int, depth: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(ConvUnit(channels) for _ in range(depth))
        kernel, padding = (stride, 0) if stride > 1 else (3, 1)
        self.conv = nn.Conv1d(channels, out_channels, kernel, stride=stride, padding=padding)

    def forward(self, x: Tensor, ragged: Ragged) -> Tensor:
        """(B, C, T) to (B, out channels, T / stride)."""
        for unit in self.units:
            x = unit(x, ragged)
        return self.conv(ragged.zero(x))


class DistillAcousticEncoder(nn.Module):
    """16 kHz waveform (B, 1, T) to (B, acoustic_size, T / hop), T a multiple of the hop (320 samples)."""

    def __init__(self, config: DistillNeuCodecConfig) -> None:
        super().__init__()
        *ratios, self.last_ratio = config.downsampling_ratios
        channels, depths = config.encoder_channels, config.encoder_depths
        size = config.encoder_hidden_size
        self.depths, self.strides = tuple(depths), (*ratios, 1)
        self.hop_length = math.prod(config.downsampling_ratios)
        self.trends = TrendConvolutions(config)
        self.stages = nn.ModuleList(
            Stage(*sizes) for sizes in zip(channels, depths, [*channels[1:], size], self.strides, strict=True)
        )

        def transformer(depth: int, window: int) -> LocalTransformer:
            heads, head_dim = config.encoder_num_attention_heads, config.encoder_head_dim
            return LocalTransformer(size, heads, head_dim, depth, window)

        before, after = config.encoder_num_layers
        self.transformer1 = transformer(before, config.attention_window * self.last_ratio)
        self.down = nn.Conv1d(size, size, kernel_size=self.last_ratio, stride=self.last_ratio)
        self.transformer2 = transformer(after, config.attention_window)
        self.fc = nn.Linear(size, config.acoustic_size)

    @property
    def reach(self) -> int:
        """Vectors of the convolutions between a sample and the furthest one that it changes."""
        samples, rate = 2 * (max(self.trends.pool_sizes) // 2) + _KERNEL // 2, 1
        for depth, stride in zip(self.depths, self.strides, strict=True):
            samples += rate * (depth * (_KERNEL // 2) + stride)
            rate *= stride
        return -(-samples // rate) + 1

    def forward_in_chunks(self, waveform: Tensor, lengths: Tensor | None, chunk_frames: int) -> Tensor:
        """Encode a batch, with the convolutions in pieces of ``chunk_frames`` codes, equal up to rounding.

        Args:
            waveform: (B, 1, T) at 16 kHz, T a multiple of the hop, zero beyond each item's end.
            lengths: valid samples of each item, LongTensor (B,), multiples of the hop; None if all have T.
            chunk_frames: how much of each item goes through the convolutions at a time.

        Returns:
            (B, acoustic_size, T / hop); what lies beyond an item's end has no meaning.
        """
        x = forward_in_chunks(
            self.convolve,
            waveform,
            lengths,
            hop_length=self.hop_length // self.last_ratio,
            reach=self.reach,
            chunk_frames=chunk_frames * self.last_ratio,
        )
        x = self.transformer1(x.transpose(1, 2)).transpose(1, 2)
        x = self.transformer2(self.down(x).transpose(1, 2))
        return self.fc(x).transpose(1, 2)

    def convolve(self, waveform: Tensor, lengths: Tensor | None) -> Tensor:
        """The convolutions: (B, 1, T) to (B, encoder_hidden_size, T / 64); ``lengths`` as above."""
        ragged = Ragged.of(lengths, waveform.shape[-1])
        x = self.trends(waveform, ragged)
        for stage, stride in zip(self.stages, self.strides, strict=True):
            x = stage(x, ragged)
            ragged = ragged.strided(stride)
        return x
