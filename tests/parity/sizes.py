"""The configurations that are compared: one that takes milliseconds, and the released one."""

from __future__ import annotations

from transformers import NeuCodecConfig

# The 24 layers of facebook/w2v-bert-2.0 are cut to the 16 whose output is used; upstream runs, and saves, them all.
SEMANTIC_LAYERS_USED = 16


def small_config() -> NeuCodecConfig:
    """2.4 M parameters. No two sizes are equal, so that a mixed-up dimension cannot pass unnoticed."""
    return NeuCodecConfig(
        encoder_hidden_size=4,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
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
