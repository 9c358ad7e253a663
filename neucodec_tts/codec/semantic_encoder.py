"""The semantic encoder: transformers' Wav2Vec2-BERT, cut to the layers that are used, and its adapter."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import NeuCodecConfig, Wav2Vec2BertConfig, Wav2Vec2BertModel

from neucodec_tts.codec.ragged import Ragged
from neucodec_tts.codec.relative_attention import RelativeAttention
from neucodec_tts.errors import CheckpointError


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
