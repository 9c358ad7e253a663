"""Batches of frames as the decoder's layers see them: items of any lengths, whole ones or parts that go on."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Frames:
    """A batch of whole items: nothing lies before or behind them, and none sees another's padding.

    All tensors are (B, L, C), time in the middle.

    Args:
        lengths: frames of each item, LongTensor (B,); None if all have L, which costs nothing.
        size: L.
    """

    #: Frames before a part that attention still sees.
    lookback = 0

    def __init__(self, lengths: Tensor | None, size: int) -> None:
        self.size = size
        #: BoolTensor (B, L), true where an item has frames; None if it has everywhere.
        self.mask: Tensor | None = None
        self._common = size  # frames that all items have, which need no care
        self._weights: Tensor | None = None  # of each frame in the means, (B, means, L)
        if lengths is not None:
            self.mask = _first(lengths, size)
            self._weights = self.mask[:, None] / lengths[:, None, None].clamp(min=1)
            # Found out where that waits for no device.
            self._common = int(lengths.min()) if lengths.device.type == "cpu" else 0

    @staticmethod
    def of(lengths: Tensor | None, size: int) -> Frames:
        """The frames of these lengths, without a mask if every item fills the axis."""
        return Frames(None if lengths is None or bool((lengths == size).all()) else lengths, size)

    def remember(self, x: Tensor, count: int) -> Tensor:
        """``x`` behind what came to this place in the ``count`` frames before; whole items have none."""
        return x

    def mask_behind(self, count: int) -> Tensor | None:
        """Where ``remember`` of so many frames has any, BoolTensor (B, ...); None if it has everywhere."""
        return self.mask

    def silence(self, x: Tensor) -> None:
        """Put zeros beyond the end of each item, in ``x`` itself."""
        if self.mask is not None and self._common < self.size:
            x[:, self._common :].masked_fill_(~self.mask[:, self._common :, None], 0.0)

    def conv1d(self, layer: nn.Conv1d, x: Tensor) -> Tensor:
        """``layer``, of an odd kernel, over ``x``; it sees zeros beyond the ends of an item."""
        (kernel,) = layer.kernel_size
        reach = kernel // 2
        around = self._around(x, reach)
        self.silence(around[:, reach : reach + self.size])
        # One product of matrices, which makes more of small batches than a convolution does.
        return F.linear(around.unfold(1, kernel, 1).flatten(2), layer.weight.flatten(1), layer.bias)

    def _around(self, x: Tensor, count: int) -> Tensor:
        """``x`` with ``count`` more frames on either side: zeros, or before it what is remembered."""
        return F.pad(x, (0, 0, count, count))

    def group_norm(self, layer: nn.GroupNorm, x: Tensor) -> Tensor:
        """``layer`` over ``x``, with the statistics of all frames of an item and of no padding."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        width = layer.num_channels // layer.num_groups
        centre = self._centre(wide, width)
        centred = wide - centre.repeat_interleave(width, dim=2)
        mean, variance = self._moments(centre, centred, width)
        scale = torch.rsqrt(variance + layer.eps)
        scale, shift = torch.cat([scale, (centre - mean) * scale], 1).repeat_interleave(width, 2).split(1, 1)
        scale, shift = scale * layer.weight, torch.addcmul(layer.bias, shift, layer.weight)
        return torch.addcmul(shift, centred, scale).to(x.dtype)

    def _centre(self, x: Tensor, width: int) -> Tensor:
        """What is taken off before squaring, (B, 1, groups): the mean of each group."""
        return self._means(x, width)[:, :1]

    def _means(self, x: Tensor, width: int) -> Tensor:
        """Means over frames and groups of ``width`` channels, (B, 1 or a row for each of several weights, groups)."""
        if self._weights is None:
            of_channels = x.mean(dim=1, keepdim=True)
        else:
            with torch.autocast(x.device.type, enabled=False):  # which keeps group norms exact, too
                of_channels = self._weights.to(x.dtype) @ x
        return of_channels.unflatten(2, (-1, width)).mean(dim=3)

    def _moments(self, centre: Tensor, centred: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Mean and variance to norm with, (B, 1, groups), from the mean of ``x`` and what is left without it."""
        return centre, self._means(centred.square(), width)


class ContinuedFrames(Frames):
    """A batch of parts that go on where those before them ended.

    Each layer that looks beyond a frame remembers what it has seen: convolutions their last inputs, attention the
    keys and values of ``lookback`` frames, group norms the mean and variance of all frames since the beginning.
    The last frames of a part may be a foresight: they are seen, but not remembered, and the next part has them again.
    Nothing before is ever computed again.

    Args:
        lengths: frames of each part, foresight included, LongTensor (B,).
        size: L.
        settled: how many of them are remembered, at most ``lengths``, LongTensor (B,).
        before: frames that are remembered from the parts before, LongTensor (B,).
        memory: what is remembered of them, (B, S); None if all parts are the first ones.
        lookback: frames before that attention sees.
    """

    def __init__(
        self,
        lengths: Tensor,
        size: int,
        *,
        settled: Tensor,
        before: Tensor,
        memory: Tensor | None,
        lookback: int,
    ) -> None:
        super().__init__(lengths, size)
        self.lookback = lookback
        self._settled = settled
        self._before = before
        self._memory = memory
        self._read = 0  # values of the memory that layers have taken so far
        self._kept: list[Tensor] = []
        # Means for now, with the foresight, and means to keep, without it.
        counts = torch.stack([lengths, settled], dim=1)
        self._weights = torch.cat([_first(each, size)[:, None] for each in counts.T], 1) / counts[:, :, None]
        # How much they have in the means of all, those of the parts before have, and the product of both.
        share = (counts / (counts + before[:, None]))[:, :, None]
        self._shares = (share, 1 - share, share * (1 - share))
        # The same in every layer: rows of what is settled last, and masks, by the number of frames.
        self._rows: dict[tuple[int, int], Tensor] = {}
        self._masks: dict[int, Tensor] = {}

    @property
    def memory(self) -> Tensor:
        """What the next parts must be given once all layers have computed, (B, S), float32 or wider."""
        return torch.cat(self._kept, dim=1)

    def remember(self, x: Tensor, count: int) -> Tensor:
        """``x`` behind what came to this place in the ``count`` frames before, zeros where there were none."""
        return self._joined(count, x) if count else x

    def _around(self, x: Tensor, count: int) -> Tensor:
        return self._joined(count, x, x.new_zeros(x.shape[0], count, x.shape[2]))

    def _joined(self, count: int, x: Tensor, *behind: Tensor) -> Tensor:
        joined = torch.cat([self._recall((count, x.shape[2]), x).to(x.dtype), x, *behind], dim=1)
        key = (count, joined.shape[1])
        if key not in self._rows:
            first = self._settled + joined.shape[1] * torch.arange(len(x), device=x.device)
            self._rows[key] = (first[:, None] + torch.arange(count, device=x.device)).flatten()
        last = joined.flatten(0, 1).index_select(0, self._rows[key])
        self._keep(last.unflatten(0, (-1, count)))
        return joined

    def mask_behind(self, count: int) -> Tensor | None:
        """Where ``remember`` of so many frames has any, BoolTensor (B, count + L)."""
        assert self.mask is not None
        if count not in self._masks:
            there = torch.arange(count, 0, -1, device=self._before.device) <= self._before[:, None]
            self._masks[count] = torch.cat([there, self.mask], dim=1)
        return self._masks[count]

    def _centre(self, x: Tensor, width: int) -> Tensor:
        # Near the mean is near enough, since what is left of it is taken off below.
        return x[:, :1].unflatten(2, (-1, width)).mean(dim=3)

    def _moments(self, centre: Tensor, centred: Tensor, width: int) -> tuple[Tensor, Tensor]:
        # Means and variances of two sets of values put together (Chan, Golub and LeVeque 1979).
        shift, squares = self._means(torch.cat([centred, centred.square()], 2), width).chunk(2, dim=2)
        mean_before, variance_before = self._recall((2, centre.shape[2]), centre).split(1, dim=1)
        difference = centre + shift - mean_before
        now, then, both = self._shares
        mean = mean_before + now * difference
        variance = now * (squares - shift.square()) + then * variance_before + both * difference.square()
        self._keep(torch.cat([mean[:, 1:], variance[:, 1:]], dim=1))
        return mean[:, :1], variance[:, :1]

    def _recall(self, shape: tuple[int, int], like: Tensor) -> Tensor:
        """What was kept at this place by the part before, (B, *shape)."""
        if self._memory is None:
            return like.new_zeros(like.shape[0], *shape)
        values = self._memory[:, self._read : self._read + prod(shape)]
        self._read += prod(shape)
        return values.unflatten(1, shape)

    def _keep(self, values: Tensor) -> None:
        self._kept.append(values.to(torch.promote_types(values.dtype, torch.float32)).flatten(1))


def _first(lengths: Tensor, size: int) -> Tensor:
    """BoolTensor (B, size), true in the first ``lengths`` (B,) places."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]
