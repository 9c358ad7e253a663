"""Join segments of speech with the pauses that a speaker makes, and without clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from neucodec_tts.errors import EngineError
from neucodec_tts.speech.sentences import Ending

if TYPE_CHECKING:
    from numpy.typing import NDArray

FADE_SECONDS = 0.005
TAIL_FRAMES = 50
HEAD_FRAMES = 10
"""Frames at the end and the beginning of a segment in which the silence of a seam is looked for."""

# A frame is silent below -60 dB of full scale, or 40 dB below the loudest frame around.
_SILENT, _RELATIVE = 1e-3, 1e-2


@dataclass(frozen=True)
class Pauses:
    """Seconds of silence at a seam, after what ends the segment before it. All of it counts, the model's own too.

    Attributes:
        paragraph: after a blank line.
        sentence: after a sentence.
        clause: where a long sentence was cut at a comma.
        none: where it was cut between words.
    """

    paragraph: float = 0.7
    sentence: float = 0.35
    clause: float = 0.15
    none: float = 0.0

    def __post_init__(self) -> None:
        for ending in ("paragraph", "sentence", "clause", "none"):
            if not 0 <= getattr(self, ending) <= 60:
                raise EngineError(
                    f"the pause after {ending!r} is {getattr(self, ending)} s; it must be 0 to 60"
                )

    def seconds(self, ending: Ending) -> float:
        """Return the silence after a segment with this ending, in seconds."""
        return float(getattr(self, ending))


@dataclass(frozen=True)
class Seam:
    """The joint between two segments, in samples.

    Attributes:
        silence: zeros that are added.
        skip: samples of the later segment that are left out, all of them silent.
    """

    silence: int = 0
    skip: int = 0


def seam(
    tail: NDArray[np.float32], head: NDArray[np.float32], pause: float, hop: int, sample_rate: int
) -> Seam:
    """Compute the seam that gives a pause of this length, with the silence that the segments bring themselves.

    Missing silence is added. Silence that is too much is taken from the beginning of the later segment, because the
    end of the earlier one may have been played already.

    Args:
        tail: the last samples of the earlier segment, float32 (n,).
        head: the first samples of the later one.
        pause: wanted, in seconds.
        hop: samples a frame; the silence is measured in frames.
        sample_rate: in Hz.
    """
    wanted = round(pause * sample_rate / hop)
    before, after = _silent_frames(tail[::-1], hop), _silent_frames(head, hop)
    lacking = wanted - before - after
    if lacking >= 0:
        return Seam(silence=lacking * hop)
    return Seam(skip=min(after, -lacking) * hop)


def _silent_frames(samples: NDArray[np.float32], hop: int) -> int:
    """Whole frames of silence at the beginning."""
    level = frame_levels(samples, hop)
    if not level.size:
        return 0
    loud = level > max(_SILENT, _RELATIVE * float(level.max()))
    return int(loud.argmax()) if loud.any() else level.size


def frame_levels(samples: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
    """The root mean square of each whole frame of `hop` samples, relative to full scale, float32 (frames,)."""
    frames = samples[: samples.size // hop * hop].reshape(-1, hop)
    levels: NDArray[np.float32] = np.sqrt(np.square(frames).mean(-1))
    return levels


class Joiner:
    """Turns the samples of segments, as they come, into one continuous sound.

    Every segment is faded in and out over 5 ms, so that none begins or ends with a click. Any split of the same
    samples gives the same sound.

    Args:
        sample_rate: in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._fade = np.linspace(0, 1, round(FADE_SECONDS * sample_rate) + 2, dtype=np.float32)[1:-1]
        self._begin(Seam())

    def _begin(self, between: Seam) -> None:
        self._between = between
        self._skip = between.skip
        self._done = 0  # samples of this segment that have been faded in or lie beyond
        self._held = np.empty(0, np.float32)  # may turn out to be the end of the segment

    def start(self, between: Seam) -> NDArray[np.float32]:
        """Begin a segment; returns the silence before it, float32 (n,)."""
        self._begin(between)
        return np.zeros(between.silence, np.float32)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add samples of the segment, float32 (n,); returns all that are final, but for the last 5 ms."""
        skipped = min(self._skip, samples.size)
        self._skip -= skipped
        samples = self._faded_in(samples[skipped:])
        waiting = np.concatenate([self._held, samples])
        ready = max(0, waiting.size - self._fade.size)
        self._held = waiting[ready:]
        return waiting[:ready]

    def end(self) -> NDArray[np.float32]:
        """End the segment; returns its last samples, float32 (n,), faded out."""
        held, self._held = self._held, np.empty(0, np.float32)
        faded: NDArray[np.float32] = held * self._fade[::-1][self._fade.size - held.size :]
        return faded

    def _faded_in(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        fade = self._fade[self._done : self._done + samples.size]
        self._done += samples.size
        if not fade.size:
            return samples
        return np.concatenate([samples[: fade.size] * fade, samples[fade.size :]])
