"""Cuts of a long recording into pieces, in its pauses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from neucodec_tts.audio import LongRecording

FRAMES_PER_SECOND = 100
_PAUSE_SECONDS = 0.15
"""A shorter silence may be the closure of a t or a k, within a word."""
_QUIETEST, _LOUDEST = 5.0, 90.0  # percentiles of the frames of a stretch: its background, its speech
_SHARE = 0.3  # of the way from the background to the speech, in dB: below it nobody speaks
_LOWEST_DB = -100.0


@dataclass(frozen=True)
class Cut:
    """A place where a recording is cut."""

    seconds: float
    in_pause: bool
    """False where there is no pause: the quietest place was taken."""


@dataclass(frozen=True)
class Levels:
    """The loudness of a recording over time."""

    decibels: np.ndarray
    """float32 (frames,), `FRAMES_PER_SECOND` of them a second; of the samples around their mean, so that neither an
    offset nor rumble counts."""
    samples: int
    rate: int

    @property
    def seconds(self) -> float:
        """The length of the recording."""
        return self.samples / self.rate

    @classmethod
    def of(cls, recording: LongRecording) -> Levels:
        """Measure what is left of a recording; a block of it is in memory at a time.

        Raises:
            AudioError: what `LongRecording.blocks` raises.
        """
        size = max(1, recording.rate // FRAMES_PER_SECOND)
        powers: list[np.ndarray] = []
        samples = 0
        rest: np.ndarray | None = None
        for block in recording.blocks():
            samples += block.shape[0]
            if rest is not None and rest.shape[1] == block.shape[1]:
                block = np.concatenate([rest, block])
            whole = block.shape[0] // size * size
            powers.append(_powers(block[:whole], size))
            rest = block[whole:]
        if rest is not None and rest.shape[0]:
            powers.append(_powers(rest, rest.shape[0]))
        power = np.concatenate(powers) if powers else np.zeros(0, np.float32)
        return cls(10 * np.log10(np.maximum(power, 10 ** (_LOWEST_DB / 10))), samples, recording.rate)

    def cuts(self, longest: float) -> Iterator[Cut]:
        """Choose cuts so that no piece is longer than `longest` seconds.

        The longest pause of the second half of what a piece may hold is taken, else that of its second quarter, else
        the quietest place. The last piece is not shorter than a quarter of `longest`.
        """
        start = 0.0
        while self.seconds - start > longest:
            last = min(start + longest, self.seconds - longest / 4)
            cut = self._cut(start + longest / 2, last) or self._cut(start + longest / 4, start + longest / 2)
            if cut is None:
                cut = Cut(self._quietest(start + longest / 2, last), False)
            cut = Cut(round(cut.seconds * self.rate) / self.rate, cut.in_pause)
            yield cut
            start = cut.seconds

    def _cut(self, first: float, last: float) -> Cut | None:
        """Return the middle of the longest pause between two times; None if there is no pause."""
        low, high = self._frames(first, last)
        around = self.decibels[max(0, low - (high - low)) : high + (high - low)]
        quiet, loud = np.percentile(around, (_QUIETEST, _LOUDEST))
        silent = self.decibels[low:high] < quiet + _SHARE * (loud - quiet) + 1e-3
        edges = np.flatnonzero(np.diff(silent, prepend=False, append=False))
        starts, stops = edges[::2], edges[1::2]
        if not starts.size or (stops - starts).max() < _PAUSE_SECONDS * FRAMES_PER_SECOND:
            return None
        longest = int(np.argmax(stops - starts))
        begin, end = low + int(starts[longest]), low + int(stops[longest])
        # Its quietest part, since the first and the last frames may hold the end of a word and a breath.
        core = self.decibels[begin:end]
        lowest = begin + np.flatnonzero(core <= core.min() + 3.0)
        return Cut((float(np.median(lowest)) + 0.5) / FRAMES_PER_SECOND, True)

    def _quietest(self, first: float, last: float) -> float:
        low, high = self._frames(first, last)
        smooth = np.convolve(self.decibels[low:high], np.full(5, 0.2), mode="same")
        return float(low + int(np.argmin(smooth[2:-2])) + 2.5) / FRAMES_PER_SECOND

    def _frames(self, first: float, last: float) -> tuple[int, int]:
        return int(np.ceil(first * FRAMES_PER_SECOND)), int(last * FRAMES_PER_SECOND)


def _powers(block: np.ndarray, size: int) -> np.ndarray:
    """Power of frames of `size` samples (n, channels), the mean over channels: float32 (n // size,)."""
    frames = block.reshape(-1, size, block.shape[1])
    power: np.ndarray = frames.var(axis=1).mean(axis=1)
    return power
