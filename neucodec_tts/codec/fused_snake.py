"""The anti-aliased activation in one pass over the samples, compiled for this processor by Numba.

In separate steps (`AntiAliasedSnake`) every sample travels through the cache a dozen times. Here a tile of some samples
is interpolated, activated and decimated before the next is read: four times faster on a CPU. Import this module only
where Numba is installed. The first import compiles for some seconds; Numba keeps the result on disk.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, cast

import numba
import numpy as np
import torch
from torch import Tensor

from neucodec_tts.codec.low_pass import low_pass_filter

_TILE = 4096  # numbers that are computed at a time, of
_TILE_SAMPLES = 32, 512  # at least and at most so many samples; six more are computed for each tile
NUMBERS_A_THREAD = 200_000  # less is not worth a thread

_DOWN = tuple(np.float32(tap) for tap in low_pass_filter().tolist())
# Interpolation by two: the neighbours of sample t make the outputs 2t (taps 11, 9 ... 1) and 2t + 1 (taps 10, 8 ... 0).
_UP_EVEN = tuple(2 * tap for tap in _DOWN[::-2])
_UP_ODD = tuple(2 * tap for tap in _DOWN[-2::-2])

# Pi in three parts, the first two of few bits, so that their products with whole numbers are exact.
_PI_PARTS = (np.float32(3.140625), np.float32(0.0009675025939941406), np.float32(1.5099579e-07))
_PER_PI = np.float32(1 / math.pi)
_SINE = tuple(np.float32((-1) ** n / math.factorial(2 * n + 1)) for n in range(1, 7))
_ONE = np.float32(1)

_inline = numba.njit(inline="always", error_model="numpy")


@_inline
def _sine_squared(angle):  # type: ignore[no-untyped-def]
    """sin^2 of a float32, which has the period pi; within 2e-7 up to 25,000, and never outside of [0, 1]."""
    turns = np.rint(angle * _PER_PI)
    rest = ((angle - turns * _PI_PARTS[0]) - turns * _PI_PARTS[1]) - turns * _PI_PARTS[2]
    z = rest * rest
    series = _SINE[4] + z * _SINE[5]
    series = _SINE[2] + z * (_SINE[3] + z * series)
    series = _SINE[0] + z * (_SINE[1] + z * series)
    sine = rest + rest * z * series
    return min(sine * sine, _ONE)


def _activate_tiles(  # type: ignore[no-untyped-def]
    x, size, lengths, frequencies, magnitudes, out, tile, first, last
):
    """Compute tiles [first, last) of ``tile`` samples each; beyond an item's length ``out`` is zero.

    ``x`` and ``out`` are flat: items of ``size`` samples of n channels, which lie side by side. So the filters' taps
    are n numbers apart, and all of a tile is one loop. Item i has row i of the parameters (P, n), modulo P.
    """
    n = frequencies.shape[1]
    tiles = (size + tile - 1) // tile
    edge = np.empty((tile + 12) * n, np.float32)
    even = np.empty((tile + 6) * n, np.float32)
    odd = np.empty((tile + 6) * n, np.float32)
    frequency = np.empty((tile + 6) * n, np.float32)
    magnitude = np.empty((tile + 6) * n, np.float32)
    row = -1
    for each in range(first, last):
        item = each // tiles
        begin = item * size
        start = each % tiles * tile
        length = lengths[item]
        count = max(0, min(tile, length - start))
        out[(begin + start + count) * n : (begin + min(start + tile, size)) * n] = 0
        if count == 0:
            continue
        if item % len(frequencies) != row:
            row = item % len(frequencies)
            for i in range(tile + 6):
                for c in range(n):
                    frequency[i * n + c] = frequencies[row, c]
                    magnitude[i * n + c] = magnitudes[row, c]
        # The filters reach 6 samples to either side; the input is held at its edges.
        if start >= 6 and start + count + 6 <= length:
            s0 = x[(begin + start - 6) * n : (begin + start + count + 6) * n]
        else:
            for i in range(count + 12):
                held = begin + min(max(start - 6 + i, 0), length - 1)
                for c in range(n):
                    edge[i * n + c] = x[held * n + c]
            s0 = edge
        s1, s2, s3, s4, s5, s6 = s0[n:], s0[2 * n :], s0[3 * n :], s0[4 * n :], s0[5 * n :], s0[6 * n :]
        for i in range((count + 6) * n):  # the outputs of samples from start - 3
            u = _UP_EVEN
            between = s0[i] * u[0] + s1[i] * u[1] + s2[i] * u[2] + s3[i] * u[3] + s4[i] * u[4] + s5[i] * u[5]
            u = _UP_ODD
            after = s1[i] * u[0] + s2[i] * u[1] + s3[i] * u[2] + s4[i] * u[3] + s5[i] * u[4] + s6[i] * u[5]
            even[i] = between + magnitude[i] * _sine_squared(between * frequency[i])
            odd[i] = after + magnitude[i] * _sine_squared(after * frequency[i])
        # So is the activated signal, at its own edges.
        for i in range(3 - start):
            for c in range(n):
                even[i * n + c] = odd[i * n + c] = even[(3 - start) * n + c]
        for i in range(length - start + 3, count + 6):
            for c in range(n):
                even[i * n + c] = odd[i * n + c] = odd[(length - start + 2) * n + c]
        e1, e2, e3, e4, e5, e6 = (
            even[n:],
            even[2 * n :],
            even[3 * n :],
            even[4 * n :],
            even[5 * n :],
            even[6 * n :],
        )
        o1, o2, o3, o4, o5 = odd[n:], odd[2 * n :], odd[3 * n :], odd[4 * n :], odd[5 * n :]
        y = out[(begin + start) * n : (begin + start + count) * n]
        for i in range(count * n):
            d = _DOWN
            total = odd[i] * d[0] + e1[i] * d[1] + o1[i] * d[2] + e2[i] * d[3] + o2[i] * d[4] + e3[i] * d[5]
            total += o3[i] * d[6] + e4[i] * d[7] + o4[i] * d[8] + e5[i] * d[9] + o5[i] * d[10] + e6[i] * d[11]
            y[i] = total


def compiled(kernel: Callable[..., None], signature: Any) -> Callable[..., None]:
    """Compile a kernel for one signature now, and keep it on disk if there is a folder for it."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        done = numba.njit(signature, cache=True, **options)(kernel)
    except (RuntimeError, OSError):  # no folder can be written to
        done = numba.njit(signature, **options)(kernel)
    return cast("Callable[..., None]", done)


def _signature() -> Any:
    vector, matrix, index = numba.float32[::1], numba.float32[:, ::1], numba.int64
    return numba.void(vector, index, index[::1], matrix, matrix, vector, index, index, index)


_activate = compiled(_activate_tiles, _signature())


def fused_snake(x: Tensor, lengths: Tensor | None, frequency: Tensor, magnitude: Tensor) -> Tensor:
    """x + magnitude sin^2(frequency x) at twice the rate of ``x``, between two low-pass filters, on a CPU.

    Args:
        x: float32 (B, C, T), contiguous, or with its channels side by side in memory.
        lengths: valid samples of each item, LongTensor (B,); None if all have T.
        frequency: float32 (C,).
        magnitude: float32 (C,).

    Returns:
        float32 (B, C, T) in the layout of ``x``, zero beyond an item's end.
    """
    batch, channels, size = x.shape
    rows = x.transpose(1, 2)
    if rows.is_contiguous():
        items, together, parameters = batch, channels, (1, channels)
        flat, out = rows, torch.empty_like(rows)
        result = out.transpose(1, 2)
    else:
        items, together, parameters = batch * channels, 1, (channels, 1)
        flat = x.contiguous()
        result = out = torch.empty_like(flat)
    valid = np.full(batch, size) if lengths is None else lengths.numpy()
    least, most = _TILE_SAMPLES
    tile = min(most, max(least, _TILE // together))
    arguments = (
        flat.view(-1).numpy(),
        size,
        np.repeat(valid.astype(np.int64), items // batch),
        frequency.contiguous().view(parameters).numpy(),
        magnitude.contiguous().view(parameters).numpy(),
        out.view(-1).numpy(),
        tile,
    )
    tiles = items * -(-size // tile)
    allowed = torch.get_num_threads()
    threads = min(allowed, tiles, max(1, x.numel() // NUMBERS_A_THREAD))
    in_threads(lambda _, first, last: _activate(*arguments, first, last), tiles, threads)
    return result


def in_threads(compute: Callable[[int, int, int], None], count: int, threads: int) -> None:
    """Call ``compute(part, first, last)`` for parts of ``count`` things, in threads of which this is one."""
    if threads == 1:
        compute(0, 0, count)
        return
    bounds = [count * i // threads for i in range(threads + 1)]
    own, *others = pairwise(bounds)
    pool = _pool(torch.get_num_threads())
    computing = [pool.submit(compute, part, *each) for part, each in enumerate(others, 1)]
    compute(0, *own)
    for done in computing:
        done.result()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, thread_name_prefix="snake")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child process has no threads yet
