"""The semantic encoder: transformers' Wav2Vec2-BERT, cut to the layers that are used, and its adapter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import NeuCodecConfig, Wav2Vec2BertConfig, Wav2Vec2BertModel

from neucodec_tts.codec.ragged import Ragged
from neucodec_tts.errors import CheckpointError

_SCORE_BYTES = 128 * 2**20  # attention scores held at a time


def semantic_config(config: NeuCodecConfig) -> Wav2Vec2BertConfig:
    """The part of the configuration that describes the semantic encoder.

    Raises:
        CheckpointError: it is not a Wav2Vec2-BERT.
    """
    semantic = config.semantic_model_config
    if not isinstance(semantic, Wav2Vec2BertConfig):
        raise CheckpointError(
            f"semantic_model_config is a {type(semantic).__name__}, not a Wav2Vec2BertConfig"
        )
    return semantic


class BlockwiseAttention(nn.Module):
    """Wav2Vec2-BERT's self-attention with relative keys, without the (length, length, head size) tensor.

    Distances are clamped to [-64, 8], so that each query needs 73 products with distance embeddings; they are
    spread over the keys as an additive bias, for a block of queries at a time. Parameter names as in
    ``transformers``' ``Wav2Vec2BertSelfAttention``.
    """

    def __init__(self, config: Wav2Vec2BertConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.head_size = size // self.num_heads
        self.left = config.left_max_position_embeddings
        self.right = config.right_max_position_embeddings
        self.linear_q = nn.Linear(size, size)
        self.linear_k = nn.Linear(size, size)
        self.linear_v = nn.Linear(size, size)
        self.linear_out = nn.Linear(size, size)
        self.distance_embedding: nn.Embedding | None = None
        if config.position_embeddings_type == "relative_key":
            self.distance_embedding = nn.Embedding(self.left + self.right + 1, self.head_size)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: object
    ) -> tuple[Tensor, None]:
        """(B, L, C) to (B, L, C); ``attention_mask`` is BoolTensor (B, L), true for the keys to attend to."""
        batch, length, _size = hidden_states.shape
        shape = (batch, length, self.num_heads, self.head_size)
        query = self.linear_q(hidden_states).view(shape).transpose(1, 2)
        key = self.linear_k(hidden_states).view(shape).transpose(1, 2)
        value = self.linear_v(hidden_states).view(shape).transpose(1, 2)
        block = max(1, _SCORE_BYTES // (batch * self.num_heads * length * query.element_size()))
        attended = [
            F.scaled_dot_product_attention(
                part, key, value, attn_mask=self._bias(part, start, length, attention_mask)
            )
            for start, part in zip(range(0, length, block), query.split(block, dim=2), strict=True)
        ]
        joined = torch.cat(attended, dim=2).transpose(1, 2).reshape(batch, length, -1)
        return self.linear_out(joined), None

    def _bias(self, query: Tensor, start: int, length: int, mask: Tensor | None) -> Tensor | None:
        """The mask added to the scores of the queries (B, H, Q, head) that start at ``start``."""
        bias = None
        if self.distance_embedding is not None:
            positions = torch.arange(length, device=query.device)
            queries = torch.arange(start, start + query.shape[2], device=query.device)
            index = (positions - queries[:, None]).clamp(-self.left, self.right) + self.left
            by_distance = (query @ self.distance_embedding.weight.to(query.dtype).T) * self.head_size**-0.5
            bias = by_distance.gather(-1, index.expand(*query.shape[:2], -1, -1))
        if mask is None:
            return bias
        if bias is None:
            return mask[:, None, None, :]
        return bias.masked_fill(~mask[:, None, None, :], float("-inf"))


class SemanticEncoder(Wav2Vec2BertModel):
    """Wav2Vec2-BERT with blockwise attention; modules, parameters and their names are those of ``transformers``."""

    def __init__(self, config: Wav2Vec2BertConfig) -> None:
        if config.position_embeddings_type not in ("relative_key", None) or config.add_adapter:
            raise CheckpointError(
                f"semantic_model_config has position_embeddings_type={config.position_embeddings_type!r} and "
                f"add_adapter={config.add_adapter}; NeuCodec's semantic encoder has 'relative_key' and no adapter"
            )
        super().__init__(config)
        for layer in self.encoder.layers:
            layer.self_attn = BlockwiseAttention(config)

    def forward(self, input_features: Tensor, ragged: Ragged) -> Tensor:
        """Filter bank (B, frames, 160) to the last layer's hidden states (B, frames, hidden)."""
        hidden, _ = self.feature_projection(
            input_features.to(self.feature_projection.projection.weight.dtype)
        )
        for layer in self.encoder.layers:
            # The layer's convolution is causal, and so never sees the padding behind an item.
            hidden = layer(hidden, attention_mask=ragged.mask, conv_attention_mask=None)
        return hidden


class SemanticAdapter(nn.Module):
    """Four convolutions from the semantic encoder to the quantizer; upstream's ``SemanticEncoder`` module."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, hidden_channels, kernel_size=3, padding=1, bias=False)
        self.conv2 = nn.Conv1d(hidden_channels, hidden_channels, kernel_size=3, padding=1)
        self.conv3 = nn.Conv1d(hidden_channels, hidden_channels, kernel_size=3, padding=1)
        self.conv4 = nn.Conv1d(hidden_channels, channels, kernel_size=3, padding=1, bias=False)

    def forward(self, x: Tensor, ragged: Ragged) -> Tensor:
        """(B, C, frames) to (B, C, frames)."""
        # Quirk of upstream: its first ReLU works in place, so the residual is the activated signal.
        residual = self.conv1(ragged.zero(x)).relu()
        x = self.conv2(ragged.zero(residual)).relu()
        x = self.conv3(ragged.zero(x)) + residual
        return self.conv4(ragged.zero(x))
