"""Which items are computed together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

MAX_PADDING = 0.1
"""Largest share of a batch that may be padding."""


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


def split_windows(waveform: Tensor, window: int, overlap: int) -> Iterator[Tensor]:
    """Cut a waveform (samples,) into windows that overlap, all in samples; one that fits a window stays whole."""
    start = 0
    while waveform.numel() - start > window:
        yield waveform[start : start + window]
        start += window - overlap
    yield waveform[start:]


def join_windows(windows: list[Tensor], overlap: int) -> Tensor:
    """Codes of overlapping windows; each half of an overlap is taken from the window that it is deeper inside."""
    if len(windows) == 1:
        return windows[0]
    half = overlap // 2
    parts = [
        codes[half if i else 0 : -half if i < len(windows) - 1 else None] for i, codes in enumerate(windows)
    ]
    return torch.cat(parts)
