"""What computes a codec: torch with the weights of a checkpoint, or ONNX Runtime with exported files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from neucodec_tts.codec.onnx.layout import DECODER, ENCODER, STREAMING_DECODER
from neucodec_tts.errors import CheckpointError, DeviceError

if TYPE_CHECKING:
    from transformers import NeuCodecConfig

    from neucodec_tts.codec.checkpoints.hub import Location

TORCH, ONNX_RUNTIME = "torch", "onnxruntime"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def find_backend(location: Location, wanted: str | None) -> str:
    """The backend of a codec: the one that is wanted, or the one that its files are for.

    Args:
        location: of the codec.
        wanted: "torch" or "onnxruntime"; None goes by the files, and takes torch where they are for both.

    Raises:
        CheckpointError: it is none of these, or the files are for the other.
    """
    if wanted not in (None, TORCH, ONNX_RUNTIME):
        raise CheckpointError(f"backend is {wanted!r}; it must be {TORCH!r} or {ONNX_RUNTIME!r}")
    if wanted == TORCH or (wanted is None and any(location.find(name) for name in _WEIGHTS)):
        return TORCH
    exported = any(location.find(name) for name in (STREAMING_DECODER, DECODER, ENCODER))
    if not exported and wanted == ONNX_RUNTIME:
        raise CheckpointError(
            f"{location.name} holds no ONNX files; write them to a folder and name that: "
            f"neucodec-tts export {location.name} -o FOLDER"
        )
    return ONNX_RUNTIME if exported else TORCH


def check_onnx_options(
    location: Location, device: object, decoder: str | os.PathLike[str] | None, dtype: object = None
) -> None:
    """See that nothing is asked of exported files which they cannot do.

    Raises:
        DeviceError: the device is not the CPU.
        CheckpointError: another decoder, or another format than the files', is wanted.
    """
    if device is not None and str(device) != "cpu":
        from neucodec_tts.codec.devices import find_device

        target = find_device(str(device))
        if target.type != "cpu":
            raise DeviceError(f"ONNX Runtime computes on the CPU here, not on {target}; leave out the device")
    if str(dtype).removeprefix("torch.") not in ("None", "auto", "float32"):
        raise CheckpointError(
            f"{location.name} is computed by ONNX Runtime in the format of its files, not in {dtype}; leave "
            "out the dtype"
        )
    if decoder is not None:
        raise CheckpointError(
            f"{location.name} is computed by ONNX Runtime, which takes the decoder that was exported with it; "
            f"export the codec with decoder {os.fspath(decoder)}, or leave out the decoder"
        )


def onnx_config(location: Location) -> NeuCodecConfig:
    """The configuration beside exported files; that of NeuCodec where there is none, as in Neuphonic's repositories.

    Raises:
        CheckpointError: it is damaged, or describes another model.
    """
    from transformers import NeuCodecConfig

    from neucodec_tts.codec.checkpoints.load import read_config

    path = location.find("config.json")
    return (None if path is None else read_config(path)) or NeuCodecConfig()
