"""Batches of items of different lengths, in which no item may see another's padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ragged:
    """Lengths of the items of a padded batch along its time axis.

    ``None`` stands for a batch without padding wherever a ``Ragged | None`` is taken, and costs nothing there.

    Args:
        lengths: number of valid positions of each item, LongTensor (B,).
        size: length of the padded time axis.
    """

    def __init__(self, lengths: Tensor, size: int) -> None:
        self.lengths = lengths
        self.size = size
        #: BoolTensor (B, size), true where an item has data.
        self.mask = torch.arange(size, device=lengths.device) < lengths[:, None]
        # Positions that all items have, which need no care; found out where that waits for no device.
        self._common = int(lengths.min()) if lengths.device.type == "cpu" else 0

    @staticmethod
    def of(lengths: Tensor | None, size: int) -> Ragged | None:
        """The ``Ragged`` of these lengths, or None if every item fills the axis."""
        if lengths is None or bool((lengths == size).all()):
            return None
        return Ragged(lengths, size)

    def zero(self, x: Tensor) -> Tensor:
        """``x`` (B, C, size) with zeros beyond each item's end, as a convolution pads a lone item."""
        tail = x[..., self._common :].masked_fill(~self.mask[:, None, self._common :], 0.0)
        return self._with_tail(x, tail)

    def hold(self, x: Tensor) -> Tensor:
        """``x`` (B, C, size) with each item's last value beyond its end, as replicate padding gives a lone item."""
        last = (self.lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, x.shape[1], 1)
        tail = torch.where(self.mask[:, None, self._common :], x[..., self._common :], x.gather(2, last))
        return self._with_tail(x, tail)

    def _with_tail(self, x: Tensor, tail: Tensor) -> Tensor:
        """``x`` with another tail. Without gradients `x` itself: what lies beyond an item's end has no meaning."""
        if self._common == 0:
            return tail
        if torch.is_grad_enabled():
            return torch.cat([x[..., : self._common], tail], dim=-1)
        x[..., self._common :] = tail
        return x


def conv1d(layer: nn.Conv1d, x: Tensor, ragged: Ragged | None) -> Tensor:
    """``layer`` over ``x`` (B, C, T), zeros beyond each item's end."""
    return layer(x if ragged is None else ragged.zero(x))
