"""The anti-aliased activation in one pass over the samples, as a Triton kernel for NVIDIA's GPUs.

In separate steps (`AntiAliasedSnake`) every sample travels through the memory of the GPU a dozen times. Here it is read
once and written once. Import this module only where Triton is installed. It computes in float32 and reads and writes
float32, float16 or bfloat16.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from neucodec_tts.codec.low_pass import low_pass_filter

_TAPS = low_pass_filter()[:6].tolist()  # the other six are the same in reverse
_LANES = 256  # of a program, each with four samples of a row; short rows share a program

# Pi in three parts, the first two of few bits, so that their products with whole numbers are exact.
_PI_0 = tl.constexpr(3.140625)
_PI_1 = tl.constexpr(0.0009675025939941406)
_PI_2 = tl.constexpr(1.5099579e-07)
_PER_PI = tl.constexpr(1 / math.pi)
_S1 = tl.constexpr(-1 / math.factorial(3))
_S2 = tl.constexpr(1 / math.factorial(5))
_S3 = tl.constexpr(-1 / math.factorial(7))
_S4 = tl.constexpr(1 / math.factorial(9))
_S5 = tl.constexpr(-1 / math.factorial(11))
_S6 = tl.constexpr(1 / math.factorial(13))


@triton.jit
def _activated(x, frequency, magnitude):  # type: ignore[no-untyped-def]
    """x + magnitude sin^2(frequency x); the sine of a float32 within 2e-7 for angles of up to 25,000."""
    angle = x * frequency
    turns = tl.floor(angle * _PER_PI + 0.5)
    rest = ((angle - turns * _PI_0) - turns * _PI_1) - turns * _PI_2
    z = rest * rest
    series = _S1 + z * (_S2 + z * (_S3 + z * (_S4 + z * (_S5 + z * _S6))))
    sine = rest + rest * z * series
    return x + magnitude * tl.minimum(sine * sine, 1.0)


@triton.jit
def _even(a, b, c, d, e, f, frequency, magnitude, t0, t1, t2, t3, t4, t5):  # type: ignore[no-untyped-def]
    """The activated signal at a sample, from the samples three before it to two behind it."""
    total = a * t0 + b * t2 + c * t4 + d * t5 + e * t3 + f * t1
    return _activated(2.0 * total, frequency, magnitude)


@triton.jit
def _odd(a, b, c, d, e, f, frequency, magnitude, t0, t1, t2, t3, t4, t5):  # type: ignore[no-untyped-def]
    """The activated signal half a sample further on, from the samples two before to three behind."""
    total = a * t1 + b * t3 + c * t5 + d * t4 + e * t2 + f * t0
    return _activated(2.0 * total, frequency, magnitude)


@triton.jit
def _held(inside, time, first, last, length):  # type: ignore[no-untyped-def]
    """The activated signal, held at its own edges."""
    return tl.where(time < 0, first, tl.where(time >= length, last, inside))


@triton.jit
def _decimated(o0, e0, o1, e1, o2, e2, o3, e3, o4, e4, o5, e5, t0, t1, t2, t3, t4, t5):  # type: ignore[no-untyped-def]
    """A sample from six of the odd and six of the even ones around it, in turn."""
    before = o0 * t0 + e0 * t1 + o1 * t2 + e1 * t3 + o2 * t4 + e2 * t5
    return before + (o3 * t5 + e3 * t4 + o4 * t3 + e4 * t2 + o5 * t1 + e5 * t0)


@triton.jit
def _sample(x, time, end):  # type: ignore[no-untyped-def]
    """Samples of a row, held at its edges, float32."""
    return tl.load(x + tl.minimum(tl.maximum(time, 0), end)).to(tl.float32)


@triton.jit(do_not_specialize=["rows", "channels", "size", "tiles"])
def _snake_kernel(  # type: ignore[no-untyped-def]
    x_start,
    out_start,
    lengths,
    frequencies,
    magnitudes,
    rows,
    channels,
    size,
    tiles,
    t0,
    t1,
    t2,
    t3,
    t4,
    t5,
    RAGGED: tl.constexpr,
    ROWS: tl.constexpr,
    LANES: tl.constexpr,
):
    """A tile of ``ROWS`` rows and ``4 * LANES`` samples; each lane has four samples in turn."""
    program = tl.program_id(0)
    row = (program // tiles) * ROWS + tl.arange(0, ROWS)[:, None]
    there = row < rows
    row = tl.minimum(row, rows - 1)
    frequency = tl.load(frequencies + row % channels)
    magnitude = tl.load(magnitudes + row % channels)
    if RAGGED:
        length = tl.minimum(tl.load(lengths + row // channels).to(tl.int32), size)
    else:
        length = row * 0 + size
    end = tl.maximum(length - 1, 0)
    x = x_start + row.to(tl.int64) * size
    out = out_start + row.to(tl.int64) * size
    # The edges of the activated signal: its first value, and its last one.
    first = _even(
        _sample(x, -3, end), _sample(x, -2, end), _sample(x, -1, end), _sample(x, 0, end), _sample(x, 1, end),
        _sample(x, 2, end), frequency, magnitude, t0, t1, t2, t3, t4, t5,
    )  # fmt: skip
    last = _odd(
        _sample(x, end - 2, end), _sample(x, end - 1, end), _sample(x, end, end), _sample(x, end + 1, end),
        _sample(x, end + 2, end), _sample(x, end + 3, end), frequency, magnitude, t0, t1, t2, t3, t4, t5,
    )  # fmt: skip

    t = (program % tiles) * (4 * LANES) + 4 * tl.arange(0, LANES)[None, :]
    # Samples t - 5 to t + 8.
    a = _sample(x, t - 5, end)
    b = _sample(x, t - 4, end)
    c = _sample(x, t - 3, end)
    d = _sample(x, t - 2, end)
    e = _sample(x, t - 1, end)
    f = _sample(x, t, end)
    g = _sample(x, t + 1, end)
    h = _sample(x, t + 2, end)
    i = _sample(x, t + 3, end)
    j = _sample(x, t + 4, end)
    k = _sample(x, t + 5, end)
    m = _sample(x, t + 6, end)
    n = _sample(x, t + 7, end)
    p = _sample(x, t + 8, end)
    # The activated signal at half a sample after t - 3 to t + 5, and at t - 2 to t + 6.
    o0 = _held(
        _odd(a, b, c, d, e, f, frequency, magnitude, t0, t1, t2, t3, t4, t5), t - 3, first, last, length
    )
    o1 = _held(
        _odd(b, c, d, e, f, g, frequency, magnitude, t0, t1, t2, t3, t4, t5), t - 2, first, last, length
    )
    o2 = _held(
        _odd(c, d, e, f, g, h, frequency, magnitude, t0, t1, t2, t3, t4, t5), t - 1, first, last, length
    )
    o3 = _held(_odd(d, e, f, g, h, i, frequency, magnitude, t0, t1, t2, t3, t4, t5), t, first, last, length)
    o4 = _held(
        _odd(e, f, g, h, i, j, frequency, magnitude, t0, t1, t2, t3, t4, t5), t + 1, first, last, length
    )
    o5 = _held(
        _odd(f, g, h, i, j, k, frequency, magnitude, t0, t1, t2, t3, t4, t5), t + 2, first, last, length
    )
    o6 = _held(
        _odd(g, h, i, j, k, m, frequency, magnitude, t0, t1, t2, t3, t4, t5), t + 3, first, last, length
    )
    o7 = _held(
        _odd(h, i, j, k, m, n, frequency, magnitude, t0, t1, t2, t3, t4, t5), t + 4, first, last, length
    )
    o8 = _held(
        _odd(i, j, k, m, n, p, frequency, magnitude, t0, t1, t2, t3, t4, t5), t + 5, first, last, length
    )
    e0 = _held(
        _even(a, b, c, d, e, f, frequency, magnitude, t0, t1, t2, t3, t4, t5), t - 2, first, last, length
    )
    e1 = _held(
        _even(b, c, d, e, f, g, frequency, magnitude, t0, t1, t2, t3, t4, t5), t - 1, first, last, length
    )
    e2 = _held(_even(c, d, e, f, g, h, frequency, magnitude, t0, t1, t2, t3, t4, t5), t, first, last, length)
    e3 = _held(
        _even(d, e, f, g, h, i, frequency, magnitude, t0, t1, t2, t3, t4, t5), t + 1, first, last, length
    )
    e4 = _held(
        _even(e, f, g, h, i, j, frequency, magnitude, t0, t1, t2, t3, t4, t5), t + 2, first, last, length
    )
    e5 = _held(
        _even(f, g, h, i, j, k, frequency, magnitude, t0, t1, t2, t3, t4, t5), t + 3, first, last, length
    )
    e6 = _held(
        _even(g, h, i, j, k, m, frequency, magnitude, t0, t1, t2, t3, t4, t5), t + 4, first, last, length
    )
    e7 = _held(
        _even(h, i, j, k, m, n, frequency, magnitude, t0, t1, t2, t3, t4, t5), t + 5, first, last, length
    )
    e8 = _held(
        _even(i, j, k, m, n, p, frequency, magnitude, t0, t1, t2, t3, t4, t5), t + 6, first, last, length
    )

    y0 = _decimated(o0, e0, o1, e1, o2, e2, o3, e3, o4, e4, o5, e5, t0, t1, t2, t3, t4, t5)
    y1 = _decimated(o1, e1, o2, e2, o3, e3, o4, e4, o5, e5, o6, e6, t0, t1, t2, t3, t4, t5)
    y2 = _decimated(o2, e2, o3, e3, o4, e4, o5, e5, o6, e6, o7, e7, t0, t1, t2, t3, t4, t5)
    y3 = _decimated(o3, e3, o4, e4, o5, e5, o6, e6, o7, e7, o8, e8, t0, t1, t2, t3, t4, t5)
    tl.store(out + t, tl.where(t < length, y0, 0.0), mask=there & (t < size))
    tl.store(out + t + 1, tl.where(t + 1 < length, y1, 0.0), mask=there & (t + 1 < size))
    tl.store(out + t + 2, tl.where(t + 2 < length, y2, 0.0), mask=there & (t + 2 < size))
    tl.store(out + t + 3, tl.where(t + 3 < length, y3, 0.0), mask=there & (t + 3 < size))


def triton_snake(x: Tensor, lengths: Tensor | None, frequency: Tensor, magnitude: Tensor) -> Tensor:
    """x + magnitude sin^2(frequency x) at twice the rate of ``x``, between two low-pass filters, on a GPU.

    Args:
        x: float32, float16 or bfloat16 (B, C, T).
        lengths: valid samples of each item, LongTensor (B,); None if all have T.
        frequency: (C,), read as float32.
        magnitude: (C,), read as float32.

    Returns:
        (B, C, T) in the format of ``x``, zero beyond an item's end.
    """
    batch, channels, size = x.shape
    x = x.contiguous()
    out = torch.empty_like(x)
    if not x.numel():
        return out
    frequency = frequency.float().contiguous()
    magnitude = magnitude.float().contiguous()
    rows = batch * channels
    lanes = min(_LANES, triton.next_power_of_2(triton.cdiv(size, 4)))
    tiles = triton.cdiv(size, 4 * lanes)
    with torch.cuda.device_of(x):
        _snake_kernel[(triton.cdiv(rows, _LANES // lanes) * tiles,)](
            x,
            out,
            frequency if lengths is None else lengths,  # not read without lengths
            frequency,
            magnitude,
            rows,
            channels,
            size,
            tiles,
            *_TAPS,
            RAGGED=lengths is not None,
            ROWS=_LANES // lanes,
            LANES=lanes,
        )
    return out
