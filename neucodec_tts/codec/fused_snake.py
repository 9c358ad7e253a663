"""The anti-aliased activation in one pass over the samples, compiled for this processor by Numba.

In separate steps (`AntiAliasedSnake`) every sample travels through the cache a dozen times. Here a tile of one channel
is interpolated, activated and decimated before the next is read: four times faster on a CPU. Import this module only
where Numba is installed. The first import compiles for some seconds; Numba keeps the result on disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, cast

import numba
import numpy as np
import torch
from torch import Tensor

from neucodec_tts.codec.low_pass import low_pass_filter

_TILE = 512  # samples of one channel that are computed at a time
_SAMPLES_A_THREAD = 200_000  # less is not worth a thread

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


def _activate_rows(  # type: ignore[no-untyped-def]
    x, lengths, frequencies, magnitudes, out, first, last
):
    """Rows [first, last) of ``x`` (rows, T) into ``out``; beyond a row's length ``out`` is zero."""
    channels = frequencies.size
    samples = np.empty(_TILE + 12, np.float32)
    even = np.empty(_TILE + 6, np.float32)
    odd = np.empty(_TILE + 6, np.float32)
    for row in range(first, last):
        size = lengths[row // channels]
        frequency = frequencies[row % channels]
        magnitude = magnitudes[row % channels]
        for start in range(0, size, _TILE):
            count = min(_TILE, size - start)
            # The filters reach 6 samples to either side; the input is held at its edges.
            if start >= 6 and start + count + 6 <= size:
                samples[: count + 12] = x[row, start - 6 : start + count + 6]
            else:
                for i in range(count + 12):
                    samples[i] = x[row, min(max(start - 6 + i, 0), size - 1)]
            for i in range(count + 6):  # the outputs of sample start - 3 + i
                between = samples[i] * _UP_EVEN[0]
                after = samples[i + 1] * _UP_ODD[0]
                for k in range(1, 6):
                    between += samples[i + k] * _UP_EVEN[k]
                    after += samples[i + 1 + k] * _UP_ODD[k]
                even[i] = between + magnitude * _sine_squared(between * frequency)
                odd[i] = after + magnitude * _sine_squared(after * frequency)
            # So is the activated signal, at its own edges.
            for i in range(3 - start):
                even[i] = odd[i] = even[3 - start]
            for i in range(size - start + 3, count + 6):
                even[i] = odd[i] = odd[size - start + 2]
            for i in range(count):
                total = odd[i] * _DOWN[0] + even[i + 1] * _DOWN[1]
                for k in range(1, 6):
                    total += odd[i + k] * _DOWN[2 * k] + even[i + 1 + k] * _DOWN[2 * k + 1]
                out[row, start + i] = total
        out[row, size:] = 0


def _compile() -> Callable[..., None]:
    matrix, vector, index = numba.float32[:, ::1], numba.float32[::1], numba.int64
    signature = numba.void(matrix, index[::1], vector, vector, matrix, index, index)
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        compiled = numba.njit(signature, cache=True, **options)(_activate_rows)
    except (RuntimeError, OSError):  # no folder can be written to
        compiled = numba.njit(signature, **options)(_activate_rows)
    return cast("Callable[..., None]", compiled)


_activate = _compile()


def fused_snake(x: Tensor, lengths: Tensor | None, frequency: Tensor, magnitude: Tensor) -> Tensor:
    """x + magnitude sin^2(frequency x) at twice the rate of ``x``, between two low-pass filters, on a CPU.

    Args:
        x: float32 (B, C, T).
        lengths: valid samples of each item, LongTensor (B,); None if all have T.
        frequency: float32 (C,).
        magnitude: float32 (C,).

    Returns:
        float32 (B, C, T), zero beyond an item's end.
    """
    batch, channels, size = x.shape
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    valid = np.full(batch, size) if lengths is None else lengths.numpy()
    rows = batch * channels
    arguments = (
        x.contiguous().view(rows, size).numpy(),
        valid.astype(np.int64),
        frequency.contiguous().numpy(),
        magnitude.contiguous().numpy(),
        out.view(rows, size).numpy(),
    )
    threads = min(torch.get_num_threads(), rows, max(1, rows * size // _SAMPLES_A_THREAD))
    if threads == 1:
        _activate(*arguments, 0, rows)
        return out
    bounds = [rows * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(_activate, *arguments, first, last) for first, last in pairwise(bounds)]:
            done.result()
    return out
