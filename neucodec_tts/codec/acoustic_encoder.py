"""The acoustic encoder of BigCodec: 16 kHz waveform to one vector per code.

Architecture and parameter names as in ``transformers``' ``NeuCodecEncoder`` (upstream ``codec_encoder.py``).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import NeuCodecConfig

from neucodec_tts.codec.chunks import forward_in_chunks
from neucodec_tts.codec.low_pass import TAPS, low_pass_filter
from neucodec_tts.codec.onednn import ChannelsLastConv1d
from neucodec_tts.codec.ragged import Ragged

logger = logging.getLogger(__name__)

_BLOCK = 16  # samples that one row of the filter matrices yields
_CACHED_SAMPLES = 640_000  # an activation this large still lies in a CPU's cache


def resampling_matrices() -> tuple[Tensor, Tensor]:
    """The 2x up-sampler (22, 32) and down-sampler (42, 16) for blocks of 16 samples, float32.

    As matrix products over overlapping blocks the two filters run at the speed of a matrix library, which the
    grouped convolutions that say the same do not: 6 times faster on a CPU.
    """
    taps = low_pass_filter()
    up = torch.zeros(_BLOCK + 6, 2 * _BLOCK, device="cpu")
    down = torch.zeros(2 * _BLOCK + 10, _BLOCK, device="cpu")
    for t in range(_BLOCK):
        for j in range(-3, 3):  # sample t + j contributes to output 2t, and one further on to 2t + 1
            up[t + j + 3, 2 * t] = 2 * taps[5 - 2 * j]
            up[t + j + 4, 2 * t + 1] = 2 * taps[4 - 2 * j]
        down[2 * t : 2 * t + TAPS, t] = taps
    return up, down


@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)  # a matrix that inference makes serves training, too
def _matrices_on(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    up, down = resampling_matrices()
    return up.to(device, dtype), down.to(device, dtype)


class SnakeBeta(nn.Module):
    """Parameters of x + sin^2(x e^alpha) / e^beta, one pair per channel (Ziyin et al., arXiv:2006.08195)."""

    float32_parts = ("",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))


class AntiAliasedSnake(nn.Module):
    """SnakeBeta at twice the sample rate, between an interpolating and a decimating low-pass filter.

    Both filters extend their input by its edge values, and so does a ragged batch at the end of each item.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = SnakeBeta(channels)

    def forward(self, x: Tensor, ragged: Ragged) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        # Exponentials and sines of angles of many turns need float32, whatever the format of the signal.
        wide = torch.promote_types(self.act.alpha.dtype, torch.float32)
        frequency = self.act.alpha.to(wide).exp()
        magnitude = (self.act.beta.to(wide).exp() + 1e-9).reciprocal()
        fused = _fused_snake(x.device, x.dtype) if _may_be_fused(x, frequency) else None
        if fused is not None:
            return fused(x, ragged.lengths, frequency, magnitude)
        plain = type(x) in (Tensor, nn.Parameter)  # and not what a compiler traces with
        if ragged.lengths is None and plain and x.device.type == "cpu" and wide is torch.float32:
            trainable = _trainable_snake()
            if trainable is not None:
                return trainable(x.float(), frequency, magnitude).to(x.dtype)
        return self._in_steps(x.to(wide), ragged, frequency, magnitude).to(x.dtype)

    def _in_steps(self, x: Tensor, ragged: Ragged, frequency: Tensor, magnitude: Tensor) -> Tensor:
        upsampled = ragged.scaled(2)
        frequency, magnitude = frequency[:, None], magnitude[:, None]
        # On a CPU, a few channels at a time: every step then finds its input in the cache (3 times faster).
        group = x.shape[1]
        if x.device.type == "cpu":
            group = max(1, min(group, _CACHED_SAMPLES // (x.shape[0] * x.shape[2])))
        parts = [
            self._activate(
                x[:, i : i + group], frequency[i : i + group], magnitude[i : i + group], ragged, upsampled
            )
            for i in range(0, x.shape[1], group)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    @staticmethod
    def _activate(
        x: Tensor, frequency: Tensor, magnitude: Tensor, ragged: Ragged, upsampled: Ragged
    ) -> Tensor:
        batch, channels, size = x.shape
        up, down = _matrices_on(x.device, x.dtype)
        blocks = -(-size // _BLOCK)
        spare = blocks * _BLOCK - size

        x = F.pad(ragged.hold(x), (3, 3 + spare), mode="replicate").unfold(-1, _BLOCK + 6, _BLOCK) @ up
        x = x.reshape(batch, channels, -1)[..., : 2 * size]
        x = torch.addcmul(x, (x * frequency).sin().square(), magnitude)
        x = F.pad(upsampled.hold(x), (5, 5 + 2 * spare), mode="replicate")
        x = x.unfold(-1, 2 * _BLOCK + 10, 2 * _BLOCK) @ down
        return x.reshape(batch, channels, -1)[..., :size]


# x (B, C, T), lengths (B,) or None, frequency (C,), magnitude (C,) to (B, C, T)
_Fused = Callable[[Tensor, Tensor | None, Tensor, Tensor], Tensor]
_Trainable = Callable[[Tensor, Tensor, Tensor], Tensor]  # without lengths


def _may_be_fused(x: Tensor, frequency: Tensor) -> bool:
    if torch.is_grad_enabled() and (x.requires_grad or frequency.requires_grad):
        return False
    if x.device.type == "cpu":
        return x.dtype == torch.float32
    return x.device.type == "cuda" and x.dtype in (torch.float32, torch.float16, torch.bfloat16)


@cache
def _fused_snake(device: torch.device, dtype: torch.dtype) -> _Fused | None:
    """The activation in one pass: by Numba on a CPU, by Triton on a GPU.

    None where that is not installed, or does not work; it is tried once for each device and format.
    """
    compiler = "numba" if device.type == "cpu" else "triton"
    if find_spec(compiler) is None:
        return None
    try:
        fused = _import_fused(compiler)
        _check_fused(fused, device, dtype)
    except Exception as error:  # whatever a compiler can meet on somebody's machine
        logger.warning(
            "encoding is slower: %s %s",
            compiler.capitalize(),
            str(error).strip().split("\n")[0] or type(error).__name__,
        )
        return None
    return fused


def _trainable_snake() -> _Trainable | None:
    """The activation of whole items with gradients, by Numba on a CPU; None where that does not work."""
    return None if _fused_snake(torch.device("cpu"), torch.float32) is None else _checked_gradients()


@cache
def _checked_gradients() -> _Trainable | None:
    try:
        from neucodec_tts.codec.fused_snake_gradient import trainable_snake

        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            _check_gradients(trainable_snake)
    except Exception as error:  # as in `_fused_snake`
        logger.warning(
            "training is slower: Numba %s", str(error).strip().split("\n")[0] or type(error).__name__
        )
        return None
    return trainable_snake


def _check_gradients(trainable: _Trainable) -> None:
    """Compare gradients with those of the separate steps.

    Raises:
        AssertionError: they differ.
    """
    generator = torch.Generator().manual_seed(0)
    x, weights = torch.randn(2, 2, 3, 514, generator=generator)
    parameters = torch.rand(2, 3, generator=generator) + 0.5
    steps, found = AntiAliasedSnake(3), []
    for activate in (lambda x, f, m: steps._in_steps(x, Ragged(None, 514), f, m), trainable):
        inputs = [part.clone().requires_grad_() for part in (x, *parameters)]
        (activate(*inputs) * weights).sum().backward()
        found.append([part.grad for part in inputs])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


def _import_fused(compiler: str) -> _Fused:
    if compiler == "numba":
        from neucodec_tts.codec.fused_snake import fused_snake

        return fused_snake
    from neucodec_tts.codec.triton_snake import triton_snake

    return triton_snake


@torch.inference_mode()
def _check_fused(fused: _Fused, device: torch.device, dtype: torch.dtype) -> None:
    """Compare with the separate steps on a small ragged batch.

    Raises:
        AssertionError: the results differ.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 3, 2060, generator=generator).to(device, dtype)
    lengths = torch.tensor([2060, 1515, 1], device=device)
    frequency, magnitude = (torch.rand(2, 3, generator=generator) + 0.5).to(device)
    steps = AntiAliasedSnake(3)
    tolerance = max(1e-4, 4 * torch.finfo(dtype).eps)
    beside = x.transpose(1, 2).contiguous().transpose(1, 2)  # channels lie side by side
    found, again = fused(x, lengths, frequency, magnitude), fused(beside, lengths, frequency, magnitude)
    whole = fused(x, None, frequency, magnitude)
    for item, same, full, alone, n in zip(found, again, whole, x.float(), lengths.tolist(), strict=True):
        for result, size in ((item, n), (same, n), (full, x.shape[2])):
            with torch.autocast(device.type, enabled=False):  # whatever the first to encode chose
                expected = steps._in_steps(
                    alone[None, :, :size].clone(), Ragged(None, size), frequency, magnitude
                )
            torch.testing.assert_close(
                result[None, :, :size].float(), expected, rtol=tolerance, atol=tolerance
            )


class ResidualUnit(nn.Module):
    """Two activated convolutions, the first dilated, around which the input is added."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.snake1 = AntiAliasedSnake(channels)
        self.conv1 = ChannelsLastConv1d(
            channels, channels, kernel_size=7, dilation=dilation, padding=3 * dilation
        )
        self.snake2 = AntiAliasedSnake(channels)
        self.conv2 = ChannelsLastConv1d(channels, channels, kernel_size=1)

    def forward(self, x: Tensor, ragged: Ragged) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        hidden = self.conv1(ragged.zero(self.snake1(x, ragged)))
        return self.conv2(self.snake2(hidden, ragged)).add_(x)


class EncoderBlock(nn.Module):
    """Three residual units, then a convolution that divides the rate by ``stride`` and doubles the channels."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.res_unit1 = ResidualUnit(channels, dilation=1)
        self.res_unit2 = ResidualUnit(channels, dilation=3)
        self.res_unit3 = ResidualUnit(channels, dilation=9)
        self.snake1 = AntiAliasedSnake(channels)
        self.conv1 = ChannelsLastConv1d(
            channels, 2 * channels, kernel_size=2 * stride, stride=stride, padding=-(-stride // 2)
        )

    def forward(self, x: Tensor, ragged: Ragged) -> Tensor:
        """(B, C, T) to (B, 2C, T / stride)."""
        for unit in (self.res_unit1, self.res_unit2, self.res_unit3):
            x = unit(x, ragged)
        return self.conv1(ragged.zero(self.snake1(x, ragged)))


class AcousticEncoder(nn.Module):
    """16 kHz waveform (B, 1, T) to (B, hidden_size, T / hop), T a multiple of the hop (320 samples)."""

    float32_parts = ("conv1",)

    def __init__(self, config: NeuCodecConfig) -> None:
        super().__init__()
        self.ratios = tuple(config.downsampling_ratios)
        self.hop_length = math.prod(self.ratios)
        channels = config.encoder_hidden_size
        self.conv1 = ChannelsLastConv1d(1, channels, kernel_size=7, padding=3)
        self.block = nn.ModuleList()
        for ratio in self.ratios:
            self.block.append(EncoderBlock(channels, ratio))
            channels *= 2
        self.snake1 = AntiAliasedSnake(channels)
        self.conv2 = ChannelsLastConv1d(channels, config.hidden_size, kernel_size=3, padding=1)

    @property
    def reach(self) -> int:
        """Frames between a sample and the furthest frame that it changes (31 for NeuCodec)."""
        samples, rate = 3, 1
        for ratio in self.ratios:
            snakes = 7 * 6  # seven activations, whose two filters reach 6 samples of their input
            samples += rate * (snakes + 3 * (1 + 3 + 9) + 2 * ratio)
            rate *= ratio
        samples += rate * (6 + 1)
        return -(-samples // self.hop_length) + 1

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode a batch at once.

        Args:
            waveform: (B, 1, T) at 16 kHz, T a multiple of the hop.
            lengths: valid samples of each item, LongTensor (B,), multiples of the hop; None if all have T.

        Returns:
            (B, hidden_size, T / hop); what lies beyond an item's end has no meaning.
        """
        ragged = Ragged.of(lengths, waveform.shape[-1])
        x = self.conv1(ragged.zero(waveform.to(self.conv1.weight.dtype))).to(self.conv2.weight.dtype)
        for ratio, block in zip(self.ratios, self.block, strict=True):
            x = block(x, ragged)
            ragged = ragged.strided(ratio)
        return self.conv2(ragged.zero(self.snake1(x, ragged)))

    def forward_in_chunks(self, waveform: Tensor, lengths: Tensor | None, chunk_frames: int) -> Tensor:
        """As ``forward``, in pieces of ``chunk_frames`` that each see as far around them as the network reaches.

        Equal to ``forward`` up to rounding, in memory that does not grow with the length.
        """
        return forward_in_chunks(
            self,
            waveform,
            lengths,
            hop_length=self.hop_length,
            reach=self.reach,
            chunk_frames=chunk_frames,
        )
