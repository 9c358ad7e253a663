"""Codes as users give them, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from neucodec_tts.errors import CodesError

#: Integers (frames,) of any kind.
Codes: TypeAlias = "Tensor | np.ndarray | Sequence[int]"


def check_codes(codes: Codes, codebook_size: int, name: str = "codes") -> Tensor:
    """Codes as a LongTensor (frames,) on the CPU.

    Args:
        codes: integers (frames,).
        codebook_size: number of different codes.
        name: of the codes, for the error.

    Raises:
        CodesError: they are not integers, have another shape, are none, or are not of this codebook.
    """
    if not isinstance(codes, (Tensor, np.ndarray, Sequence)) or isinstance(codes, (str, bytes)):
        raise CodesError(f"{name}: a sequence of integers was expected, not {type(codes).__name__}")
    try:
        tensor = codes.detach().cpu() if isinstance(codes, Tensor) else _from_array(np.asarray(codes))
    except (TypeError, ValueError) as error:
        raise CodesError(f"{name}: these are no integers that a code can be") from error
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.dtype == torch.bool:
        raise CodesError(f"{name}: codes are integers, these are {tensor.dtype}; convert them with .long()")
    if tensor.ndim != 1:
        raise CodesError(
            f"{name}: codes are (frames,), these are {tuple(tensor.shape)}; pass a list of sequences, or use "
            "decode_code for (B, 1, frames)"
        )
    if tensor.numel() == 0:
        raise CodesError(f"{name}: there are no codes")
    tensor = tensor.long()
    outside = ((tensor < 0) | (tensor >= codebook_size)).nonzero()
    if len(outside):
        index = int(outside[0])
        raise CodesError(
            f"{name}: code {int(tensor[index])} at position {index} is outside this codec's 0 to "
            f"{codebook_size - 1}; were they made with another codec?"
        )
    return tensor


def _from_array(array: np.ndarray) -> Tensor:
    if array.dtype.kind == "u":  # torch has few unsigned types
        array = array.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(array))
