"""Write a codec as ONNX files."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from neucodec_tts.codec.onnx.layout import (
    DATA_SUFFIX,
    DECODER,
    ENCODER,
    INSTALL,
    STREAMING_DECODER,
    VERSION,
)
from neucodec_tts.errors import CheckpointError
from neucodec_tts.files import atomic_path

if TYPE_CHECKING:
    import onnx

    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.codec.onnx.graph import Graph

logger = logging.getLogger(__name__)

_INLINE_BYTES = 3 * 2**29  # a file of protocol buffers ends at 2 GiB
_SMALL_BYTES = 1024


@dataclass(frozen=True)
class Exported:
    """One file that was written."""

    path: Path
    bytes: int
    """With those of its weights."""


def export(
    codec: NeuCodec, folder: str | os.PathLike[str], *, int8: bool = False, half: bool = False
) -> list[Exported]:
    """Write the decoder, the streaming decoder and the encoder of a codec as ONNX files, and its configuration.

    ``NeuCodec.from_pretrained`` loads the folder, and computes with ONNX Runtime. The graphs use operators of
    ONNX's opset 17 only. Their inputs and outputs:

    - ``model.onnx``: ``codes`` int32 (B, 1, frames) to ``audio`` float32 (B, 1, samples);
    - ``streaming_decoder.onnx``: ``codes``, ``memory`` float32 (B, S), ``settled`` int32 (1,) and ``before`` int32 (1,)
      to ``audio`` and ``next_memory`` float32 (B, S);
    - ``encoder.onnx``: ``audio`` float32 (1, 1, samples) at 16 kHz to ``codes`` int32 (1, 1, frames).

    Args:
        codec: to export; the device and the format of its weights do not matter.
        folder: is made if it is missing.
        int8: the decoders' linear layers and convolutions are computed in 8 bits, with scales that are found while
            they run. The files are a quarter as large, decoding is about three times as fast, and the sound differs
            a little. The encoder stays as it is.
        half: weights that are left in float32 are stored in float16, which halves the files. They are computed with
            in float32.

    Raises:
        CheckpointError: ``onnx`` is not installed, the codec is one that was exported, or the folder cannot be written
            or holds a checkpoint.
    """
    if find_spec("onnx") is None:
        raise CheckpointError(f"exporting needs onnx, which is not installed: {INSTALL}")
    from neucodec_tts.codec.onnx.encoder import encoder_graph

    if not hasattr(codec, "acoustic_decoder"):
        raise CheckpointError(
            "this codec is made of ONNX files; export the checkpoint that they were made from"
        )
    target = Path(folder)
    if any((target / name).exists() for name in ("model.safetensors", "pytorch_model.bin")):
        raise CheckpointError(
            f"{target} holds a checkpoint, whose config.json would be lost; name another folder"
        )
    _make_folder(target)
    written = [_write(target / ENCODER, encoder_graph(codec, half=half), codec, {})]
    written += export_decoders(codec, target, int8=int8, half=half)
    with atomic_path(
        target / "meta.yaml", CheckpointError
    ) as path:  # which upstream's class asks the hub for
        path.write_text(
            f"codec_id: {codec.codec_id}\nsample_rate: {codec.output_sample_rate}\n", encoding="utf-8"
        )
    config = codec.config.to_dict() | {
        "architectures": [codec.architecture],
        "codec_id": codec.codec_id,
        "dtype": "float32",
        **memory_sizes(codec),
        "encoder_fingerprint": codec.encoder_fingerprint() + ("-float16" if half else ""),
    }
    with atomic_path(target / "config.json", CheckpointError) as path:
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return written


def export_decoders(
    codec: NeuCodec, folder: Path, *, int8: bool = False, half: bool = False, whole: bool = True
) -> list[Exported]:
    """Write ``streaming_decoder.onnx``, and if asked ``model.onnx``; arguments and errors as for `export`."""
    from neucodec_tts.codec.onnx.decoder import decoder_graph, streaming_decoder_graph

    _make_folder(folder)
    graph = streaming_decoder_graph(codec, half=half, int8=int8)
    written = [_write(folder / STREAMING_DECODER, graph, codec, memory_sizes(codec))]
    if whole:
        graph = decoder_graph(codec, half=half, int8=int8)
        written.append(_write(folder / DECODER, graph, codec, {}))
    return written


def memory_sizes(codec: NeuCodec) -> dict[str, int]:
    """Values of a stream's memory that does not look back, and those for each frame that it looks back."""
    none, one = (codec.acoustic_decoder.memory_layout(frames).size for frames in (0, 1))
    return {"memory_size": none, "memory_per_frame": one - none}


def _make_folder(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot make the folder {target}: {error.strerror}") from error


def _write(path: Path, graph: Graph, codec: NeuCodec, metadata: dict[str, int]) -> Exported:
    said = {"neucodec_tts": VERSION, "part": graph.name, "codec_id": codec.codec_id}
    said |= {key: str(value) for key, value in metadata.items()}
    model = graph.model(said)
    size = 0
    if model.ByteSize() > _INLINE_BYTES:
        size = _move_weights(model, path.with_name(path.name + DATA_SUFFIX))
    content = model.SerializeToString()
    with atomic_path(path, CheckpointError) as temporary:
        temporary.write_bytes(content)
    logger.info("%s: %.1f MB", path, (size + len(content)) / 1e6)
    return Exported(path, size + len(content))


def _move_weights(model: onnx.ModelProto, path: Path) -> int:
    """Move the weights of a model to a file beside it, and return the size of that."""
    from onnx import TensorProto

    with atomic_path(path, CheckpointError) as temporary, open(temporary, "wb") as file:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) < _SMALL_BYTES:
                continue
            file.write(bytes(-file.tell() % 4096))  # pages, for loading by memory maps
            place = {"location": path.name, "offset": file.tell(), "length": len(tensor.raw_data)}
            file.write(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
        return file.tell()
