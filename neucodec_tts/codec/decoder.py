"""The decoder: quantized vectors to waveform, with a Vocos-style backbone and an inverse STFT head."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import NeuCodecConfig

from neucodec_tts.codec.frames import Frames, MemoryLayout


class ResNetBlock(nn.Module):
    """Two convolutions with group norm over channels *and time*: its statistics are those of the whole item."""

    float32_parts = ("norm1", "norm2")

    def __init__(self, config: NeuCodecConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.norm1 = nn.GroupNorm(32, size, eps=1e-6)
        self.conv1 = nn.Conv1d(size, size, kernel_size=3, padding=1)
        self.norm2 = nn.GroupNorm(32, size, eps=1e-6)
        self.dropout = nn.Dropout(config.activation_dropout)
        self.conv2 = nn.Conv1d(size, size, kernel_size=3, padding=1)

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        hidden = frames.conv1d(self.conv1, F.silu(frames.group_norm(self.norm1, x)))
        hidden = self.dropout(F.silu(frames.group_norm(self.norm2, hidden)))
        return x + frames.conv1d(self.conv2, hidden)


class Attention(nn.Module):
    """Self-attention over all frames of an item.

    Quirk of the checkpoints: their rotary embedding takes the *head's* index for the position, the same for
    queries and keys, so that it cancels in every score. It is left out.
    """

    def __init__(self, config: NeuCodecConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.head_dim = config.head_dim
        inner = self.num_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, inner, bias=config.attention_bias)
        self.k_proj = nn.Linear(config.hidden_size, inner, bias=config.attention_bias)
        self.v_proj = nn.Linear(config.hidden_size, inner, bias=config.attention_bias)
        self.o_proj = nn.Linear(inner, config.hidden_size, bias=config.attention_bias)

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        key = frames.remember(self.k_proj, self.k_proj(x), frames.lookback)
        value = frames.remember(self.v_proj, self.v_proj(x), frames.lookback)
        mask = frames.mask_behind(frames.lookback)
        attended = F.scaled_dot_product_attention(
            self._heads(self.q_proj(x)),
            self._heads(key),
            self._heads(value),
            attn_mask=None if mask is None else mask[:, None, None, :],
        )
        return self.o_proj(attended.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, L, heads * head_dim) to (B, heads, L, head_dim)."""
        return x.unflatten(2, (self.num_heads, self.head_dim)).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with SiLU between."""

    def __init__(self, config: NeuCodecConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        return self.fc2(F.silu(self.fc1(x)))


class DecoderLayer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, config: NeuCodecConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        x = x + self.self_attn(self.input_layernorm(x), frames)
        return x + self.mlp(self.post_attention_layernorm(x))


class ISTFTHead(nn.Module):
    """Log-magnitude and phase of one STFT frame per code, and their inverse with Vocos' "same" padding.

    Source: ``gemelo-ai/vocos`` ``heads.py`` and ``spectral_ops.py``.
    """

    float32_parts = ("",)
    window: Tensor

    def __init__(self, config: NeuCodecConfig) -> None:
        super().__init__()
        self.n_fft = config.n_fft
        self.hop_length = config.hop_length
        #: Pieces before a frame that its samples are made from.
        self.reach = self.n_fft // self.hop_length // 2
        self.linear = nn.Linear(config.hidden_size, self.n_fft + 2)
        self.register_buffer("window", torch.hann_window(self.n_fft, device="cpu"), persistent=False)

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """(B, L, C) to waveform, float32 (B, L * hop)."""
        magnitude, phase = self.linear(x.to(self.linear.weight.dtype)).float().chunk(2, dim=-1)
        # Quirk of Vocos: magnitudes end at 100, "to prevent excessively large magnitudes".
        magnitude = magnitude.exp().clamp(max=1e2)
        spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
        pieces = torch.fft.irfft(spectrum, self.n_fft, dim=-1) * self.window
        # Samples of a frame are made from the pieces on either side of it, too.
        pieces = frames.remember(self, frames.zero(pieces, time=1), self.reach)
        mask = frames.mask_behind(self.reach)
        there = pieces.new_ones(1, pieces.shape[1]) if mask is None else mask.to(pieces.dtype)
        # Behind an item's end there is neither signal nor weight.
        audio = self._overlap_add(pieces) / self._overlapping_weight(there).clamp(min=1e-11)
        return audio[:, -x.shape[1] * self.hop_length :]

    def _overlap_add(self, pieces: Tensor) -> Tensor:
        """Pieces (B, L, n_fft), a hop apart, to (B, L * hop), without the padding on either side."""
        length, overlap = pieces.shape[1], self.n_fft // self.hop_length
        parts = pieces.unflatten(2, (overlap, self.hop_length))
        total = pieces.new_zeros(pieces.shape[0], length + overlap - 1, self.hop_length)
        for i in range(overlap):
            total[:, i : i + length] += parts[:, :, i]
        return self._without_padding(total)

    def _overlapping_weight(self, there: Tensor) -> Tensor:
        """The same of squared windows, where there are pieces: ones and zeros (B, L) to (B, L * hop)."""
        overlap = self.n_fft // self.hop_length
        of_parts = self.window.square().view(overlap, self.hop_length).flip(0)
        with torch.autocast(there.device.type, enabled=False):
            return self._without_padding(
                F.pad(there, (overlap - 1, overlap - 1)).unfold(1, overlap, 1) @ of_parts
            )

    def _without_padding(self, total: Tensor) -> Tensor:
        """(B, L + overlap - 1, hop) to (B, L * hop)."""
        padding = (self.n_fft - self.hop_length) // 2
        return total.flatten(1)[:, padding : total[0].numel() - padding]


class Interpolator(Protocol):
    """Fills in the vectors of codes that were left out. ``Decoder.forward`` takes one."""

    @property
    def factor(self) -> int:
        """Every so-many-th code is there: 2 for 25 codes a second, 4 for 12.5."""
        ...

    def __call__(self, x: Tensor, frames: Frames) -> Tensor:
        """Fill in.

        Args:
            x: (B, L, hidden_size), what the decoder's first layer makes of the codes that are there.
            frames: of the result, factor * L of them; those beyond an item's end have no meaning.

        Returns:
            (B, factor * L, hidden_size).
        """
        ...


class Decoder(nn.Module):
    """Vectors of the quantizer (B, L, quantization_dim) to waveform (B, L * hop), 24 kHz with hops of 480.

    Parameter names as in ``transformers``' ``NeuCodecDecoder`` (upstream ``codec_decoder_vocos.py``).
    """

    def __init__(self, config: NeuCodecConfig) -> None:
        super().__init__()
        self.fc = nn.Linear(config.quantization_dim, config.hidden_size)
        self.embed = nn.Conv1d(config.hidden_size, config.hidden_size, kernel_size=7, padding=3)
        self.prior_net = nn.ModuleList(ResNetBlock(config) for _ in range(2))
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.post_net = nn.ModuleList(ResNetBlock(config) for _ in range(2))
        self.norm = nn.LayerNorm(config.hidden_size, eps=1e-6)
        self.head = ISTFTHead(config)

    def forward(
        self,
        quantized: Tensor,
        lengths: Tensor | Frames | None = None,
        interpolator: Interpolator | None = None,
    ) -> Tensor:
        """Decode a batch at once.

        Args:
            quantized: (B, L, quantization_dim).
            lengths: valid frames of each item, LongTensor (B,), or ``Frames``, which may go on from others; None if
                all have L.
            interpolator: fills in frames after the first layer, where codes were left out; L is then their number
                before, and ``lengths`` are not ``Frames``.

        Returns:
            Waveform, float32 (B, L * hop), zero beyond an item's end; with an interpolator (B, factor * L * hop).
        """
        x = self.fc(quantized.to(self.fc.weight.dtype))
        if interpolator is not None:
            factor = interpolator.factor
            lengths = lengths * factor if isinstance(lengths, Tensor) else None
            lengths = Frames.of(lengths, x.shape[1] * factor)
            x = interpolator(x, lengths)
        frames = lengths if isinstance(lengths, Frames) else Frames.of(lengths, x.shape[1])
        x = frames.conv1d(self.embed, x)
        for block in self.prior_net:
            x = block(x, frames)
        for layer in self.layers:
            x = layer(x, frames)
        for block in self.post_net:
            x = block(x, frames)
        return self.head(self.norm(x), frames)

    def memory_layout(self, lookback: int) -> MemoryLayout:
        """The layout of a stream's memory, where attention sees ``lookback`` frames before a part."""
        shapes: dict[nn.Module, tuple[int, int]] = {}
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                shapes[module] = module.kernel_size[0] // 2, module.in_channels
            elif isinstance(module, nn.GroupNorm):
                shapes[module] = 2, module.num_groups
            elif isinstance(module, Attention):
                for projection in (module.k_proj, module.v_proj):
                    shapes[projection] = lookback, module.num_heads * module.head_dim
            elif isinstance(module, ISTFTHead):
                shapes[module] = module.reach, module.n_fft
        return MemoryLayout(shapes)
