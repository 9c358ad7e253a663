"""The semantic encoder: transformers' Wav2Vec2-BERT, cut to the layers that are used, and its adapter."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import NeuCodecConfig, Wav2Vec2BertConfig, Wav2Vec2BertModel

from neucodec_tts.codec.chunks import forward_in_chunks
from neucodec_tts.codec.devices import share_of
from neucodec_tts.codec.ragged import Ragged
from neucodec_tts.codec.relative_attention import RelativeAttention
from neucodec_tts.errors import CheckpointError

# Frames of a batch that a layer computes at a time, all but its keys and values.
_FRAMES_AT_ONCE = {"cpu": 2_048, "gpu": 32_768}


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


class SemanticEncoder(Wav2Vec2BertModel):
    """Wav2Vec2-BERT with faster attention; modules, parameters and their names are those of ``transformers``."""

    def __init__(self, config: Wav2Vec2BertConfig) -> None:
        if config.position_embeddings_type not in ("relative_key", None) or config.add_adapter:
            raise CheckpointError(
                f"semantic_model_config has position_embeddings_type={config.position_embeddings_type!r} and "
                f"add_adapter={config.add_adapter}; NeuCodec's semantic encoder has 'relative_key' and no adapter"
            )
        super().__init__(config)
        for layer in self.encoder.layers:
            layer.self_attn = RelativeAttention(config)

    def forward(self, input_features: Tensor, ragged: Ragged) -> Tensor:
        """Filter bank (B, frames, 160) to the last layer's hidden states (B, frames, hidden)."""
        hidden, _ = self.feature_projection(
            input_features.to(self.feature_projection.projection.weight.dtype)
        )
        for layer in self.encoder.layers:
            if torch.is_grad_enabled() or self.training or torch.is_autocast_enabled(hidden.device.type):
                # The layer's convolution is causal, and so never sees the padding behind an item.
                hidden = layer(hidden, attention_mask=ragged.mask, conv_attention_mask=None)
            else:
                _compute_in_place(layer, hidden, ragged.mask)
        return hidden


def _compute_in_place(layer: Any, hidden: Tensor, mask: Tensor | None) -> None:
    """A layer of ``transformers``' Wav2Vec2-BERT, some frames at a time, so that only keys and values are held of all.

    Args:
        layer: a ``Wav2Vec2BertEncoderLayer`` with a ``RelativeAttention``.
        hidden: (B, L, C), the layer's input, and afterwards its output.
        mask: BoolTensor (B, L), true for the frames to attend to; None for all.
    """
    size = max(1, share_of(_FRAMES_AT_ONCE, hidden.device) // hidden.shape[0])
    blocks = hidden.split(size, dim=1)
    for block in blocks:
        block += 0.5 * layer.ffn1(layer.ffn1_layer_norm(block))
    layer.self_attn.add_in_place(hidden, layer.self_attn_layer_norm, mask, size)
    convolution = layer.conv_module
    before = convolution.depthwise_conv.kernel_size[0] - 1
    gated = hidden.new_zeros(hidden.shape[0], before, hidden.shape[2])
    for block in blocks:
        x = convolution.pointwise_conv1(convolution.layer_norm(block).transpose(1, 2)).transpose(1, 2)
        # The convolution is causal: it sees the frames of the blocks before, and never the padding behind an item.
        gated = torch.cat([gated[:, gated.shape[1] - before :], F.glu(x, dim=2)], dim=1)
        x = convolution.depthwise_conv(gated.transpose(1, 2)).transpose(1, 2)
        x = convolution.activation(convolution.depthwise_layer_norm(x)).transpose(1, 2)
        block += convolution.pointwise_conv2(x).transpose(1, 2)
    for block in blocks:
        block += 0.5 * layer.ffn2(layer.ffn2_layer_norm(block))
        block.copy_(layer.final_layer_norm(block))


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
        if torch.is_grad_enabled():
            return self._convolve(x, ragged)
        return forward_in_chunks(
            lambda part, lengths: self._convolve(part, Ragged.of(lengths, part.shape[-1])),
            x,
            ragged.lengths,
            hop_length=1,
            reach=4,
            chunk_frames=max(1, share_of(_FRAMES_AT_ONCE, x.device) // x.shape[0]),
        )

    def _convolve(self, x: Tensor, ragged: Ragged) -> Tensor:
        # Quirk of upstream: its first ReLU works in place, so the residual is the activated signal.
        residual = self.conv1(ragged.zero(x)).relu()
        x = self.conv2(ragged.zero(residual)).relu()
        x = self.conv3(ragged.zero(x)) + residual
        return self.conv4(ragged.zero(x))
