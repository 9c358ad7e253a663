"""Lists of items, computed in batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neucodec_tts.codec.devices import out_of_memory, share_of
from neucodec_tts.errors import DeviceError

MAX_PADDING = 0.1
"""Largest share of a batch that may be padding."""
_BATCH_SECONDS = {"cpu": 60.0, "gpu": 480.0}


def plan_batches(lengths: Sequence[int], max_total: int, max_padding: float = MAX_PADDING) -> list[list[int]]:
    """Group items of like length.

    Args:
        lengths: length of each item, in any unit.
        max_total: largest padded size of a batch (its longest item times its count), in the same unit; an item
            longer than that has a batch to itself.
        max_padding: largest share of a batch that may be padding.

    Returns:
        Batches of indices into ``lengths``, the longest first, so that a lack of memory shows at once.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    longest = total = 0
    for index in order:
        length = lengths[index]
        if batches:
            padded = longest * (len(batches[-1]) + 1)
            if padded <= max_total and padded - (total + length) <= max_padding * padded:
                batches[-1].append(index)
                total += length
                continue
        batches.append([index])
        longest = total = length
    return batches


def run_in_batches(
    run: Callable[[Any], list[Tensor]],
    items: list[Tensor],
    rate: float,
    device: torch.device,
    max_batch_seconds: float | None,
    on_progress: Callable[[float], None] | None = None,
    stage: Callable[[list[Tensor]], Any] | None = None,
) -> list[Tensor]:
    """Call ``run`` on batches of items of like length.

    Args:
        run: computes one batch, given its items or what ``stage`` made of them.
        items: tensors (length,).
        rate: positions of an item a second, in Hz.
        device: of ``run``.
        max_batch_seconds: length of a batch, padding included; 60 s on a CPU and 480 s on a GPU by default.
        on_progress: is called with the seconds of each batch when it is done.
        stage: makes ready for ``run`` the items of a batch, in a thread, while the batch before it is computed.

    Returns:
        The results in the order of the items.

    Raises:
        DeviceError: there is too little memory for a batch.
    """
    seconds = share_of(_BATCH_SECONDS, device) if max_batch_seconds is None else max_batch_seconds
    results: list[Tensor | None] = [None] * len(items)
    batches = plan_batches([item.numel() for item in items], int(seconds * rate))
    staged = _staged(stage, [[items[i] for i in batch] for batch in batches])
    for batch in batches:
        try:
            outputs = run(next(staged))
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
        if on_progress is not None:
            on_progress(sum(items[i].numel() for i in batch) / rate)
    return [result for result in results if result is not None]


def _staged(stage: Callable[[list[Tensor]], Any] | None, batches: list[list[Tensor]]) -> Iterator[Any]:
    if stage is None or not batches:
        yield from batches
        return
    with ThreadPoolExecutor(1, "speech-staging") as pool:
        waiting = pool.submit(stage, batches[0])
        for batch in batches[1:]:
            ready = waiting.result()
            waiting = pool.submit(stage, batch)
            yield ready
        yield waiting.result()


def split_items(value: Any) -> tuple[list[Any], bool]:
    """The items of a list, and True; or a single item, which may be a list of numbers, and False."""
    if isinstance(value, list | tuple):
        numbers = [isinstance(item, int | float | np.number) for item in value]
        if not value or not all(numbers):
            return list(value), True
    return [value], False
