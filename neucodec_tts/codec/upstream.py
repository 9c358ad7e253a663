"""Upstream's checkpoints: ``pytorch_model.bin`` of ``neucodec`` 0.0.6 under the names of ``transformers``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from neucodec_tts.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import NeuCodecConfig

SEMANTIC_LAYERS = 16  # upstream reads hidden state 16 of its 24 layers
_HEAD_DIM = 64  # of upstream's decoder
_LEVELS = 4  # of each dimension of upstream's quantizer

_UNUSED = (
    # The heads of upstream's training, which its own loader drops.
    r"^fc_post_s\.",
    r"^SemanticDecoder",
    # Constants that follow from the configuration.
    r"\.filter$",
    r"\.istft\.window$",
    r"^generator\.quantizer\..*(_levels|_basis|implicit_codebook|scales|zero)$",
    # Parts of the semantic encoder that no code depends on.
    r"^semantic_model\.masked_spec_embed$",
    r"^semantic_model\.adapter\.",
)

_RENAMED = (
    (r"^semantic_model\.", "semantic_encoder."),
    (r"^SemanticEncoder_module\.initial_conv\.", "semantic_adapter.conv1."),
    (r"^SemanticEncoder_module\.residual_blocks\.1\.", "semantic_adapter.conv2."),
    (r"^SemanticEncoder_module\.residual_blocks\.3\.", "semantic_adapter.conv3."),
    (r"^SemanticEncoder_module\.final_conv\.", "semantic_adapter.conv4."),
    (r"^CodecEnc\.conv_blocks\.0\.", "acoustic_encoder.conv1."),
    (r"^CodecEnc\.conv_final_block\.0\.", "acoustic_encoder.snake1."),
    (r"^CodecEnc\.conv_final_block\.1\.", "acoustic_encoder.conv2."),
    (r"^fc_prior\.", "fc_encoder."),
    (r"^fc_post_a\.", "acoustic_decoder.fc."),
    (r"^generator\.quantizer\.", "quantizer."),
    (r"^generator\.head\.out\.", "acoustic_decoder.head.linear."),
    (r"^generator\.backbone\.final_layer_norm\.", "acoustic_decoder.norm."),
    (
        r"^generator\.backbone\.transformers\.(\d+)\.att\.c_proj\.",
        r"acoustic_decoder.layers.\1.self_attn.o_proj.",
    ),
    (
        r"^generator\.backbone\.transformers\.(\d+)\.att_norm\.",
        r"acoustic_decoder.layers.\1.input_layernorm.",
    ),
    (
        r"^generator\.backbone\.transformers\.(\d+)\.ffn_norm\.",
        r"acoustic_decoder.layers.\1.post_attention_layernorm.",
    ),
    (r"^generator\.backbone\.transformers\.(\d+)\.", r"acoustic_decoder.layers.\1."),
    (r"^generator\.backbone\.", "acoustic_decoder."),
)

_ENCODER_BLOCK = re.compile(r"^CodecEnc\.conv_blocks\.(\d+)\.block\.(\d)\.(?:block\.(\d)\.)?(.*)$")
_QUERY_KEY_VALUE = re.compile(r"^generator\.backbone\.transformers\.(\d+)\.att\.c_attn\.weight$")
_SEMANTIC_LAYER = re.compile(r"^semantic_model\.encoder\.layers\.(\d+)\.")


def convert(weights: dict[str, Tensor]) -> tuple[NeuCodecConfig, dict[str, Tensor]]:
    """Upstream's state dict to a configuration, read off its shapes, and weights named as in ``transformers``.

    Weight norm is folded into the weights it scales; what no code depends on is dropped by name. Unknown names are
    left as they are, for the caller to refuse.

    Raises:
        CheckpointError: a tensor is missing that tells the architecture, or half of a weight norm.
    """
    try:
        config = _read_off(weights)
    except (KeyError, IndexError) as error:
        raise CheckpointError(
            f"the checkpoint has the layout of neucodec 0.0.6, but lacks {error.args[0]}; get it again"
        ) from error
    converted: dict[str, Tensor] = {}
    for key, tensor in _fold_weight_norm(_used(weights)).items():
        attention = _QUERY_KEY_VALUE.match(key)
        if attention:
            prefix = f"acoustic_decoder.layers.{attention[1]}.self_attn"
            for name, part in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3, dim=0), strict=True):
                converted[f"{prefix}.{name}.weight"] = part.clone()
        else:
            converted[_rename(key)] = tensor
    return config, converted


def _used(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    unused = re.compile("|".join(_UNUSED))
    used = {}
    for key, tensor in weights.items():
        layer = _SEMANTIC_LAYER.match(key)
        if not unused.search(key) and not (layer and int(layer[1]) >= SEMANTIC_LAYERS):
            used[key] = tensor
    return used


def _fold_weight_norm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as upstream's modules use them, where the file may hold a convolution plain, weight-normed, or both.

    Upstream's encoder has weight norm and its decoder has none; what the other form says, its loader ignores.
    """
    halves = (".weight_g", ".weight_v")
    folded = {key: tensor for key, tensor in weights.items() if not key.endswith(halves)}
    for plain in dict.fromkeys(key[:-2] for key in weights if key.endswith(halves)):
        if plain in weights and not plain.startswith("CodecEnc."):
            continue
        try:
            length, direction = weights[f"{plain}_g"], weights[f"{plain}_v"]
        except KeyError as error:
            raise CheckpointError(
                f"the checkpoint has weight norm, but lacks {error.args[0]}; get it again"
            ) from error
        folded[plain] = direction * (length / torch.norm_except_dim(direction, 2, 0))
    return folded


def _rename(key: str) -> str:
    block = _ENCODER_BLOCK.match(key)
    if block:
        index, part, inner, rest = block.groups()
        name = ("res_unit1", "res_unit2", "res_unit3", "snake1", "conv1")[int(part)]
        if inner is not None:
            name += "." + ("snake1", "conv1", "snake2", "conv2")[int(inner)]
        return f"acoustic_encoder.block.{int(index) - 1}.{name}.{rest}"
    for pattern, replacement in _RENAMED:
        renamed, count = re.subn(pattern, replacement, key)
        if count:
            return renamed
    return key


def _read_off(weights: dict[str, Tensor]) -> NeuCodecConfig:
    from transformers import NeuCodecConfig, Wav2Vec2BertConfig

    def count(pattern: str) -> int:
        found = {int(match[1]) for key in weights if (match := re.match(pattern, key))}
        return max(found, default=-1) + 1

    def shape(key: str) -> torch.Size:
        return weights[key if key in weights else f"{key}_v"].shape

    ratios = [
        shape(f"CodecEnc.conv_blocks.{i}.block.4.weight")[-1] // 2
        for i in range(1, count(r"CodecEnc\.conv_blocks\.(\d+)\."))
    ]
    hidden = shape("generator.backbone.embed.weight")[0]
    layer = "semantic_model.encoder.layers.0"
    semantic_hidden = shape(f"{layer}.self_attn.linear_q.weight")[0]
    semantic = Wav2Vec2BertConfig(
        hidden_size=semantic_hidden,
        num_hidden_layers=min(SEMANTIC_LAYERS, count(r"semantic_model\.encoder\.layers\.(\d+)\.")),
        num_attention_heads=semantic_hidden // shape(f"{layer}.self_attn.distance_embedding.weight")[1],
        intermediate_size=shape(f"{layer}.ffn1.intermediate_dense.weight")[0],
        conv_depthwise_kernel_size=shape(f"{layer}.conv_module.depthwise_conv.weight")[-1],
        mask_time_prob=0.0,  # without it there is no masked_spec_embed, which only training uses
    )
    dimensions, quantization_dim = shape("generator.quantizer.project_in.weight")
    return NeuCodecConfig(
        hidden_size=hidden,
        intermediate_size=shape("generator.backbone.transformers.0.mlp.fc1.weight")[0],
        num_hidden_layers=count(r"generator\.backbone\.transformers\.(\d+)\."),
        num_attention_heads=hidden // _HEAD_DIM,
        num_key_value_heads=hidden // _HEAD_DIM,
        head_dim=_HEAD_DIM,
        encoder_hidden_size=shape("CodecEnc.conv_blocks.0.weight")[0],
        downsampling_ratios=ratios,
        semantic_model_config=semantic,
        quantization_dim=quantization_dim,
        quantization_levels=[_LEVELS] * dimensions,
    )
