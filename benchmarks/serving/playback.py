"""A listener who plays at real time whatever has come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Playback:
    """Starts with the first sound that comes, and plays on; runs dry where the next comes too late.

    Attributes:
        started: when the first sound came, in seconds of the caller's clock; None before it.
        underruns: how many times it ran dry.
        silence: seconds for which it did.
        seconds: of sound that have come.
        first: of them, those that came first.
        ended: when the last sound came; None before any.
    """

    started: float | None = None
    underruns: int = 0
    silence: float = 0.0
    seconds: float = 0.0
    first: float = 0.0
    ended: float | None = None

    @property
    def speed(self) -> float | None:
        """Speed of the sound after its first part, in multiples of real time; None if nothing came after that."""
        if self.started is None or self.ended is None or self.seconds == self.first:
            return None
        return (self.seconds - self.first) / max(self.ended - self.started, 1e-9)

    def push(self, now: float, seconds: float) -> None:
        """Take sound that has come.

        Args:
            now: the time, in seconds of one clock that never goes back.
            seconds: how much it is.
        """
        if seconds <= 0:
            return
        if self.started is None:
            self.started, self.first = now, seconds
        dry = now - (self.started + self.silence + self.seconds)
        if dry > 0:
            self.underruns += 1
            self.silence += dry
        self.seconds += seconds
        self.ended = now
