"""Play speech faster or slower at the same pitch, as it comes (WSOLA)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WINDOW_SECONDS = 0.04
_SEARCH_SECONDS = 0.01


class TimeStretch:
    """Plays samples at another speed: n samples become n / speed.

    Windows of 40 ms are taken from the sound at their new pace and overlapped by half. Each is moved by up to 10 ms to
    where it continues the one before it best, which keeps the pitch. Any split of the same samples gives the same
    sound.

    Args:
        speed: 2 is twice as fast.
        sample_rate: in Hz.
    """

    def __init__(self, speed: float, sample_rate: int) -> None:
        self._speed = speed
        self._hop = round(_WINDOW_SECONDS * sample_rate / 2)
        self._search = round(_SEARCH_SECONDS * sample_rate)
        self._window = np.hanning(2 * self._hop + 1)[:-1].astype(np.float32)
        # A window and its surroundings must be there on either side, at the beginning too.
        self._input = np.zeros(self._search, np.float32)
        self._dropped = 0  # samples of the input before self._input[0]
        self._number = 0  # of the next window
        self._continues = 0  # where the last window would go on, in the input
        self._overlap = np.zeros(self._hop, np.float32)
        self._taken = 0
        self._given = 0

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add samples, float32 (n,); returns those that are ready, float32 (m,)."""
        self._input = np.concatenate([self._input, samples])
        self._taken += samples.size
        return self._go()

    def flush(self) -> NDArray[np.float32]:
        """Return the rest, float32 (m,)."""
        total = round(self._taken / self._speed)
        rest = max(0, total - self._given)
        padding = round(self._speed * (rest + 4 * self._hop)) + 2 * self._search + 4 * self._hop
        self._input = np.concatenate([self._input, np.zeros(padding, np.float32)])
        out = self._go()[:rest]
        return out

    def _go(self) -> NDArray[np.float32]:
        parts = []
        while (part := self._next()) is not None:
            parts.append(part)
        out = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        self._given += out.size
        return out

    def _next(self) -> NDArray[np.float32] | None:
        start = self._search + round(self._number * self._hop * self._speed) - self._dropped
        low, size = start - self._search, 2 * self._hop
        if max(start + self._search, self._continues) + size > self._input.size:
            return None
        at = start
        if self._number:
            expected = self._input[self._continues : self._continues + self._hop]
            candidates = self._input[low : start + self._search + self._hop]
            scores = np.correlate(candidates, expected, "valid")
            energy = np.concatenate([[0.0], np.cumsum(candidates.astype(np.float64) ** 2)])
            norm = np.sqrt(np.maximum(energy[self._hop :] - energy[: -self._hop], 1e-9))
            at = low + int(np.argmax(scores / norm[: scores.size]))
        piece = self._input[at : at + size] * self._window
        if not self._number:
            piece[: self._hop] = self._input[
                at : at + self._hop
            ]  # there is nothing before it to overlap with
        out = self._overlap + piece[: self._hop]
        self._overlap = piece[self._hop :].copy()
        self._continues = at + self._hop
        self._number += 1
        drop = min(
            self._continues,
            self._search + round(self._number * self._hop * self._speed) - self._dropped - self._search,
        )
        if drop > 0:
            self._input = self._input[drop:]
            self._dropped += drop
            self._continues -= drop
        return out.astype(np.float32)
