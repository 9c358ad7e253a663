"""Batches of items of different lengths, in which no item sees another's padding."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

_Batch = TypeVar("_Batch", bound="Ragged")


class Ragged:
    """Lengths of the items of a padded batch along its time axis.

    Args:
        lengths: number of valid positions of each item, LongTensor (B,); None for a batch without padding, in which
            nothing has to be done.
        size: length of the time axis.
    """

    def __init__(self, lengths: Tensor | None, size: int) -> None:
        self.lengths = lengths
        self.size = size
        #: BoolTensor (B, size), true where an item has data; None if all of the batch is data.
        self.mask = None if lengths is None else first(lengths, size)
        self._common = size  # positions that all items have
        if lengths is not None:
            # On a GPU the smallest length is not asked for, since that would wait for the device.
            self._common = int(lengths.min()) if lengths.device.type == "cpu" else 0

    @classmethod
    def of(cls: type[_Batch], lengths: Tensor | None, size: int) -> _Batch:
        """The batch of these lengths, as one without padding if every item fills the axis."""
        return cls(None if lengths is None or bool((lengths == size).all()) else lengths, size)

    def strided(self, stride: int) -> Ragged:
        """The same batch behind a layer that divides lengths by ``stride``."""
        return Ragged(None if self.lengths is None else self.lengths // stride, self.size // stride)

    def scaled(self, factor: int) -> Ragged:
        """The same batch behind a layer that multiplies lengths by ``factor``."""
        return Ragged(None if self.lengths is None else self.lengths * factor, self.size * factor)

    def zero(self, x: Tensor, time: int = 2) -> Tensor:
        """``x`` with zeros beyond each item's end, as a convolution pads a lone item.

        Args:
            x: (B, C, size), or (B, size, C). Without gradients it is changed in place.
            time: which axis is time, 2 or 1.
        """
        if self.mask is None or self._common == self.size:
            return x
        outside = ~self.mask.unsqueeze(3 - time)
        if torch.is_grad_enabled():
            return x.masked_fill(outside, 0.0)
        tail = self._common, self.size - self._common
        x.narrow(time, *tail).masked_fill_(outside.narrow(time, *tail), 0.0)
        return x

    def hold(self, x: Tensor) -> Tensor:
        """``x`` (B, C, size) with each item's last value beyond its end, as replicate padding gives a lone item.

        Without gradients ``x`` is changed in place.
        """
        if self.mask is None or self.lengths is None or self._common == self.size:
            return x
        last = x.gather(2, (self.lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, x.shape[1], 1))
        inside = self.mask[:, None]
        if torch.is_grad_enabled():
            return torch.where(inside, x, last)
        tail = x[..., self._common :]
        tail.copy_(torch.where(inside[..., self._common :], tail, last))
        return x


def first(lengths: Tensor, size: int) -> Tensor:
    """BoolTensor (B, size), true in the first ``lengths`` (B,) places."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]
