"""Codes as users give them, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from neucodec_tts.errors import CodesError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

#: Integers (frames,) of any kind.
Codes: TypeAlias = "Tensor | np.ndarray | Sequence[int]"


def check_codes(codes: Codes, codebook_size: int, name: str = "codes") -> Tensor:
    """Codes as a LongTensor (frames,) on the CPU; arguments and errors as for `check_code_array`."""
    import torch

    return torch.from_numpy(check_code_array(codes, codebook_size, name))


def check_code_array(codes: Codes, codebook_size: int, name: str = "codes") -> NDArray[np.int64]:
    """Codes as int64 (frames,).

    Args:
        codes: integers (frames,).
        codebook_size: number of different codes.
        name: of the codes, for the error.

    Raises:
        CodesError: they are not integers, have another shape, are none, or are not of this codebook.
    """
    is_tensor = hasattr(codes, "detach")
    if not (is_tensor or isinstance(codes, (np.ndarray, Sequence))) or isinstance(codes, (str, bytes)):
        raise CodesError(f"{name}: a sequence of integers was expected, not {type(codes).__name__}")
    if is_tensor:
        tensor: Any = codes
        if tensor.is_floating_point() or tensor.is_complex():
            raise _no_integers(name, tensor.dtype)
        codes = tensor.detach().cpu().numpy()
    try:
        array = np.asarray(codes)
    except (TypeError, ValueError) as error:
        raise CodesError(f"{name}: these are no integers that a code can be") from error
    if array.dtype.kind in "fcb" and array.size:
        raise _no_integers(name, array.dtype)
    if array.dtype.kind not in "iufcb":
        raise CodesError(f"{name}: these are no integers that a code can be")
    if array.ndim != 1:
        raise CodesError(
            f"{name}: codes are (frames,), these are {array.shape}; pass a list of sequences, or use "
            "decode_code for (B, 1, frames)"
        )
    if array.size == 0:
        raise CodesError(f"{name}: there are no codes")
    outside = np.flatnonzero((array < 0) | (array >= codebook_size))
    if len(outside):
        index = int(outside[0])
        raise CodesError(
            f"{name}: code {int(array[index])} at position {index} is outside this codec's 0 to "
            f"{codebook_size - 1}; were they made with another codec?"
        )
    return np.ascontiguousarray(array, np.int64)


def _no_integers(name: str, kind: object) -> CodesError:
    return CodesError(f"{name}: codes are integers, these are {kind}; convert them with .long()")
