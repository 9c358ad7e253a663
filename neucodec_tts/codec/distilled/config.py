"""The sizes of a distilled NeuCodec."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import HubertConfig, NeuCodecConfig, PreTrainedConfig


def distilhubert_config() -> HubertConfig:
    """The configuration of ``ntu-spml/distilhubert``, as far as encoding depends on it.

    Source: ``convert_config`` in ``transformers``' ``convert_distilhubert_original_s3prl_checkpoint_to_pytorch.py``.
    """
    return HubertConfig(
        num_hidden_layers=2, feat_proj_layer_norm=False, apply_spec_augment=False, mask_time_prob=0.0
    )


@strict
class DistillNeuCodecConfig(NeuCodecConfig):
    """Configuration of ``DistillNeuCodec``; the defaults are the released sizes.

    The decoder and the quantizer are described by the fields of ``NeuCodecConfig``. Of the encoder's, two mean
    something else here, and the following are new.

    Args:
        semantic_model_config: a ``HubertConfig``.
        downsampling_ratios: strides of the acoustic encoder, the last of them behind its first transformer.
        encoder_hidden_size: width of the acoustic encoder's transformers.
        acoustic_size: width of the acoustic encoder's output.
        semantic_adapter_size: width inside the semantic adapter.
        normalize_waveform: give the semantic encoder each recording with zero mean and unit variance
            (``do_normalize`` of its feature extractor).
        encoder_channels: channels of the stages of convolutions in the acoustic encoder.
        encoder_depths: residual units of each of these stages.
        trend_channels: channels of the first convolution over each of the pooled waveforms.
        trend_pool_sizes: samples over which the waveform is pooled, odd.
        encoder_num_layers: layers of the transformer before, and of that after the last stride.
        encoder_num_attention_heads: in both transformers.
        encoder_head_dim: size of a head.
        attention_window: frames of a window of attention; before the last stride it spans as much time.
    """

    model_type = "distill_neucodec"

    downsampling_ratios: list[int] | tuple[int, ...] = (4, 4, 4, 5)
    encoder_hidden_size: int = 512
    semantic_model_config: dict | PreTrainedConfig | None = None
    acoustic_size: int = 768
    semantic_adapter_size: int = 1024
    normalize_waveform: bool = False
    encoder_channels: list[int] | tuple[int, ...] = (32, 64, 128, 256)
    encoder_depths: list[int] | tuple[int, ...] = (1, 1, 1, 2)
    trend_channels: int = 4
    trend_pool_sizes: list[int] | tuple[int, ...] = (1, 5, 11, 21, 45)
    encoder_num_layers: list[int] | tuple[int, ...] = (2, 3)
    encoder_num_attention_heads: int = 6
    encoder_head_dim: int = 128
    attention_window: int = 300

    def __post_init__(self, **kwargs: Any) -> None:
        if self.semantic_model_config is None:
            self.semantic_model_config = distilhubert_config()
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Check the sizes against each other; part of ``transformers``' validation."""
        super().validate_architecture()
        stages = len(self.encoder_channels)
        if not stages == len(self.encoder_depths) == len(self.downsampling_ratios):
            raise ValueError(
                f"encoder_channels, encoder_depths and downsampling_ratios must be equally long, not {stages}, "
                f"{len(self.encoder_depths)} and {len(self.downsampling_ratios)}"
            )
        if len(self.encoder_num_layers) != 2:
            raise ValueError("encoder_num_layers must be two numbers, for the two transformers")
        if any(size % 2 == 0 for size in self.trend_pool_sizes):
            raise ValueError(f"trend_pool_sizes must be odd, not {self.trend_pool_sizes}")
