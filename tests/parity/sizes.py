"""The configurations that are compared: one that takes milliseconds, and the released one."""

from __future__ import annotations

from transformers import NeuCodecConfig

from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig

# The 24 layers of facebook/w2v-bert-2.0 are cut to the 16 whose output is used; upstream runs, and saves, them all.
SEMANTIC_LAYERS_USED = 16

SMALL_WINDOW = 20
"""Frames of the small distilled model's windows of attention, which its file does not tell; the released have 300."""


OTHER_DECODERS = {"44.1 kHz": (44_100, 4), "48 kHz": (48_000, 5)}
"""Rates in Hz and layers of decoders as `Scicom-AI-Enterprise-Organization/neucodec-44k` trains them; theirs have
12, 16 or 20 layers."""


def small_config(output_rate: int = 24_000, layers: int = 3) -> NeuCodecConfig:
    """2.4 M parameters. No two sizes are equal, so that a mixed-up dimension cannot pass unnoticed."""
    return NeuCodecConfig(
        encoder_hidden_size=4,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=layers,
        output_sampling_rate=output_rate,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=64,
        quantization_dim=176,
        semantic_model_config={
            "model_type": "wav2vec2-bert",
            "hidden_size": 48,
            "num_hidden_layers": SEMANTIC_LAYERS_USED,
            "num_attention_heads": 3,
            "intermediate_size": 80,
        },
    )


def full_config() -> NeuCodecConfig:
    """The released model: 800 M parameters."""
    return NeuCodecConfig()


def small_distilled_config() -> DistillNeuCodecConfig:
    """3 M parameters, no two sizes equal; what upstream's file does not tell is as released."""
    return DistillNeuCodecConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        quantization_dim=176,
        semantic_model_config={
            "model_type": "hubert",
            "hidden_size": 192,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 80,
            "conv_dim": [18, 20, 22, 24, 26, 30, 34],
            "feat_proj_layer_norm": False,
            "mask_time_prob": 0.0,
        },
        semantic_adapter_size=44,
        acoustic_size=56,
        encoder_channels=[8, 12, 20, 28],
        encoder_hidden_size=36,
        encoder_head_dim=9,
    )


def full_distilled_config() -> DistillNeuCodecConfig:
    """The released distilled model: 250 M parameters, 188 M of them in the decoder."""
    return DistillNeuCodecConfig()
