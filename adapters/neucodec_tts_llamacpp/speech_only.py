"""A model without its words: the table of tokens reduced to codes and stops.

A third of NeuTTS Air is the table of 217,000 tokens, and two thirds of NeuTTS Nano as it is read for each token: with 4
bits for all else, the table has 8. llama.cpp computes the logits of all of them, and codes are the only ones that are
wanted. So the model is given to it with a table of 65,537 rows. Tokens come in as vectors, which are looked up here in
the table of the file.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.tokens.gguf import ALIGNMENT, GGUFFile, Stored

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INPUT, _OUTPUT = "token_embd.weight", "output.weight"
_TABLES = (_INPUT, _OUTPUT, "output.bias")
_WORTH = 0.8
"""A table is reduced if no more than this part of it is left."""
_STRING, _UINT32 = 8, 4  # types of metadata
_PIECE = 2**24


class TokenTable:
    """The vectors of all tokens, looked up in the file.

    Args:
        file: the model.
        ids: the tokens whose logits are wanted, in this order.

    Attributes:
        width: numbers in a vector.
        ids: the tokens whose logits are wanted.
    """

    def __init__(self, file: GGUFFile, ids: NDArray[np.int64]) -> None:
        from gguf import GGMLQuantizationType, dequantize

        self._file, self.ids = file, ids
        stored = file.tensors[_INPUT]
        self.width = stored.shape[0]
        self._kind, self._dequantize = GGMLQuantizationType(stored.kind), dequantize
        self._rows = self._raw(stored)
        self([0])  # a format that cannot be read is found now

    @classmethod
    def of(cls, file: GGUFFile, ids: NDArray[np.int64]) -> TokenTable | None:
        """Return the table of a model, or None where nothing would be gained, or its format is not known here."""
        table = file.tensors.get(_INPUT)
        if table is None or len(table.shape) != 2 or len(ids) > _WORTH * table.shape[1]:
            return None
        if "output.bias" in file.tensors:
            return None
        try:
            return cls(file, ids)
        except (ImportError, NotImplementedError, ValueError, KeyError):
            return None

    def __call__(self, ids: list[int]) -> NDArray[np.float32]:
        """Return the vectors of tokens, float32 (n, width)."""
        found: NDArray[np.float32] = self._dequantize(np.ascontiguousarray(self._rows[ids]), self._kind)
        return found.reshape(len(ids), self.width).astype(np.float32, copy=False)

    def _raw(self, stored: Stored) -> NDArray[np.uint8]:
        """The rows of a table as bytes, read when they are asked for."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(stored.kind)]
        width = stored.shape[0] // block * size
        return np.memmap(self._file.path, np.uint8, "r", stored.start, (stored.shape[1], width))

    @contextmanager
    def reduced(self) -> Iterator[str]:
        """Write the model with the wanted rows only; yields the name of a file, which is gone afterwards."""
        with _passing_file() as (name, file):
            self._write(file)
            file.flush()
            yield name

    def _write(self, out: Any) -> None:
        source = self._file
        with source.path.open("rb") as weights:
            kept = {key: span for key, span in source.entries.items() if not key.startswith("tokenizer.")}
            architecture = source.metadata["general.architecture"]
            rows = f"{architecture}.vocab_size"
            kept.pop(rows, None)
            out.write(b"GGUF" + struct.pack("<IQQ", 3, len(source.tensors), len(kept) + 2))
            for start, end in kept.values():
                weights.seek(start)
                out.write(weights.read(end - start))
            out.write(_text("tokenizer.ggml.model") + struct.pack("<I", _STRING) + _text("none"))
            out.write(_text(rows) + struct.pack("<II", _UINT32, len(self.ids)))
            alignment = source.metadata.get(ALIGNMENT, 32)
            sizes = self._sizes()
            offset = 0
            for name, stored in source.tensors.items():
                shape = (stored.shape[0], len(self.ids)) if name in _TABLES else stored.shape
                out.write(_text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
                out.write(struct.pack("<IQ", stored.kind, offset))
                offset += -(-sizes[name] // alignment) * alignment
            for name, stored in source.tensors.items():
                out.write(bytes(-out.tell() % alignment))
                if name in _TABLES:
                    out.write(np.ascontiguousarray(self._raw(stored)[self.ids]).data)
                    continue
                weights.seek(stored.start)
                left = sizes[name]
                while left:
                    piece = weights.read(min(left, _PIECE))
                    if not piece:
                        break  # the file ends too early; llama.cpp says so
                    out.write(piece)
                    left -= len(piece)
            out.write(bytes(-out.tell() % alignment))

    def _sizes(self) -> dict[str, int]:
        """Bytes of each tensor in the reduced file."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        sizes = {}
        for name, stored in self._file.tensors.items():
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(stored.kind)]
            count = stored.shape[0] * len(self.ids) if name in _TABLES else int(np.prod(stored.shape))
            sizes[name] = count // block * size
        return sizes


@contextmanager
def _passing_file() -> Iterator[tuple[str, Any]]:
    """A file in memory where the system has such, else in the folder of temporary files."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("speech.gguf"), "wb") as file:
            yield f"/proc/self/fd/{file.fileno()}", file
        return
    descriptor, name = tempfile.mkstemp(suffix=".gguf")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield name, file
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw
