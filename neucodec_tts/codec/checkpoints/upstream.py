"""Upstream's checkpoints: ``pytorch_model.bin`` of ``neucodec`` 0.0.6 under the names of ``transformers``.

``upstream_distilled`` reads those of the distilled codec with parts of this file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neucodec_tts.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import NeuCodecConfig

SEMANTIC_LAYERS = 16  # upstream reads hidden state 16 of its 24 layers
INPUT_RATE = 16_000  # Hz, of upstream's encoders
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

RENAMED = (
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

    Weight norm is folded into the weights it scales, and weights that no code depends on are dropped by name. Unknown
    names are left as they are, for the caller to refuse.

    Raises:
        CheckpointError: a tensor is missing that tells the architecture, or half of a weight norm.
    """
    try:
        config = _read_off(Shapes(weights))
    except (KeyError, IndexError) as error:
        raise incomplete(error) from error
    return config, renamed(fold_weight_norm(_used(weights)), _rename)


def convert_decoder(weights: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The quantizer and the decoder of upstream's state dict, whole or distilled, whatever its encoder.

    Returns:
        The fields of ``NeuCodecConfig`` that describe them, ``hop_length`` in samples among them, and their weights
        named as in ``transformers``.

    Raises:
        CheckpointError: a tensor is missing that tells the architecture, or half of a weight norm.
    """
    own = {key: tensor for key, tensor in weights.items() if key.startswith(("generator.", "fc_post_a."))}
    shapes = Shapes(own)
    try:
        fields = shapes.decoder() | {"hop_length": shapes.output_hop()}
    except (KeyError, IndexError) as error:
        raise incomplete(error) from error
    return fields, renamed(fold_weight_norm(without_unused(own)), _rename)


def incomplete(error: KeyError | IndexError) -> CheckpointError:
    """The error for a tensor that tells the architecture and is not there."""
    return CheckpointError(
        f"the checkpoint has the layout of neucodec 0.0.6, but lacks {error.args[0]}; get it again"
    )


class Shapes:
    """Sizes of an architecture, read off the tensors of a checkpoint."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def __contains__(self, key: str) -> bool:
        return key in self.weights

    def of(self, key: str) -> torch.Size:
        """Shape of a weight, which may be there plain or weight-normed.

        Raises:
            KeyError: it is not there.
        """
        return self.weights[key if key in self.weights else f"{key}_v"].shape

    def count(self, pattern: str) -> int:
        """Number of modules in a list; the pattern's first group is the index."""
        found = {int(match[1]) for key in self.weights if (match := re.match(pattern, key))}
        return max(found, default=-1) + 1

    def output_hop(self) -> int:
        """Samples that the decoder makes of one code: a quarter of its Fourier transform, which the head's size tells.

        Raises:
            CheckpointError: the head is none of such a decoder.
            KeyError: it is not there.
        """
        rows = self.of("generator.head.out.weight")[0]
        if rows < 6 or (rows - 2) % 4:
            raise CheckpointError(
                f"generator.head.out.weight has {rows} rows, and a decoder's has 4 hops and 2 more; get it again"
            )
        return (rows - 2) // 4

    def decoder(self) -> dict[str, Any]:
        """The fields of ``NeuCodecConfig`` that describe quantizer and decoder, but for its rate."""
        hidden = self.of("generator.backbone.embed.weight")[0]
        dimensions, quantization_dim = self.of("generator.quantizer.project_in.weight")
        return {
            "hidden_size": hidden,
            "intermediate_size": self.of("generator.backbone.transformers.0.mlp.fc1.weight")[0],
            "num_hidden_layers": self.count(r"generator\.backbone\.transformers\.(\d+)\."),
            "num_attention_heads": hidden // _HEAD_DIM,
            "num_key_value_heads": hidden // _HEAD_DIM,
            "head_dim": _HEAD_DIM,
            "quantization_dim": quantization_dim,
            "quantization_levels": [_LEVELS] * dimensions,
        }


def renamed(weights: dict[str, Tensor], rename: Callable[[str], str]) -> dict[str, Tensor]:
    """Weights under new names, the decoder's joint query, key and value weights taken apart."""
    converted: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        attention = _QUERY_KEY_VALUE.match(key)
        if attention:
            prefix = f"acoustic_decoder.layers.{attention[1]}.self_attn"
            for name, part in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3, dim=0), strict=True):
                converted[f"{prefix}.{name}.weight"] = part.clone()
        else:
            converted[rename(key)] = tensor
    return converted


def _used(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    used = without_unused(weights)
    for key in list(used):
        layer = _SEMANTIC_LAYER.match(key)
        if layer and int(layer[1]) >= SEMANTIC_LAYERS:
            del used[key]
    return used


def without_unused(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights but those that no code depends on."""
    unused = re.compile("|".join(_UNUSED))
    return {key: tensor for key, tensor in weights.items() if not unused.search(key)}


def fold_weight_norm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as upstream's modules use them, where the file may hold a convolution plain, weight-normed, or both.

    Upstream's encoders have weight norm and its decoder has none; its loader ignores the other form.
    """
    halves = (".weight_g", ".weight_v")
    folded = {key: tensor for key, tensor in weights.items() if not key.endswith(halves)}
    for plain in dict.fromkeys(key[:-2] for key in weights if key.endswith(halves)):
        if plain in weights and plain.startswith("generator."):
            continue
        try:
            length, direction = weights[f"{plain}_g"], weights[f"{plain}_v"]
        except KeyError as error:
            raise CheckpointError(
                f"the checkpoint has weight norm, but lacks {error.args[0]}; get it again"
            ) from error
        axis = next((axis for axis, size in enumerate(length.shape) if size > 1), 0)
        folded[plain] = direction * (length / torch.norm_except_dim(direction, 2, axis))
    return folded


def _rename(key: str) -> str:
    block = _ENCODER_BLOCK.match(key)
    if block:
        index, part, inner, rest = block.groups()
        name = ("res_unit1", "res_unit2", "res_unit3", "snake1", "conv1")[int(part)]
        if inner is not None:
            name += "." + ("snake1", "conv1", "snake2", "conv2")[int(inner)]
        return f"acoustic_encoder.block.{int(index) - 1}.{name}.{rest}"
    return rename_by(RENAMED, key)


def rename_by(rules: Sequence[tuple[str, str]], key: str) -> str:
    """``key`` by the first of the rules (pattern, replacement) that matches, or as it is."""
    for pattern, replacement in rules:
        new, count = re.subn(pattern, replacement, key)
        if count:
            return new
    return key


def _read_off(shapes: Shapes) -> NeuCodecConfig:
    from transformers import NeuCodecConfig, Wav2Vec2BertConfig

    ratios = [
        shapes.of(f"CodecEnc.conv_blocks.{i}.block.4.weight")[-1] // 2
        for i in range(1, shapes.count(r"CodecEnc\.conv_blocks\.(\d+)\."))
    ]
    decoder = shapes.decoder()
    layer = "semantic_model.encoder.layers.0"
    semantic_hidden = shapes.of(f"{layer}.self_attn.linear_q.weight")[0]
    semantic = Wav2Vec2BertConfig(
        hidden_size=semantic_hidden,
        num_hidden_layers=min(SEMANTIC_LAYERS, shapes.count(r"semantic_model\.encoder\.layers\.(\d+)\.")),
        num_attention_heads=semantic_hidden // shapes.of(f"{layer}.self_attn.distance_embedding.weight")[1],
        intermediate_size=shapes.of(f"{layer}.ffn1.intermediate_dense.weight")[0],
        conv_depthwise_kernel_size=shapes.of(f"{layer}.conv_module.depthwise_conv.weight")[-1],
        mask_time_prob=0.0,  # without it there is no masked_spec_embed, which only training uses
    )
    return NeuCodecConfig(
        **decoder,
        output_sampling_rate=shapes.output_hop() * INPUT_RATE // math.prod(ratios),
        encoder_hidden_size=shapes.of("CodecEnc.conv_blocks.0.weight")[0],
        downsampling_ratios=ratios,
        semantic_model_config=semantic,
    )
