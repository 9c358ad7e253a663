"""Codes on disk: ``.safetensors`` with the codec's id beside the codes, or a bare ``.npy``.

Both hold one array of uint16 (frames,), the format of published corpora of codes. Codes mean nothing without the
codec that made them, so the first of the two is the better one: its metadata are ``format`` ("neucodec-codes"),
``version`` ("1"), ``codec_id``, ``codebook_size`` and ``frame_rate``, all as text, and the array is called ``codes``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from neucodec_tts.errors import CodesError
from neucodec_tts.files import atomic_path

if TYPE_CHECKING:
    import torch

    from neucodec_tts.codec.codes import Codes
    from neucodec_tts.codec.neucodec import NeuCodec

Checked = TypeVar("Checked", covariant=True)

SUFFIXES = (".safetensors", ".npy")
_FORMAT, _VERSION = "neucodec-codes", "1"


@dataclass(frozen=True)
class StoredCodes:
    """The content of a file of codes."""

    codes: np.ndarray
    """uint16 (frames,)."""
    codec_id: str | None
    """Id of the codec that made them; None if the file does not say (``.npy``)."""


def save_codes(path: str | os.PathLike[str], codes: torch.Tensor | np.ndarray, codec: NeuCodec) -> None:
    """Write the codes of one utterance; the suffix chooses between ``.safetensors`` and ``.npy``.

    Args:
        path: the file to write; its folder must exist.
        codes: integers (frames,), made by `codec`.
        codec: made the codes. They are checked against its codebook, and its id goes into the metadata.

    Raises:
        CodesError: the suffix is another, the codes are not this codec's, or the file cannot be written.
    """
    file = Path(path)
    suffix = _suffix(file)
    checked = codec.check_codes(codes, str(file)).numpy()
    if codec.codebook_size > np.iinfo(np.uint16).max + 1:
        raise CodesError(
            f"{file}: a codebook of {codec.codebook_size} does not fit into the 16 bits a code has on disk"
        )
    array = checked.astype(np.uint16)
    with atomic_path(file, CodesError) as temporary:
        if suffix == ".npy":
            with open(temporary, "wb") as opened:  # given a name, NumPy adds .npy to one that ends in .NPY
                np.save(opened, array)
            return
        from safetensors.numpy import save_file

        metadata = {
            "format": _FORMAT,
            "version": _VERSION,
            "codec_id": codec.codec_id,
            "codebook_size": str(codec.codebook_size),
            "frame_rate": f"{codec.frame_rate:g}",
        }
        save_file({"codes": array}, temporary, metadata=metadata)


def read_codes(path: str | os.PathLike[str]) -> StoredCodes:
    """Read a file of codes of any codec.

    Raises:
        CodesError: the file is missing, damaged, or holds something else.
    """
    file = Path(path)
    suffix = _suffix(file)
    if os.path.isdir(file):
        raise CodesError(f"{file}: this is a folder, not a file of codes; name the files in it")
    try:
        if suffix == ".npy":
            # Never unpickled: an array of objects is no array of codes.
            array, codec_id = np.load(file, allow_pickle=False), None
        else:
            array, codec_id = _read_safetensors(file)
    except CodesError:
        raise
    except FileNotFoundError as problem:
        raise CodesError(f"{file}: no such file; check the path (now in {Path.cwd()})") from problem
    except PermissionError as problem:
        raise CodesError(f"{file}: no permission to read it; change its mode or its owner") from problem
    except (OSError, ValueError, EOFError) as problem:
        raise CodesError(
            f"{file}: not a {suffix} file of codes, or a damaged one ({problem}); write it anew"
        ) from problem
    if (
        not isinstance(array, np.ndarray)
        or array.dtype.kind not in "ui"
        or array.ndim != 1
        or array.size == 0
    ):
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
        raise CodesError(
            f"{file}: codes are stored as integers of the shape (frames,), at least one; this is {found}"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise CodesError(
            f"{file}: holds {low if low < 0 else high}, which is no code of 16 bits; is it a file of codes?"
        )
    return StoredCodes(array.astype(np.uint16), codec_id)


class Decodes(Protocol[Checked]):
    """The part of a codec that knows its codes."""

    @property
    def codec_id(self) -> str:
        """Name of the codebook."""
        ...

    def check_codes(self, codes: Codes, name: str = "codes") -> Checked:
        """Codes of the kind that the codec decodes."""
        ...


def load_codes(path: str | os.PathLike[str], codec: Decodes[Checked]) -> Checked:
    """Read codes that `codec` is to decode.

    Returns:
        Int64 (frames,) on the CPU: a tensor for a `NeuCodec`, an array for an `ArrayCodec`.

    Raises:
        CodesError: as for `read_codes`, or another codec made them. A ``.npy`` does not say which codec made it, so
            that only a code beyond the codebook is found.
    """
    stored = read_codes(path)
    if stored.codec_id not in (None, codec.codec_id):
        raise CodesError(
            f"{path}: these codes were made by the codec {stored.codec_id}, and this is {codec.codec_id}; decode them "
            "with the model that made them"
        )
    return codec.check_codes(stored.codes, str(path))


def _suffix(file: Path) -> str:
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise CodesError(
            f"{file}: codes are stored in {' or '.join(SUFFIXES)} files; end the name in one of these"
        )
    return suffix


def _read_safetensors(file: Path) -> tuple[np.ndarray, str]:
    from safetensors import SafetensorError, safe_open

    with open(file, "rb"):  # raises for a missing or forbidden file, which safetensors words in its own way
        pass
    try:
        with safe_open(file, framework="numpy") as opened:
            metadata, names = opened.metadata() or {}, list(opened.keys())
            if metadata.get("format") != _FORMAT or "codes" not in names or "codec_id" not in metadata:
                raise CodesError(
                    f"{file}: these are tensors, but not codes (it holds {', '.join(names[:4])})"
                )
            if metadata.get("version") != _VERSION:
                raise CodesError(
                    f"{file}: written in version {metadata.get('version')} of the format, and this release reads "
                    f"version {_VERSION}; install a newer neucodec-tts"
                )
            return opened.get_tensor("codes"), metadata["codec_id"]
    except SafetensorError as problem:
        raise ValueError(str(problem)) from problem
