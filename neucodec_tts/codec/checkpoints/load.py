"""Checkpoints: where they lie, which of two layouts they have, and what they must hold.

The two layouts are that of ``transformers`` (``config.json`` beside ``model.safetensors``; also what
``NeuCodec.save_pretrained`` writes) and that of upstream ``neucodec`` 0.0.6 (a lone ``pytorch_model.bin``), each for
the whole and the distilled codec. In the former X-Codec 2 is read, too, whose codes Llasa speaks.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import pickle
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import torch
from torch import Tensor

from neucodec_tts.built_in import CODECS
from neucodec_tts.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import NeuCodecConfig

logger = logging.getLogger(__name__)

SEMANTIC_MODEL = "facebook/w2v-bert-2.0"
DISTILLED_SEMANTIC_MODEL = "ntu-spml/distilhubert"
_UPSTREAM_DISTILLED = "codec_encoder."
_LISTED = 8  # names that an error lists before it only counts


@dataclass(frozen=True)
class Location:
    """A folder, or a repository of the hub, and how to reach it."""

    name: str
    folder: Path | None = None
    revision: str | None = None
    cache_dir: str | Path | None = None
    token: str | bool | None = None
    local_files_only: bool = False

    def find(self, filename: str) -> Path | None:
        """Path of a file, downloaded if need be; None if the folder or the repository has no such file.

        Raises:
            CheckpointError: the hub cannot be reached, or has no such repository.
        """
        if self.folder is not None:
            path = self.folder / filename
            return path if path.is_file() else None
        return self._download(filename)

    def _download(self, filename: str) -> Path | None:
        from huggingface_hub import constants as hub
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        offline = self.local_files_only or hub.HF_HUB_OFFLINE
        if offline or not _reachable(hub.ENDPOINT):
            cached = try_to_load_from_cache(
                self.name, filename, cache_dir=self.cache_dir, revision=self.revision
            )
            if isinstance(cached, str):
                return Path(cached)
            if try_to_load_from_cache(
                self.name, "config.json", cache_dir=self.cache_dir, revision=self.revision
            ):
                return None  # the repository has been downloaded before, without this file
            why = "offline mode is on" if offline else f"{hub.ENDPOINT} cannot be reached"
            raise CheckpointError(
                f"cannot get {self.name!r}: {why}, and it is not in the cache; connect to the network, name a folder, "
                "or use the built-in 'tiny'"
            )
        try:
            return Path(
                hf_hub_download(
                    self.name, filename, revision=self.revision, cache_dir=self.cache_dir, token=self.token
                )
            )
        except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            raise CheckpointError(f"cannot get {filename} of {self.name!r} from the hub: {error}") from error
        except GatedRepoError as error:
            raise CheckpointError(
                f"{self.name!r} is gated: accept its conditions on the hub and log in with `hf auth login`"
            ) from error
        except RepositoryNotFoundError as error:
            raise CheckpointError(
                f"{self.name!r} is neither a folder here, nor a built-in model ({', '.join(CODECS)}), nor a "
                "repository of the hub that you can read"
            ) from error
        except RevisionNotFoundError as error:
            raise CheckpointError(f"{self.name!r} has no revision {self.revision!r}") from error
        except EntryNotFoundError:
            return None
        except (HfHubHTTPError, OSError) as error:
            raise CheckpointError(f"cannot get {filename} of {self.name!r} from the hub: {error}") from error


def locate(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Location:
    """What a user means by ``name``: a built-in model, a folder, or a repository of the hub.

    Raises:
        CheckpointError: it can be none of these.
    """
    text = os.fspath(name)
    if text in CODECS:
        return Location(text, folder=CODECS[text])
    folder = Path(text).expanduser()
    if folder.is_dir():
        return Location(text, folder=folder)
    if folder.is_file():
        raise CheckpointError(f"{text} is a file; name the folder that holds it")
    if (
        isinstance(name, os.PathLike)
        or text.startswith((".", "/", "~"))
        or text.count("/") != 1
        or "\\" in text
    ):
        raise CheckpointError(
            f"there is no folder {text!r}; a model is a folder, a hub id such as 'neuphonic/neucodec', or one of the "
            f"built-in: {', '.join(CODECS)}"
        )
    return Location(
        text, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only
    )


def load(location: Location, semantic_model: str | None = None) -> tuple[NeuCodecConfig, dict[str, Tensor]]:
    """Configuration and weights, named as in ``transformers``' ``NeuCodecModel`` or as in ``DistillNeuCodec``.

    Args:
        location: of the checkpoint.
        semantic_model: hub id or folder of the semantic encoder, where upstream's checkpoint does not hold it; None
            for the one that upstream takes.

    Raises:
        CheckpointError: a file is missing, damaged, or of another model.
    """
    config_path = location.find("config.json")
    config = None if config_path is None else _read_config(config_path)
    if config is not None:
        weights = _read_weights(location)
        if weights is None:
            raise CheckpointError(
                f"{location.name} has a config.json, but neither model.safetensors nor a .bin file"
            )
        if not _is_upstream(weights):
            return config, weights
    else:
        path = location.find("pytorch_model.bin")
        if path is None:
            raise CheckpointError(
                f"{location.name} holds no NeuCodec checkpoint: neither config.json and model.safetensors, nor "
                "upstream's pytorch_model.bin"
            )
        weights = read_pickle(path)
    if not _is_upstream(weights):
        raise CheckpointError(f"{location.name} has weights of another model: {_some(weights)}")
    return _convert_upstream(location, weights, semantic_model)


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
            cache_dir=location.cache_dir,
            local_files_only=location.local_files_only,
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


def _read_config(path: Path) -> NeuCodecConfig | None:
    """The configuration, or None where the file says nothing of the architecture, as upstream's would."""
    from transformers import NeuCodecConfig

    from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig

    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable as JSON: {error}") from error
    if isinstance(values, dict) and values.get("model_type") == "xcodec2":
        values = _from_xcodec2(values)
    if isinstance(values, dict) and values and set(values) <= {"sample_rate", "hop_length"}:
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


def fingerprint(weights: dict[str, Tensor]) -> str:
    """A name for what the codes of a checkpoint mean, from the matrix that turns their digits into vectors.

    Equal for its copies in float32 and float16; ``save_pretrained`` writes the name down, so that it outlives any
    other conversion.
    """
    matrix = weights["quantizer.project_out.weight"].to("cpu", torch.float16).contiguous()
    return "neucodec-" + hashlib.sha256(matrix.numpy().tobytes()).hexdigest()[:12]


def _some(keys: Iterable[str]) -> str:
    listed = list(keys)
    more = len(listed) - _LISTED
    return ", ".join(listed[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _reachable(endpoint: str, timeout: float = 3.0) -> bool:
    """Whether the hub answers at all; huggingface_hub itself tries for 24 s before it says so."""
    if any(
        os.environ.get(name)
        for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY")
    ):
        return True  # a proxy looks the host up, not we
    url = urlparse(endpoint)
    try:
        with socket.create_connection((url.hostname or "", url.port or 443), timeout=timeout):
            return True
    except OSError:
        return False
