"""Integers in whatever form a user has them: tensors, arrays, lists."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from neucodec_tts.errors import NeuCodecError

Kind = Literal["tensor", "cpu tensor", "array", "list"]
"""What the user gave; a tensor on the CPU is worked on as an array."""


def as_numbers(values: Any, what: str, error: type[NeuCodecError]) -> tuple[Kind, Any]:
    """Turn what the user gave into an int64 tensor or array, and say what it was.

    Where it is one already, it is returned itself, and must not be written to.

    Args:
        values: integers: a tensor, an array, or a flat list or tuple.
        what: they are called in messages.
        error: class of the error to raise.

    Raises:
        error: they are something else.
    """
    torch = sys.modules.get("torch")  # whoever holds a tensor has imported torch
    if torch is not None and isinstance(values, torch.Tensor):
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise error(
                f"{what} must be integers, but the tensor holds {values.dtype}; round it with .long()"
            )
        if values.device.type == "cpu":  # numpy needs a third of the time for the same few operations
            return "cpu tensor", values.detach().numpy().astype(np.int64, copy=False)
        return "tensor", values.to(torch.int64)
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "iu":
            raise error(f"{what} must be integers, but the array holds {values.dtype}")
        return "array", values.astype(np.int64, copy=False)
    if isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        try:
            # Half the time of np.asarray, and it takes nothing but integers in a flat sequence.
            return "list", np.frombuffer(array("q", values), np.int64)
        except (TypeError, OverflowError) as problem:
            raise error(
                f"{what} in a list must be integers, one after the other ({problem}); "
                "give nested ones as a tensor or an array"
            ) from problem
    raise error(f"{what} must be a tensor, an array or a list of integers, not {type(values).__name__}")


def like(kind: Kind, values: Any) -> Any:
    """Turn a result into the kind of thing the user gave."""
    if kind == "list":
        return values.tolist()
    if kind == "cpu tensor":
        return sys.modules["torch"].as_tensor(np.asarray(values))
    return values


def all_below(values: Any, size: int) -> bool:
    """Say whether all of the int64 numbers, at least one, are from 0 to ``size - 1``."""
    if isinstance(values, (np.ndarray, np.generic)):
        # One pass instead of two: a negative number is a very large one without its sign.
        return int(values.view(np.uint64).max()) < size
    return int(values.min()) >= 0 and int(values.max()) < size


def count(values: Any) -> int:
    """Count the numbers in a tensor or an array."""
    return int(values.size if isinstance(values, np.ndarray) else values.numel())


def position(values: Any, bad: int) -> str:
    """Say where in `values` the first `bad` stands."""
    found = (values == bad).nonzero()
    if isinstance(values, np.ndarray):
        place = [int(axis[0]) for axis in found]
    else:
        place = found[0].tolist()
    return f"position {place[0]}" if len(place) == 1 else f"index {tuple(place)}"
