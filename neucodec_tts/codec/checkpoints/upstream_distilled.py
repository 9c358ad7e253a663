"""Upstream's distilled checkpoints: ``pytorch_model.bin`` of ``neuphonic/distill-neucodec`` under our names."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from torch import Tensor

from neucodec_tts.codec.checkpoints.upstream import (
    INPUT_RATE,
    RENAMED,
    Shapes,
    fold_weight_norm,
    incomplete,
    rename_by,
    renamed,
    without_unused,
)
from neucodec_tts.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import HubertConfig

    from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig

_HEAD_DIM = 64  # of HuBERT
_BLOCKS = "codec_encoder.encoder.blocks"
_CACHE = "codec_encoder.en_encoder.cache_token"
_UNIT = re.compile(r"^codec_encoder\.encoder\.blocks\.(\d+)\.(\d+)\.module\.(\w+)\.(\w+)$")
_STRIDE = re.compile(r"^codec_encoder\.encoder\.blocks\.(\d+)\.(?:0\.)?(weight|bias)$")
_UNIT_PARTS = {"dw_conv": "depthwise", "pw_conv1": "fc1", "act": "snake", "pw_conv2": "fc2"}

_ACOUSTIC_RENAMED = (
    (r"^codec_encoder\.encoder\.blocks\.0\.blocks\.(\d+)\.1\.", r"acoustic_encoder.trends.convs.\1."),
    (r"^codec_encoder\.encoder\.blocks\.0\.conv_(\d)\.", r"acoustic_encoder.trends.mix\1."),
    (r"^codec_encoder\.en_encoder\.down_trans\.down_layer\.", "acoustic_encoder.down."),
    (r"^codec_encoder\.en_encoder\.down_trans\.trans\.", "acoustic_encoder.transformer1."),
    (r"^codec_encoder\.en_encoder\.local_trans\.", "acoustic_encoder.transformer2."),
    (r"^fc_sq_prior\.", "acoustic_encoder.fc."),
)
_TRANSFORMER_RENAMED = (
    (r"\.dynamic_pos_bias\.mlp\.0\.", ".position_bias.linear1."),
    (r"\.dynamic_pos_bias\.mlp\.2\.", ".position_bias.linear2."),
    (r"\.dynamic_pos_bias\.mlp\.4\.", ".position_bias.linear3."),
    (r"\.layers\.(\d+)\.0\.norm\.", r".layers.\1.attention_norm."),
    (r"\.layers\.(\d+)\.0\.to_(qkv|out)\.", r".layers.\1.\2."),
    (r"\.layers\.(\d+)\.1\.0\.", r".layers.\1.feed_forward_norm."),
    (r"\.layers\.(\d+)\.1\.1\.", r".layers.\1.fc1."),
    (r"\.layers\.(\d+)\.1\.4\.", r".layers.\1.fc2."),
)


def convert(
    weights: dict[str, Tensor], normalize_waveform: bool
) -> tuple[DistillNeuCodecConfig, dict[str, Tensor]]:
    """Upstream's state dict to a configuration, read off its shapes, and weights under our names.

    Weight norm and response norm are folded into the weights they scale. Unknown names are left as they are, for
    the caller to refuse.

    Args:
        weights: as in the file, with those of DistilHuBERT under ``semantic_model.``.
        normalize_waveform: ``do_normalize`` of DistilHuBERT's feature extractor.

    Raises:
        CheckpointError: a tensor is missing that tells the architecture, or half of a norm.
    """
    weights = {
        re.sub(
            r"\.parametrizations\.weight\.original([01])$", lambda half: ".weight_" + "gv"[int(half[1])], key
        ): t
        for key, t in weights.items()
    }
    try:
        config = _read_off(Shapes(weights), normalize_waveform)
    except (KeyError, IndexError) as error:
        raise incomplete(error) from error
    folded = _fold_response_norm(fold_weight_norm(without_unused(weights)))
    if _CACHE in folded and folded[_CACHE].numel() == 0:
        del folded[_CACHE]  # upstream's model has no cache tokens, but a parameter for them
    return config, {key: _reshaped(key, tensor) for key, tensor in renamed(folded, _rename).items()}


def _fold_response_norm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fold upstream's ``GRN``, (1 + gamma) x + beta in ``ConvUnit``, into the linear layer behind it."""
    folded = dict(weights)
    for key in weights:
        unit = _UNIT.match(key)
        if not unit or (unit[3], unit[4]) != ("grn", "gamma"):
            continue
        prefix = key.removesuffix("grn.gamma")
        try:
            gamma, beta = folded.pop(key), folded.pop(f"{prefix}grn.beta")
            weight, bias = folded[f"{prefix}pw_conv2.weight"], folded[f"{prefix}pw_conv2.bias"]
        except KeyError as error:
            raise CheckpointError(
                f"the checkpoint has response norm, but lacks {error.args[0]}; get it again"
            ) from error
        folded[f"{prefix}pw_conv2.bias"] = bias + weight @ beta.flatten()
        folded[f"{prefix}pw_conv2.weight"] = weight * (1 + gamma.flatten())
    return folded


def _rename(key: str) -> str:
    unit = _UNIT.match(key)
    if unit and unit[3] in _UNIT_PARTS:
        stage = (int(unit[1]) - 1) // 2
        return f"acoustic_encoder.stages.{stage}.units.{unit[2]}.{_UNIT_PARTS[unit[3]]}.{unit[4]}"
    stride = _STRIDE.match(key)
    if stride:
        return f"acoustic_encoder.stages.{int(stride[1]) // 2 - 1}.conv.{stride[2]}"
    return (
        rename_by(_TRANSFORMER_RENAMED, rename_by(_ACOUSTIC_RENAMED, key))
        if _acoustic(key)
        else rename_by(RENAMED, key)
    )


def _acoustic(key: str) -> bool:
    return key.startswith(("codec_encoder.", "fc_sq_prior."))


def _reshaped(key: str, tensor: Tensor) -> Tensor:
    if key.endswith(".snake.alpha"):
        return tensor.flatten()
    if re.search(r"\.units\.\d+\.fc[12]\.weight$", key):
        return tensor[..., None]  # upstream's linear layers are convolutions here
    return tensor


def _read_off(shapes: Shapes, normalize_waveform: bool) -> DistillNeuCodecConfig:
    from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig

    stages = range(1, shapes.count(r"codec_encoder\.encoder\.blocks\.(\d+)\."), 2)
    transformer1 = "codec_encoder.en_encoder.down_trans.trans"
    heads = shapes.of(f"{transformer1}.dynamic_pos_bias.mlp.4.weight")[0]
    down = shapes.of("codec_encoder.en_encoder.down_trans.down_layer.weight")
    ratios = [shapes.of(f"{_BLOCKS}.{i + 1}.0.weight")[-1] for i in stages[:-1]] + [down[-1]]
    return DistillNeuCodecConfig(
        **shapes.decoder(),
        output_sampling_rate=shapes.output_hop() * INPUT_RATE // math.prod(ratios),
        semantic_model_config=_read_off_hubert(shapes),
        normalize_waveform=normalize_waveform,
        semantic_adapter_size=shapes.of("SemanticEncoder_module.initial_conv.weight")[0],
        downsampling_ratios=ratios,
        encoder_channels=[shapes.of(f"{_BLOCKS}.{i}.0.module.dw_conv.weight")[0] for i in stages],
        encoder_depths=[
            shapes.count(rf"codec_encoder\.encoder\.blocks\.{i}\.(\d+)\.module\.") for i in stages
        ],
        trend_channels=shapes.of(f"{_BLOCKS}.0.blocks.0.1.weight")[0],
        encoder_hidden_size=down[0],
        encoder_num_layers=[
            shapes.count(r"codec_encoder\.en_encoder\.down_trans\.trans\.layers\.(\d+)\."),
            shapes.count(r"codec_encoder\.en_encoder\.local_trans\.layers\.(\d+)\."),
        ],
        encoder_num_attention_heads=heads,
        encoder_head_dim=shapes.of(f"{transformer1}.layers.0.0.to_qkv.weight")[0] // (3 * heads),
        acoustic_size=shapes.of("fc_sq_prior.weight")[0],
    )


def _read_off_hubert(shapes: Shapes) -> HubertConfig:
    from transformers import HubertConfig

    convolutions = [
        shapes.of(f"semantic_model.feature_extractor.conv_layers.{i}.conv.weight")
        for i in range(shapes.count(r"semantic_model\.feature_extractor\.conv_layers\.(\d+)\."))
    ]
    hidden, grouped, positions = shapes.of("semantic_model.encoder.pos_conv_embed.conv.weight")
    return HubertConfig(
        hidden_size=hidden,
        num_hidden_layers=shapes.count(r"semantic_model\.encoder\.layers\.(\d+)\."),
        num_attention_heads=hidden // _HEAD_DIM,
        intermediate_size=shapes.of("semantic_model.encoder.layers.0.feed_forward.intermediate_dense.weight")[
            0
        ],
        feat_proj_layer_norm="semantic_model.feature_projection.layer_norm.weight" in shapes,
        conv_dim=[shape[0] for shape in convolutions],
        conv_kernel=[shape[-1] for shape in convolutions],
        conv_stride=list(HubertConfig().conv_stride)[: len(convolutions)],
        conv_bias="semantic_model.feature_extractor.conv_layers.0.conv.bias" in shapes,
        num_conv_pos_embeddings=positions,
        num_conv_pos_embedding_groups=hidden // grouped,
        apply_spec_augment=False,
        mask_time_prob=0.0,  # without it there is no masked_spec_embed, which only training uses
    )
