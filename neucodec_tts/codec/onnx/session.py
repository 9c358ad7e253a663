"""ONNX files, checked and run by ONNX Runtime. Nothing here needs torch."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from neucodec_tts.codec.onnx.layout import INSTALL, VERSION
from neucodec_tts.errors import CheckpointError, DeviceError

if TYPE_CHECKING:
    import numpy as np

# Fields of ONNX's protocol buffers: ModelProto.graph, GraphProto.initializer, TensorProto.external_data, and the value
# of its entry "location".
_TO_LOCATIONS = (7, 5, 13)


def is_available() -> bool:
    """True if ONNX Runtime is installed."""
    return find_spec("onnxruntime") is not None


class Session:
    """One ONNX file, loaded.

    Args:
        path: the file.
        inputs: names that its inputs must have.
        codec_id: of the codec that it must belong to; None for any. A file that names no codec belongs to every one.

    Raises:
        CheckpointError: ONNX Runtime is not installed; the file is damaged, of another version of ONNX than it reads,
            or of another codec; or its weights lie outside its folder.
    """

    def __init__(self, path: Path, inputs: Sequence[str], codec_id: str | None = None) -> None:
        if not is_available():
            raise CheckpointError(f"{path} needs onnxruntime, which is not installed: {INSTALL}")
        import onnxruntime

        self.path = path
        check_locations(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Threads that spin while they wait would take the processor from the language model.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        threads = os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdecimal():
            options.intra_op_num_threads = int(threads)
        try:
            self.runtime = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has a class for each status, and no common one
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"{path} cannot be loaded by onnxruntime {onnxruntime.__version__}: {reason}; it is damaged, perhaps "
                "half copied, or of a version of ONNX that this release does not read; export it again, or install a "
                "newer onnxruntime"
            ) from error
        found = [each.name for each in self.runtime.get_inputs()]
        if found != list(inputs):
            raise CheckpointError(
                f"{path} has the inputs {', '.join(found)}, and not {', '.join(inputs)}; it is another kind of model"
            )
        self.metadata: Mapping[str, str] = self.runtime.get_modelmeta().custom_metadata_map
        """What the file says of itself."""
        version, its = self.metadata.get("neucodec_tts"), self.metadata.get("codec_id")
        if version not in (None, VERSION):
            raise CheckpointError(
                f"{path} was exported in version {version}, and this release reads version {VERSION}; export it again"
            )
        if None not in (its, codec_id) and its != codec_id:
            raise CheckpointError(
                f"{path} belongs to the codec {its}, and the folder's config.json to {codec_id}; export all files anew"
            )

    def run(self, **inputs: np.ndarray) -> list[np.ndarray]:
        """Compute; safe to call from several threads.

        Raises:
            CheckpointError: the file does not compute what its inputs promise.
            DeviceError: there is too little memory.
        """
        try:
            results: list[np.ndarray] = self.runtime.run(None, inputs)
        except Exception as error:  # as above
            reason = str(error).splitlines()[0]
            if "allocate memory" in reason:
                raise DeviceError(f"there is too little memory for {self.path.name}: {reason}") from error
            raise CheckpointError(
                f"{self.path} cannot be computed: {reason}; it is no file of this release, export it again"
            ) from error
        return results

    def number(self, name: str) -> int:
        """A number that the file says of itself.

        Raises:
            CheckpointError: it does not say it, as after tools that rewrite ONNX files.
        """
        try:
            return int(self.metadata[name])
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{self.path} does not say its {name}: its metadata are lost; export it again"
            ) from error


def check_locations(path: Path) -> None:
    """See that the weights of an ONNX file lie in it or in its folder.

    Raises:
        CheckpointError: it names a file elsewhere, or is no ONNX file.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            locations = {_location(content, *span) for span in _find(content, 0, len(content), _TO_LOCATIONS)}
    except (OSError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is damaged, perhaps half copied ({error}); get it again") from error
    for location in sorted(locations - {""}):
        if Path(location).name != location or (
            os.path.islink(path.parent / location) and _leaves(path, location)
        ):
            raise CheckpointError(
                f"{path} takes weights from {location!r}, outside its folder; it is refused, get it from who made it"
            )


def _leaves(path: Path, location: str) -> bool:
    """True for a link to where no other file of the model lies; the hub's cache has links to its own."""
    blobs = os.path.dirname(os.path.realpath(path))
    return os.path.dirname(os.path.realpath(path.parent / location)) not in (
        blobs,
        os.path.realpath(path.parent),
    )


def _find(content: mmap.mmap, start: int, end: int, numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where the messages lie that one comes to by these field numbers."""
    for number, span in _fields(content, start, end):
        if number == numbers[0] and span is not None:
            yield from [span] if len(numbers) == 1 else _find(content, *span, numbers[1:])


def _location(content: mmap.mmap, start: int, end: int) -> str:
    """The value of an entry that is called "location", and "" of others."""
    entry = {
        number: content[slice(*span)] for number, span in _fields(content, start, end) if span is not None
    }
    return entry.get(2, b"").decode() if entry.get(1) == b"location" else ""


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, tuple[int, int] | None]]:
    """The fields of a message: their numbers, and where those lie that have a length."""
    while start < end:
        key, start = _varint(content, start)
        kind = key & 7
        if kind == 2:
            length, start = _varint(content, start)
            if start + length > end:
                raise ValueError("it ends too early")
            yield key >> 3, (start, start + length)
            start += length
        elif kind in (0, 1, 5):
            yield key >> 3, None
            start = _varint(content, start)[1] if kind == 0 else start + (8 if kind == 1 else 4)
        else:
            raise ValueError("it is no ONNX file")


def _varint(content: mmap.mmap, start: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[start]
        start += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, start
        shift += 7
