"""Checkpoints of a codec: loaded, saved and uploaded."""

from __future__ import annotations

import os
import pkgutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import nn
from transformers import NeuCodecConfig

from neucodec_tts.codec.checkpoints.backend import ONNX_RUNTIME, check_onnx_options, find_backend
from neucodec_tts.codec.checkpoints.fingerprints import codebook_id, weights_fingerprint
from neucodec_tts.codec.checkpoints.hub import HubOptions, locate, upload
from neucodec_tts.codec.checkpoints.load import check, load, replace_decoder
from neucodec_tts.codec.checkpoints.save import save
from neucodec_tts.codec.devices import find_device, find_dtype
from neucodec_tts.codec.precision import set_precision
from neucodec_tts.codec.quantizer import FiniteScalarQuantizer
from neucodec_tts.errors import CheckpointError

_ENCODER = (
    "semantic_encoder.",
    "semantic_adapter.",
    "acoustic_encoder.",
    "fc_encoder.",
    "quantizer.project_in.",
)
# The class of a checkpoint, by the ``model_type`` of its configuration. By name, since they import this file.
_CLASSES = {
    "neucodec": "neucodec_tts.codec.neucodec:NeuCodec",
    "distill_neucodec": "neucodec_tts.codec.distilled.distill_neucodec:DistillNeuCodec",
}
_ONNX_CODEC = "neucodec_tts.codec.onnx.onnx_codec:OnnxCodec"
_Codec = TypeVar("_Codec", bound="PretrainedCodec")


class PretrainedCodec(nn.Module):
    """Base of the codecs: loads, saves and uploads their checkpoints."""

    architecture: ClassVar[str] = "NeuCodecModel"
    """The name of the class in ``config.json``."""
    config_class: ClassVar[type[NeuCodecConfig]] = NeuCodecConfig
    config: NeuCodecConfig
    quantizer: FiniteScalarQuantizer
    fc_encoder: nn.Linear
    _codec_id: str | None = None
    # False where `from_pretrained` chose the device: upstream's calls then answer on the CPU, where its module is.
    _placed = True

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point format of the weights, but for the few that half precision keeps in float32."""
        return self.fc_encoder.weight.dtype

    @classmethod
    def from_pretrained(
        cls: type[_Codec],
        model: str | os.PathLike[str] = "tiny",
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        backend: str | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        semantic_model: str | None = None,
        decoder: str | os.PathLike[str] | None = None,
        map_location: object = None,
        strict: bool = True,
    ) -> _Codec:
        """Load a checkpoint, ready for use (``eval`` mode).

        Args:
            model: a hub id such as ``"neuphonic/neucodec"``, a folder, or ``"tiny"``, the small built-in checkpoint.
                Both the layout of ``transformers`` and upstream's ``pytorch_model.bin`` are read. From
                ``"neuphonic/distill-neucodec"`` and its like comes a ``DistillNeuCodec``, which is a ``NeuCodec``.
                X-Codec 2, whose codes Llasa speaks, is read in the layout of ``transformers``
                (``"HKUSTAudio/xcodec2-hf"``).
            device: where to put it; the GPU where there is one, else the CPU, by default.
            dtype: floating-point format of the weights, ``"float32"`` by default; ``"auto"`` takes the stored one.
                Codes and audio are exact in float32 only. With ``"float16"`` and ``"bfloat16"`` the quantizer, the
                decoder's head and its norms stay in float32; ``neucodec-tts bench --dtype`` says how far the results
                agree with those of float32.
            backend: what computes: ``"torch"``, or ``"onnxruntime"`` for the ONNX files that ``neucodec-tts export``
                writes, on the CPU. By default it goes by the files: torch where there is a checkpoint, else ONNX
                Runtime.
            revision: branch, tag or commit of a hub repository.
            cache_dir: folder of the downloads; that of ``huggingface_hub`` by default.
            token: hub token; True takes the one you are logged in with.
            local_files_only: never use the network.
            force_download: download files again that were downloaded before.
            semantic_model: hub id or folder of the semantic encoder, for an upstream checkpoint that does not hold
                it; ``facebook/w2v-bert-2.0``, or ``ntu-spml/distilhubert`` for the distilled codec, by default.
            decoder: hub id or folder of a checkpoint whose decoder takes the place of the model's own. Decoders of
                other rates, such as that of ``"Scicom-intl/neucodec-44k-d20"`` at 44.1 kHz, decode NeuCodec's codes.
            map_location: upstream's; it changes nothing, since weights are read to the CPU and put on ``device``.
            strict: upstream's; it changes nothing, since a checkpoint must always fit.

        Raises:
            CheckpointError: there is no such checkpoint, it cannot be downloaded, or it is damaged; or the decoder is
                for other codes.
            DeviceError: there is no such device.
        """
        target, wanted = find_device(device), find_dtype(dtype)
        hub = HubOptions(revision, cache_dir, token, local_files_only, force_download)
        location = locate(model, hub)
        if find_backend(location, backend) == ONNX_RUNTIME:
            check_onnx_options(location, device, decoder, dtype)
            exported = pkgutil.resolve_name(_ONNX_CODEC).at(location)
            cls._class_for(exported.config, location.name)
            return cast("_Codec", exported)
        # Both are looked for before either is read: gigabytes are not read in vain.
        other = None if decoder is None else locate(decoder, replace(hub, revision=None))
        config, weights = load(location, semantic_model)
        if other is not None:
            config, weights = replace_decoder(config, weights, location.name, other)
        codec_class = cls._class_for(config, location.name)
        try:
            with torch.device("meta"):
                codec = codec_class(config)
        except (ValueError, RuntimeError, ZeroDivisionError) as error:
            raise CheckpointError(
                f"the configuration of {location.name} describes no NeuCodec: {error}"
            ) from error
        check(codec.state_dict(), weights, location.name)
        codec.load_state_dict(weights, assign=True)
        if codec._codec_id is None:
            codec._codec_id = codec.codec_id  # before any conversion
        # "auto" keeps the stored format, but for what half precision has in float32.
        set_precision(codec, wanted or codec.dtype)
        codec = codec.to(target).eval().requires_grad_(False)
        codec._placed = device is not None
        return codec

    @classmethod
    def _class_for(cls: type[_Codec], config: NeuCodecConfig, name: str) -> type[_Codec]:
        """The class of a checkpoint's codec: ``cls``, or the distilled codec where users asked for any."""
        if type(config) is cls.config_class:
            return cls
        found = pkgutil.resolve_name(_CLASSES[config.model_type])
        if issubclass(found, cls):
            return cast("type[_Codec]", found)
        raise CheckpointError(
            f"{name} holds a {found.__name__}, not a {cls.__name__}; load it with {found.__name__}.from_pretrained"
        )

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Write ``config.json``, ``model.safetensors`` and ``preprocessor_config.json`` in ``transformers``' layout.

        ``NeuCodecModel.from_pretrained`` of ``transformers``, which has no distilled codec, reads the folder as well
        as ours does.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        config = self.config.to_dict() | {
            "architectures": [self.architecture],
            "codec_id": self.codec_id,
            "dtype": str(self.dtype).removeprefix("torch."),
        }
        save(save_directory, self.state_dict(), config, self._preprocessor_config())

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload a codec",
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
    ) -> str:
        """Upload what `save_pretrained` writes to a repository of the hub, which is made if need be.

        The arguments are of ``huggingface_hub``'s ``PyTorchModelHubMixin``, which upstream's class inherits; those that
        choose files and write a model card are left out.

        Args:
            repo_id: ``"OWNER/NAME"``, or the name alone for a repository of your own.
            commit_message: of the commit.
            private: whether a new repository is private; None leaves that to its owner's settings.
            token: hub token; True or None takes the one you are logged in with.
            branch: where to; made if need be, the main one by default.
            create_pr: open a pull request instead.

        Returns:
            The URL of the commit.

        Raises:
            CheckpointError: the hub cannot be reached, or refuses.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return upload(
                Path(folder),
                repo_id,
                commit_message=commit_message,
                private=private,
                token=token,
                branch=branch,
                create_pr=create_pr,
            )

    def _preprocessor_config(self) -> dict[str, Any]:
        """The settings of ``transformers``' ``NeuCodecFeatureExtractor``."""
        return {
            "feature_extractor_type": "NeuCodecFeatureExtractor",
            "feature_size": 80,
            "hop_length": self.config.encoder_hop_length,
            "padding_side": "right",
            "padding_value": 1.0,
            "return_attention_mask": True,
            "sampling_rate": self.config.input_sampling_rate,
        }

    @property
    def codec_id(self) -> str:
        """Name of this checkpoint's codebook: codes made under one id must be decoded under the same."""
        return self._codec_id or codebook_id(self.quantizer.project_out.weight)

    def encoder_fingerprint(self) -> str:
        """SHA-256 over all weights that codes depend on, 12 hexadecimal digits; 0.6 s a GB on one core."""
        weights = {key: value for key, value in self.state_dict().items() if key.startswith(_ENCODER)}
        return weights_fingerprint(weights)
