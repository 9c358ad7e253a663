"""The frames of a batch as the decoder's layers see them: whole items, or parts that go on from a memory."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neucodec_tts.codec.onednn import linear
from neucodec_tts.codec.ragged import Ragged, first


class Frames(Ragged):
    """A batch of whole items, and the decoder's operations that reach across frames.

    All tensors are (B, L, C), time in the middle.

    Args:
        lengths: frames of each item, LongTensor (B,); None if all have L.
        size: L.
    """

    #: Frames before a part that attention still sees.
    lookback = 0

    def __init__(self, lengths: Tensor | None, size: int) -> None:
        super().__init__(lengths, size)
        self._weights: Tensor | None = None  # of each frame in the means, (B, means, L)
        if lengths is not None and self.mask is not None:
            self._weights = self.mask[:, None] / lengths[:, None, None].clamp(min=1)

    def remember(self, place: nn.Module, x: Tensor, count: int) -> Tensor:
        """``x`` behind the ``count`` frames that came to ``place`` before; whole items have none."""
        return x

    def mask_behind(self, count: int) -> Tensor | None:
        """True where ``remember`` of ``count`` frames has data, BoolTensor (B, ...); None if it has everywhere."""
        return self.mask

    def conv1d(self, layer: nn.Conv1d, x: Tensor) -> Tensor:
        """``layer``, of an odd kernel, over ``x``; it sees zeros beyond the ends of an item."""
        (kernel,) = layer.kernel_size
        around = self._around(layer, self.zero(x, time=1), kernel // 2)
        # One product of matrices, which makes more of small batches than a convolution does.
        return linear(around.unfold(1, kernel, 1).flatten(2), layer.weight, layer.bias)

    def _around(self, layer: nn.Conv1d, x: Tensor, count: int) -> Tensor:
        """``x`` with ``count`` more frames on either side: zeros, or before it those remembered."""
        return F.pad(x, (0, 0, count, count))

    def group_norm(self, layer: nn.GroupNorm, x: Tensor) -> Tensor:
        """``layer`` over ``x``, with the statistics of all frames of an item and of no padding."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        width = layer.num_channels // layer.num_groups
        centre = self._centre(wide, width)
        centred = wide - centre.repeat_interleave(width, dim=2)
        mean, variance = self._moments(layer, centre, centred, width)
        scale = torch.rsqrt(variance + layer.eps)
        scale, shift = torch.cat([scale, (centre - mean) * scale], 1).repeat_interleave(width, 2).split(1, 1)
        scale, shift = scale * layer.weight, torch.addcmul(layer.bias, shift, layer.weight)
        return torch.addcmul(shift, centred, scale).to(x.dtype)

    def _centre(self, x: Tensor, width: int) -> Tensor:
        """Values taken off before squaring, (B, 1, groups): the mean of each group."""
        return self._means(x, width)[:, :1]

    def _means(self, x: Tensor, width: int) -> Tensor:
        """Means over frames and groups of ``width`` channels, (B, 1 or a row for each of several weights, groups)."""
        if self._weights is None:
            of_channels = x.mean(dim=1, keepdim=True)
        else:
            with torch.autocast(x.device.type, enabled=False):  # which keeps group norms exact, too
                of_channels = self._weights.to(x.dtype) @ x
        return of_channels.unflatten(2, (-1, width)).mean(dim=3)

    def _moments(
        self, layer: nn.GroupNorm, centre: Tensor, centred: Tensor, width: int
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance to norm with, (B, 1, groups), from the mean of ``x`` and what is left without it."""
        return centre, self._means(centred.square(), width)


class MemoryLayout:
    """The places of the layers' states in the memory of a stream, a vector (S,).

    Args:
        shapes: rows and columns of the state of each layer.
    """

    def __init__(self, shapes: Mapping[nn.Module, tuple[int, int]]) -> None:
        self.size = 0
        """S."""
        self._places: dict[nn.Module, tuple[int, tuple[int, int]]] = {}
        for layer, shape in shapes.items():
            self._places[layer] = self.size, shape
            self.size += prod(shape)

    @property
    def layers(self) -> list[nn.Module]:
        """The layers in the order of their states."""
        return list(self._places)

    def place(self, layer: nn.Module) -> tuple[int, tuple[int, int]]:
        """Where the state of a layer begins, and its rows and columns."""
        return self._places[layer]

    def unpack(self, memory: Tensor, layer: nn.Module) -> Tensor:
        """The state of a layer, (B, rows, columns), from memories (B, S)."""
        start, shape = self.place(layer)
        return memory[:, start : start + prod(shape)].unflatten(1, shape)

    def pack(self, states: Mapping[nn.Module, Tensor]) -> Tensor:
        """Memories (B, S) from the states of all layers, (B, rows, columns), in float32 or wider."""
        return torch.cat([states[layer].flatten(1) for layer in self._places], dim=1)


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
        layout: of the memories.
        memory: of the parts before, (B, S); None if all parts are the first ones.
        lookback: frames before that attention sees.
    """

    def __init__(
        self,
        lengths: Tensor,
        size: int,
        *,
        settled: Tensor,
        before: Tensor,
        layout: MemoryLayout,
        memory: Tensor | None,
        lookback: int,
    ) -> None:
        super().__init__(lengths, size)
        self.lookback = lookback
        self._settled = settled
        self._before = before
        self._layout = layout
        self._memory = memory
        self._states: dict[nn.Module, Tensor] = {}  # of the layers that have computed
        # Means for now, with the foresight, and means to keep, without it.
        counts = torch.stack([lengths, settled], dim=1)
        self._weights = torch.cat([first(each, size)[:, None] for each in counts.T], 1) / counts[:, :, None]
        # How much they have in the means of all, those of the parts before have, and the product of both.
        share = (counts / (counts + before[:, None]))[:, :, None]
        self._shares = (share, 1 - share, share * (1 - share))
        # The same in every layer: rows of what is settled last, and masks, by the number of frames.
        self._rows: dict[tuple[int, int], Tensor] = {}
        self._masks: dict[int, Tensor] = {}

    @property
    def memory(self) -> Tensor:
        """The memory for the next parts once all layers have computed, (B, S), float32 or wider."""
        return self._layout.pack(self._states)

    def remember(self, place: nn.Module, x: Tensor, count: int) -> Tensor:
        """``x`` behind the ``count`` frames that came to ``place`` before, zeros where there were none."""
        return self._joined(place, count, x)

    def _around(self, layer: nn.Conv1d, x: Tensor, count: int) -> Tensor:
        return self._joined(layer, count, x, x.new_zeros(x.shape[0], count, x.shape[2]))

    def _joined(self, place: nn.Module, count: int, x: Tensor, *behind: Tensor) -> Tensor:
        joined = torch.cat([self._recall(place, (count, x.shape[2]), x).to(x.dtype), x, *behind], dim=1)
        key = (count, joined.shape[1])
        if key not in self._rows:
            start = self._settled + joined.shape[1] * torch.arange(len(x), device=x.device)
            self._rows[key] = (start[:, None] + torch.arange(count, device=x.device)).flatten()
        last = joined.flatten(0, 1).index_select(0, self._rows[key])
        self._keep(place, last.unflatten(0, (len(x), count)))
        return joined

    def mask_behind(self, count: int) -> Tensor | None:
        """True where ``remember`` of ``count`` frames has data, BoolTensor (B, count + L)."""
        assert self.mask is not None
        if count not in self._masks:
            there = torch.arange(count, 0, -1, device=self._before.device) <= self._before[:, None]
            self._masks[count] = torch.cat([there, self.mask], dim=1)
        return self._masks[count]

    def _centre(self, x: Tensor, width: int) -> Tensor:
        # Near the mean is near enough, since what is left of it is taken off below.
        return x[:, :1].unflatten(2, (-1, width)).mean(dim=3)

    def _moments(
        self, layer: nn.GroupNorm, centre: Tensor, centred: Tensor, width: int
    ) -> tuple[Tensor, Tensor]:
        # Means and variances of two sets of values put together (Chan, Golub and LeVeque 1979).
        shift, squares = self._means(torch.cat([centred, centred.square()], 2), width).chunk(2, dim=2)
        mean_before, variance_before = self._recall(layer, (2, centre.shape[2]), centre).split(1, dim=1)
        difference = centre + shift - mean_before
        now, then, both = self._shares
        mean = mean_before + now * difference
        variance = now * (squares - shift.square()) + then * variance_before + both * difference.square()
        self._keep(layer, torch.cat([mean[:, 1:], variance[:, 1:]], dim=1))
        return mean[:, :1], variance[:, :1]

    def _recall(self, place: nn.Module, shape: tuple[int, int], like: Tensor) -> Tensor:
        """The state that ``place`` kept of the part before, (B, *shape)."""
        if self._memory is None:
            return like.new_zeros(like.shape[0], *shape)
        return self._layout.unpack(self._memory, place)

    def _keep(self, place: nn.Module, state: Tensor) -> None:
        self._states[place] = state.to(torch.promote_types(state.dtype, torch.float32))
