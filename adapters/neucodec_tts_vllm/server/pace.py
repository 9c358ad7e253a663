"""The rate at which codes come, and how long the first sound waits where that is slow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neucodec_tts.codec.streaming import StreamSettings

LONGEST_HOLD_SECONDS = 2.0
_MEMORY_SECONDS = 2.0
_CAUTION = 0.9  # codes may come a tenth more slowly than of late
_RESERVE_FRAMES = 4.0  # chunks may be so much later than their codes


class Pace:
    """How fast codes have come of late, for one listener among all that a server speaks to.

    Args:
        frame_rate: codes that are played in a second.
    """

    def __init__(self, frame_rate: float) -> None:
        self._frame_rate = frame_rate
        self._codes = 0.0
        self._seconds = 0.0
        self._last: float | None = None

    def count(self, codes: int, seconds: float, now: float) -> None:
        """Count codes of one generation.

        Args:
            codes: that have come together.
            seconds: since those before them.
            now: the time, in seconds of one clock.
        """
        if self._last is not None:
            kept = math.exp(-max(0.0, now - self._last) / _MEMORY_SECONDS)
            self._codes, self._seconds = kept * self._codes, kept * self._seconds
        self._last = now
        self._codes += codes
        self._seconds += seconds

    @property
    def speed(self) -> float | None:
        """Multiples of the rate at which speech is played; None before anything has come."""
        return self._codes / self._seconds / self._frame_rate if self._seconds > 0 else None


def hold_seconds(
    settings: StreamSettings, known: int, total: int, speed: float | None, frame_rate: float
) -> float:
    """Time for which the first sound must still wait, so that all after it comes without a gap; 0 for none.

    It is also 0 where codes come so fast that the chunks' own rule leaves no gap.

    Args:
        settings: of the chunks.
        known: codes that have come.
        total: codes that the sentence is likely to have.
        speed: of the codes, over that at which the listener plays them; None where it is not known.
        frame_rate: codes that the listener plays in a second.
    """
    if speed is None or _CAUTION * speed >= settings.growth:
        return 0.0
    return max(0.0, settings.lateness(known, total, _CAUTION * speed) + _RESERVE_FRAMES) / frame_rate
