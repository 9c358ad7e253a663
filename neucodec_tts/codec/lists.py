"""Lists of items: telling them from single items, and working them off in batches of like length."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from neucodec_tts.codec.batching import plan_batches
from neucodec_tts.codec.devices import out_of_memory
from neucodec_tts.errors import DeviceError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Size = TypeVar("Size", int, float)

_BATCH_SECONDS = {"cpu": 60.0, "gpu": 480.0}  # of a list, padding included, computed at a time


def share_of(sizes: dict[str, Size], device: torch.device) -> Size:
    """What a device is given to compute at a time: the value of ``"cpu"`` or that of ``"gpu"``."""
    return sizes["cpu" if device.type == "cpu" else "gpu"]


def run_in_batches(
    run: Callable[[list[Tensor]], list[Tensor]],
    items: list[Tensor],
    rate: float,
    device: torch.device,
    max_batch_seconds: float | None,
) -> list[Tensor]:
    """``run`` over batches of items of like length.

    Args:
        run: computes one batch.
        items: tensors (length,).
        rate: positions of an item a second, in Hz.
        device: where ``run`` computes; it decides how much is computed at a time.
        max_batch_seconds: how much instead, padding included.

    Returns:
        The results in the order of the items.

    Raises:
        DeviceError: there is too little memory for a batch.
    """
    seconds = share_of(_BATCH_SECONDS, device) if max_batch_seconds is None else max_batch_seconds
    results: list[Tensor | None] = [None] * len(items)
    for batch in plan_batches([item.numel() for item in items], int(seconds * rate)):
        try:
            outputs = run([items[i] for i in batch])
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            longest = max(items[i].numel() for i in batch) / rate
            mend = "use a device with more memory, or cut it"
            if len(batch) > 1:
                mend = f"set max_batch_seconds below {seconds:.0f}"
            raise DeviceError(
                f"{device} has too little memory for a batch of {len(batch)} items of up to {longest:.1f} s; {mend}"
            ) from error
        for index, output in zip(batch, outputs, strict=True):
            results[index] = output.clone()
    return [result for result in results if result is not None]


def split_items(value: Any) -> tuple[list[Any], bool]:
    """The items of a list of items, and True; or the one item, which may be a list of numbers, and False."""
    if isinstance(value, list | tuple):
        numbers = [isinstance(item, int | float | np.number) for item in value]
        if not value or not all(numbers):
            return list(value), True
    return [value], False


def to_integers(codes: ArrayLike) -> np.ndarray:
    """Codes as an array that torch can take; what is no array of integers is left for the caller to refuse."""
    array = np.asarray(codes)
    if array.dtype.kind == "u":  # torch has few unsigned types
        array = array.astype(np.int64)
    return np.ascontiguousarray(array)
