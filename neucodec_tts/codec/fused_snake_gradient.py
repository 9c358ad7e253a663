"""The gradient of the anti-aliased activation in one pass, compiled for this processor by Numba.

The training of an encoder on a CPU spends a quarter of its time in the activations' separate steps. Import this module
only where Numba is installed.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neucodec_tts.codec.fused_snake import (
    _DOWN,
    _ONE,
    _PER_PI,
    _PI_PARTS,
    _SINE,
    _TILE,
    _TILE_SAMPLES,
    _UP_EVEN,
    _UP_ODD,
    NUMBERS_A_THREAD,
    compiled,
    fused_snake,
    in_threads,
)

_ZERO, _TWO = np.float32(0), np.float32(2)
_COSINE = tuple(np.float32((-1) ** n / math.factorial(2 * n)) for n in range(1, 8))
_inline = numba.njit(inline="always", error_model="numpy")


@_inline
def _sine_and_cosine(angle):  # type: ignore[no-untyped-def]
    """Of what is left of an angle after whole multiples of pi: those of the angle, but for one sign of both."""
    turns = np.rint(angle * _PER_PI)
    rest = ((angle - turns * _PI_PARTS[0]) - turns * _PI_PARTS[1]) - turns * _PI_PARTS[2]
    z = rest * rest
    series = _SINE[4] + z * _SINE[5]
    series = _SINE[2] + z * (_SINE[3] + z * series)
    series = _SINE[0] + z * (_SINE[1] + z * series)
    other = _COSINE[4] + z * (_COSINE[5] + z * _COSINE[6])
    other = _COSINE[2] + z * (_COSINE[3] + z * other)
    other = _COSINE[0] + z * (_COSINE[1] + z * other)
    return rest + rest * z * series, _ONE + z * other


def _differentiate(  # type: ignore[no-untyped-def]
    x, given, size, frequencies, magnitudes, out, by_frequency, by_magnitude, tile, first, last
):
    """Gradients for items [first, last), in tiles of ``tile`` samples. The layout is that of ``_activate_tiles``.

    Args:
        x: the activation's inputs.
        given: gradients of its outputs.
        size: samples of each item.
        frequencies: (P, n).
        magnitudes: (P, n).
        out: gradients of the inputs, to be written.
        by_frequency: gradients of the frequencies, float64 (P, n), to be added to.
        by_magnitude: likewise.
        tile: samples.
        first: item.
        last: item, exclusive.
    """
    n = frequencies.shape[1]
    most = tile + 2  # a last tile of one or two samples would lie wholly within the filters' reach
    wide = (most + 6) * n
    s0, g0 = np.empty((most + 12) * n, np.float32), np.empty((most + 12) * n, np.float32)
    even, odd = np.empty((most + 18) * n, np.float32), np.empty((most + 18) * n, np.float32)
    frequency, magnitude = np.empty(wide, np.float32), np.empty(wide, np.float32)
    turned, raised = np.empty(wide, np.float32), np.empty(wide, np.float32)
    samples = np.empty(wide, np.float32)
    for item in range(first, last):
        begin, row = item * size, item % len(frequencies)
        for i in range(most + 6):
            for c in range(n):
                frequency[i * n + c] = frequencies[row, c]
                magnitude[i * n + c] = magnitudes[row, c]
        start, count = 0, 0
        while start + count < size:
            start += count
            count = size - start if size - start <= most else tile
            for i in range(count + 12):  # samples from start - 6; inputs are held at the edges
                at = start - 6 + i
                held = begin + min(max(at, 0), size - 1)
                inside = 0 <= at < size
                for c in range(n):
                    s0[i * n + c] = x[held * n + c]
                    g0[i * n + c] = given[held * n + c] if inside else _ZERO
            # The decimating filter backwards: from here on, samples from start - 3 at three places further on.
            even[:] = 0
            odd[:] = 0
            even3, odd3 = even[3 * n :], odd[3 * n :]
            g1, g2, g3, g4, g5, g6 = g0[n:], g0[2 * n :], g0[3 * n :], g0[4 * n :], g0[5 * n :], g0[6 * n :]
            for i in range((count + 6) * n):
                d = _DOWN
                even3[i] = (
                    g5[i] * d[1] + g4[i] * d[3] + g3[i] * d[5] + g2[i] * d[7] + g1[i] * d[9] + g0[i] * d[11]
                )
                odd3[i] = (
                    g6[i] * d[0] + g5[i] * d[2] + g4[i] * d[4] + g3[i] * d[6] + g2[i] * d[8] + g1[i] * d[10]
                )
            # The activated signal is held at its edges, too: gradients there are those of the last sample.
            for i in range(3 - start):
                for c in range(n):
                    even3[(3 - start) * n + c] += even3[i * n + c] + odd3[i * n + c]
                    even3[i * n + c] = odd3[i * n + c] = 0
            for i in range(size - start + 3, count + 6):
                for c in range(n):
                    odd3[(size - start + 2) * n + c] += even3[i * n + c] + odd3[i * n + c]
                    even3[i * n + c] = odd3[i * n + c] = 0
            s1, s2, s3, s4, s5, s6 = s0[n:], s0[2 * n :], s0[3 * n :], s0[4 * n :], s0[5 * n :], s0[6 * n :]
            for i in range((count + 6) * n):
                u = _UP_EVEN
                between = (
                    s0[i] * u[0] + s1[i] * u[1] + s2[i] * u[2] + s3[i] * u[3] + s4[i] * u[4] + s5[i] * u[5]
                )
                u = _UP_ODD
                after = (
                    s1[i] * u[0] + s2[i] * u[1] + s3[i] * u[2] + s4[i] * u[3] + s5[i] * u[4] + s6[i] * u[5]
                )
                f, m = frequency[i], magnitude[i]
                a, cosine_a = _sine_and_cosine(between * f)
                b, cosine_b = _sine_and_cosine(after * f)
                a2, b2 = min(a * a, _ONE), min(b * b, _ONE)
                a, b = _TWO * a * cosine_a, _TWO * b * cosine_b  # sines of twice the angle
                turned[i] = m * (even3[i] * a * between + odd3[i] * b * after)
                raised[i] = even3[i] * a2 + odd3[i] * b2
                even3[i] *= _ONE + m * f * a
                odd3[i] *= _ONE + m * f * b
            for c in range(n):
                total, other = 0.0, 0.0
                for i in range(3, count + 3):
                    total += turned[i * n + c]
                    other += raised[i * n + c]
                by_frequency[row, c] += total
                by_magnitude[row, c] += other
            # The interpolating filter backwards, for samples from start - 3.
            e1, e2, e3, e4, e5, e6 = (
                even[n:],
                even[2 * n :],
                even[3 * n :],
                even[4 * n :],
                even[5 * n :],
                even[6 * n :],
            )
            o0, o1, o2, o3, o4, o5 = odd, odd[n:], odd[2 * n :], odd[3 * n :], odd[4 * n :], odd[5 * n :]
            for i in range((count + 6) * n):
                u = _UP_EVEN
                total = (
                    e6[i] * u[0] + e5[i] * u[1] + e4[i] * u[2] + e3[i] * u[3] + e2[i] * u[4] + e1[i] * u[5]
                )
                u = _UP_ODD
                total += (
                    o5[i] * u[0] + o4[i] * u[1] + o3[i] * u[2] + o2[i] * u[3] + o1[i] * u[4] + o0[i] * u[5]
                )
                samples[i] = total
            for i in range(3 - start):
                for c in range(n):
                    samples[(3 - start) * n + c] += samples[i * n + c]
            for i in range(size - start + 3, count + 6):
                for c in range(n):
                    samples[(size - start + 2) * n + c] += samples[i * n + c]
            out[(begin + start) * n : (begin + start + count) * n] = samples[3 * n : (count + 3) * n]


def _signature() -> Any:
    vector, matrix, index = numba.float32[::1], numba.float32[:, ::1], numba.int64
    sums = numba.float64[:, ::1]
    return numba.void(vector, vector, index, matrix, matrix, vector, sums, sums, index, index, index)


_gradient = compiled(_differentiate, _signature())


class FusedSnake(torch.autograd.Function):
    """``fused_snake`` of whole items (B, C, T), float32 on a CPU, which can be differentiated once."""

    @staticmethod
    def forward(x: Tensor, frequency: Tensor, magnitude: Tensor) -> Tensor:
        """As ``fused_snake``, without lengths."""
        return fused_snake(x.detach(), None, frequency.detach(), magnitude.detach())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        """Keep the inputs."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the three inputs."""
        x, frequency, magnitude = (saved.detach() for saved in ctx.saved_tensors)
        batch, channels, size = x.shape
        rows = x.transpose(1, 2)
        beside = rows.is_contiguous()
        items, together, parameters = (
            (batch, channels, (1, channels)) if beside else (batch * channels, 1, (channels, 1))
        )
        flat = rows if beside else x.contiguous()
        given = gradients[0].detach().to(torch.float32)
        given = (given.transpose(1, 2) if beside else given).contiguous()
        out = torch.empty_like(flat)
        threads = max(1, min(torch.get_num_threads(), items, x.numel() // NUMBERS_A_THREAD))
        sums = np.zeros((threads, 2, *parameters))
        least, most = _TILE_SAMPLES
        arguments = (
            flat.view(-1).numpy(),
            given.view(-1).numpy(),
            size,
            frequency.contiguous().view(parameters).numpy(),
            magnitude.contiguous().view(parameters).numpy(),
            out.view(-1).numpy(),
        )
        tile = min(most, max(least, _TILE // together))
        in_threads(
            lambda part, first, last: _gradient(*arguments, sums[part, 0], sums[part, 1], tile, first, last),
            items,
            threads,
        )
        by_frequency, by_magnitude = (
            torch.from_numpy(part).to(frequency.dtype).view(-1) for part in sums.sum(axis=0)
        )
        return out.transpose(1, 2) if beside else out, by_frequency, by_magnitude


def trainable_snake(x: Tensor, frequency: Tensor, magnitude: Tensor) -> Tensor:
    """``fused_snake`` of whole items, to be differentiated once: float32 (B, C, T), (C,) and (C,) to (B, C, T)."""
    return cast(Tensor, FusedSnake.apply(x, frequency, magnitude))
