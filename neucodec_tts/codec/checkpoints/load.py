"""Checkpoints: where they lie, which of two layouts they have, and what they must hold.

The two layouts are that of ``transformers`` (``config.json`` beside ``model.safetensors``; also what
``NeuCodec.save_pretrained`` writes) and that of upstream ``neucodec`` 0.0.6 (a lone ``pytorch_model.bin``), each for
the whole and the distilled codec. In the former X-Codec 2 is read, too, whose codes Llasa speaks.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neucodec_tts.codec.checkpoints.fingerprints import codebook_id
from neucodec_tts.codec.checkpoints.hub import Location, locate
from neucodec_tts.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import NeuCodecConfig

SEMANTIC_MODEL = "facebook/w2v-bert-2.0"
DISTILLED_SEMANTIC_MODEL = "ntu-spml/distilhubert"
_UPSTREAM_DISTILLED = "codec_encoder."
# What belongs to a decoder, and the fields of the configuration that describe it.
_DECODER = "acoustic_decoder."
_DECODER_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "attention_bias",
    "rms_norm_eps",
    "quantization_dim",
    "quantization_levels",
)
_LISTED = 8  # names that an error lists before it only counts


def load(location: Location, semantic_model: str | None = None) -> tuple[NeuCodecConfig, dict[str, Tensor]]:
    """Configuration and weights, named as in ``transformers``' ``NeuCodecModel`` or as in ``DistillNeuCodec``.

    Args:
        location: of the checkpoint.
        semantic_model: hub id or folder of the semantic encoder, where upstream's checkpoint does not hold it; None
            for the one that upstream takes.

    Raises:
        CheckpointError: a file is missing, damaged, or of another model.
    """
    config, weights = _read(location)
    if config is not None and not _is_upstream(weights):
        return config, weights
    return _convert_upstream(location, weights, semantic_model)


def load_decoder(location: Location) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The quantizer and the decoder of a checkpoint, without its encoder.

    Returns:
        The fields of ``NeuCodecConfig`` that describe them, with ``hop_length`` in samples for the rate and
        ``codec_id``, and their weights named as in ``transformers``.

    Raises:
        CheckpointError: a file is missing, damaged, or of another model.
    """
    from neucodec_tts.codec.checkpoints import upstream

    config, weights = _read(location)
    if config is not None and not _is_upstream(weights):
        fields = {name: getattr(config, name) for name in (*_DECODER_FIELDS, "hop_length")}
        named = getattr(config, "codec_id", None)
    else:
        fields, weights = upstream.convert_decoder(weights)
        named = None
    check_has(weights, "quantizer.project_out.weight", location.name)
    fields["codec_id"] = named or codebook_id(weights["quantizer.project_out.weight"])
    return fields, {key: value for key, value in weights.items() if key.startswith(_DECODER)}


def replace_decoder(
    config: NeuCodecConfig, weights: dict[str, Tensor], name: str, decoder: Location
) -> tuple[NeuCodecConfig, dict[str, Tensor]]:
    """The configuration and weights of a codec with the decoder of another checkpoint.

    Args:
        config: of the codec.
        weights: of the codec.
        name: of the codec, for errors.
        decoder: where the other checkpoint is.

    Raises:
        CheckpointError: it cannot be loaded, or decodes codes of another codebook.
    """
    check_has(weights, "quantizer.project_out.weight", name)
    own = getattr(config, "codec_id", None) or codebook_id(weights["quantizer.project_out.weight"])
    fields, decoding = load_decoder(decoder)
    theirs, hop = fields.pop("codec_id"), fields.pop("hop_length")
    if theirs != own:
        raise CheckpointError(
            f"{decoder.name} decodes the codes of the codec {theirs}, and {name} makes those of {own}; give it a "
            "decoder that was trained on its codes"
        )
    rate = hop * config.input_sampling_rate // config.encoder_hop_length
    changed = config.to_dict() | fields | {"output_sampling_rate": rate}
    kept = {key: value for key, value in weights.items() if not key.startswith(_DECODER)}
    return type(config).from_dict(changed), kept | decoding


def _read(location: Location) -> tuple[NeuCodecConfig | None, dict[str, Tensor]]:
    """The configuration, where a file describes one, and the weights as in their file."""
    config_path = location.find("config.json")
    config = None if config_path is None else read_config(config_path)
    if config is not None:
        weights = _read_weights(location)
        if weights is None:
            raise CheckpointError(
                f"{location.name} has a config.json, but neither model.safetensors nor a .bin file for torch"
            )
        return config, weights
    path = location.find("pytorch_model.bin")
    if path is None:
        raise CheckpointError(
            f"{location.name} holds no NeuCodec checkpoint: neither config.json and model.safetensors, nor "
            "upstream's pytorch_model.bin"
        )
    weights = read_pickle(path)
    if not _is_upstream(weights):
        raise CheckpointError(f"{location.name} has weights of another model: {_some(weights)}")
    return None, weights


def _convert_upstream(
    location: Location, weights: dict[str, Tensor], semantic_model: str | None
) -> tuple[NeuCodecConfig, dict[str, Tensor]]:
    from neucodec_tts.codec.checkpoints import upstream, upstream_distilled

    distilled = any(key.startswith(_UPSTREAM_DISTILLED) for key in weights)
    described = [location]
    if not any(key.startswith("semantic_model.") for key in weights):
        # Upstream fetches its frozen semantic encoder on its own; its checkpoint need not repeat it.
        source = locate(
            semantic_model or (DISTILLED_SEMANTIC_MODEL if distilled else SEMANTIC_MODEL),
            replace(location.hub, revision=None),
        )
        weights |= _semantic_weights(source)
        described.append(source)
    return (
        upstream_distilled.convert(weights, _normalizes(described))
        if distilled
        else upstream.convert(weights)
    )


def _semantic_weights(source: Location) -> dict[str, Tensor]:
    weights = _read_weights(source)
    if weights is None:
        raise CheckpointError(f"{source.name}, the semantic encoder, holds no model.safetensors")
    return {f"semantic_model.{key}": tensor for key, tensor in weights.items()}


def _normalizes(locations: Iterable[Location]) -> bool:
    """``do_normalize`` of the first feature extractor that says it; False, as DistilHuBERT's, if none does."""
    for location in locations:
        path = location.find("preprocessor_config.json")
        try:
            values = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} is not readable as JSON: {error}") from error
        if isinstance(values, dict) and "do_normalize" in values:
            return bool(values["do_normalize"])
    return False


def _is_upstream(weights: Iterable[str]) -> bool:
    return any(key.startswith(("CodecEnc.", _UPSTREAM_DISTILLED)) for key in weights)


def read_config(path: Path) -> NeuCodecConfig | None:
    """The configuration, or None where the file says nothing of the architecture, as upstream's would.

    Raises:
        CheckpointError: it is damaged, or describes another model.
    """
    from transformers import NeuCodecConfig

    from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig

    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable as JSON: {error}") from error
    if isinstance(values, dict) and values.get("model_type") == "xcodec2":
        values = _from_xcodec2(values)
    if isinstance(values, dict) and values and set(values) <= {"sample_rate", "hop_length", "decoder_depth"}:
        return None  # what upstream's PyTorchModelHubMixin writes: the arguments of its constructor
    kinds: dict[object, type[NeuCodecConfig]] = {
        kind.model_type: kind for kind in (NeuCodecConfig, DistillNeuCodecConfig)
    }
    kind = values.get("model_type") if isinstance(values, dict) else type(values).__name__
    if not isinstance(values, dict) or kind not in kinds:
        raise CheckpointError(
            f"{path} describes a model of type {kind!r}, not {' or '.join(map(repr, kinds))}"
        )
    try:
        return kinds[kind].from_dict(values)
    except Exception as error:  # whatever transformers' validation raises
        raise CheckpointError(f"{path} is not a valid configuration of NeuCodec: {error}") from error


def _from_xcodec2(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration of X-Codec 2 as one of NeuCodec, which is the same network with another last layer.

    Its sound has the rate of its input, and its semantic encoder hears half a hop of silence on either side.
    """
    rate = values.get("sampling_rate", 16_000)
    hop_length = math.prod(values.get("downsampling_ratios", (2, 2, 4, 4, 5)))
    kept = {name: value for name, value in values.items() if name not in ("sampling_rate", "architectures")}
    return {
        **kept,
        "model_type": "neucodec",
        "input_sampling_rate": rate,
        "output_sampling_rate": rate,
        "semantic_margin": hop_length // 2,
    }


def _read_weights(location: Location) -> dict[str, Tensor] | None:
    path = location.find("model.safetensors")
    if path is not None:
        return read_safetensors(path)
    index = location.find("model.safetensors.index.json")
    if index is not None:
        weights: dict[str, Tensor] = {}
        for name in sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())):
            shard = location.find(name)
            if shard is None:
                raise CheckpointError(
                    f"{location.name} lacks {name}, which its index names; download it again"
                )
            weights |= read_safetensors(shard)
        return weights
    path = location.find("pytorch_model.bin")
    return None if path is None else read_pickle(path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, on the CPU.

    Raises:
        CheckpointError: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged, perhaps half downloaded ({error}); get it again"
        ) from error


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Tensors of a pickle, on the CPU; nothing but tensors is ever unpickled.

    Raises:
        CheckpointError: the file is damaged, or holds something else.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors, which is not loaded"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged, perhaps half downloaded ({error}); get it again"
        ) from error
    if isinstance(weights, dict) and isinstance(weights.get("state_dict"), dict):
        weights = weights["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"{path} does not hold a dictionary of tensors")
    return weights


def check(expected: dict[str, Tensor], weights: dict[str, Tensor], name: str) -> None:
    """See that ``weights`` are just those expected, by name and shape.

    Raises:
        CheckpointError: it lists what is missing, unexpected, or of another shape.
    """
    missing = [key for key in expected if key not in weights]
    unexpected = [key for key in weights if key not in expected]
    misshaped = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in weights and weights[key].shape != expected[key].shape
    ]
    problems = [
        f"{len(keys)} {kind}: {_some(keys)}"
        for kind, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshaped))
        if keys
    ]
    if problems:
        raise CheckpointError(f"the weights of {name} do not fit its configuration; " + "; ".join(problems))


def check_has(weights: dict[str, Tensor], key: str, name: str) -> None:
    """See that ``weights`` hold one of this name.

    Raises:
        CheckpointError: they do not.
    """
    if key not in weights:
        raise CheckpointError(f"{name} lacks {key}; get it again")


def _some(keys: Iterable[str]) -> str:
    listed = list(keys)
    more = len(listed) - _LISTED
    return ", ".join(listed[:_LISTED]) + (f" and {more} more" if more > 0 else "")
