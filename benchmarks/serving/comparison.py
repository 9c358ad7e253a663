"""Compare a stream with the sound that was asked for, and with that of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples: TypeAlias = "NDArray[np.int16]"

Verdict: TypeAlias = Literal["equal", "diverged", "short", "mixed", "different"]
"""A stream, beside the same request's sound asked for alone.

``equal`` is equal but for rounding; ``diverged`` begins as it and goes on otherwise, with nothing of another's, as
where a batch of another size rounded a language model's probabilities to another token; ``short`` is it without its
end; ``mixed`` holds another request's sound; ``different`` is none of these.
"""

EQUAL_DB = 40.0
"""From this signal-to-noise ratio on, two sounds of 16 bits are the same."""
_BEGINNING = 1200  # samples, half a first chunk: what must be its own where the rest is otherwise
_PIECE = 960  # samples in which another's sound is looked for, two frames


def compare(heard: Samples, own: int, references: Sequence[Samples]) -> Verdict:
    """Judge a stream.

    Args:
        heard: its samples, int16 (n,).
        own: which of the references it should be.
        references: the sound of each request asked for alone.
    """
    expected = references[own]
    shared = min(len(heard), len(expected))
    if shared and _same(expected[:shared], heard[:shared]):
        if len(heard) == len(expected):
            return "equal"
        if len(heard) < len(expected):
            return "short"
    # Pieces are compared until one differs: there it leaves its own sound.
    agreed = 0
    while agreed + _PIECE <= shared and _same(
        expected[agreed : agreed + _PIECE], heard[agreed : agreed + _PIECE]
    ):
        agreed += _PIECE
    others = [sound for index, sound in enumerate(references) if index != own]
    for start in range(agreed, len(heard) - _PIECE + 1, _PIECE):
        piece = heard[start : start + _PIECE]
        if _holds(expected, piece):
            continue  # out of place, or a sound that all have, such as silence
        if any(_holds(other, piece) for other in others):
            return "mixed"
    began = shared >= _BEGINNING and _same(expected[:_BEGINNING], heard[:_BEGINNING])
    return "diverged" if began else "different"


def _same(expected: Samples, heard: Samples) -> bool:
    """The same but for rounding: a step of 16 bits, or noise far below the sound."""
    difference = heard.astype(np.float64) - expected.astype(np.float64)
    if np.max(np.abs(difference), initial=0) <= 1:
        return True
    power = float(np.sum(expected.astype(np.float64) ** 2))
    return bool(np.sum(difference**2) * 10 ** (EQUAL_DB / 10) <= power)


def _holds(sound: Samples, piece: Samples) -> bool:
    """True if a piece occurs anywhere in a sound."""
    if len(sound) < len(piece):
        return False
    wanted, whole = piece.astype(np.float64), sound.astype(np.float64)
    size = len(whole) + len(wanted)
    products = np.fft.irfft(np.fft.rfft(whole, size) * np.fft.rfft(wanted[::-1], size), size)
    products = products[len(wanted) - 1 : len(whole)]
    energies = np.concatenate([[0.0], np.cumsum(whole**2)])
    energy = energies[len(wanted) :] - energies[: -len(wanted)]
    power = float(np.sum(wanted**2))
    best = int(np.argmin(energy - 2 * products))
    return _same(piece, sound[best : best + len(piece)]) and power > 0
