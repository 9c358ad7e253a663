"""``DistillNeuCodec``: NeuCodec with an encoder distilled to a tenth of its size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import HubertConfig, NeuCodecConfig

from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig
from neucodec_tts.codec.distilled.encoder import DistillAcousticEncoder
from neucodec_tts.codec.distilled.hubert import DistilHubert
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.codec.ragged import Ragged
from neucodec_tts.codec.semantic_encoder import SemanticAdapter
from neucodec_tts.errors import CheckpointError


class DistillNeuCodec(NeuCodec):
    """The codec with its distilled encoder: DistilHuBERT and the acoustic encoder of SQCodec.

    It is used as ``NeuCodec`` is, decodes as it does, and its codes are made to be understood by the same decoder.
    Behaviour as upstream's class of that name, one item at a time in float32 (``neucodec`` 0.0.6, ``model.py``).
    A recording has one code more than ``NeuCodec`` gives it, floor(samples / 320) + 1, for the silence that upstream
    pads it with, and may be shorter than a frame.

    ``from_pretrained("neuphonic/distill-neucodec")`` loads the released one.
    """

    architecture = "DistillNeuCodec"
    config_class = DistillNeuCodecConfig
    config: DistillNeuCodecConfig
    # The parts have NeuCodec's names, and other classes.
    semantic_encoder: DistilHubert  # type: ignore[assignment]
    acoustic_encoder: DistillAcousticEncoder  # type: ignore[assignment]

    def _make_encoder(self, config: NeuCodecConfig) -> None:
        if not isinstance(config, DistillNeuCodecConfig):
            raise CheckpointError(
                f"DistillNeuCodec takes a DistillNeuCodecConfig, not a {type(config).__name__}"
            )
        semantic = config.semantic_model_config
        if not isinstance(semantic, HubertConfig):
            raise CheckpointError(f"semantic_model_config is a {type(semantic).__name__}, not a HubertConfig")
        self.semantic_encoder = DistilHubert(semantic)
        if self.semantic_encoder.hop_length != config.encoder_hop_length:
            raise CheckpointError(
                f"the semantic encoder has a frame every {self.semantic_encoder.hop_length} samples, and the acoustic "
                f"encoder every {config.encoder_hop_length}; conv_stride and downsampling_ratios must have one product"
            )
        self.semantic_adapter = SemanticAdapter(semantic.hidden_size, config.semantic_adapter_size)
        self.acoustic_encoder = DistillAcousticEncoder(config)
        self.fc_encoder = nn.Linear(semantic.hidden_size + config.acoustic_size, config.quantization_dim)

    def _encode_branches(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        frames = lengths // self.input_hop_length
        semantic = self.semantic_encoder(waveform, lengths, self.config.normalize_waveform)
        ragged = Ragged.of(frames, semantic.shape[1])
        semantic = self.semantic_adapter(semantic.transpose(1, 2), ragged)
        acoustic = self._encode_acoustic(waveform, lengths)
        return torch.cat([semantic, acoustic], dim=1).transpose(1, 2), frames

    @property
    def min_samples(self) -> int:
        """Fewest samples that can be encoded: 1, for they are padded to a frame."""
        return 1

    def _preprocessor_config(self) -> dict[str, Any]:
        """The feature extractor of DistilHuBERT."""
        return {
            "do_normalize": self.config.normalize_waveform,
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": False,
            "sampling_rate": self.input_sample_rate,
        }
