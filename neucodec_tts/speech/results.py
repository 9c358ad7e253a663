"""Results of speaking: the sound, and the record of what lies where in it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np

from neucodec_tts.speech.engine import FinishReason

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Segment:
    """The speech of one sentence, and its place in the text and in the sound.

    Attributes:
        index: number of the segment, from 0.
        text: the words that were spoken.
        start_char: its first character in the text as it was read, cleaned and without markup.
        end_char: the character after its last.
        start: its beginning in the whole sound, in seconds, after the pause before it.
        end: its end in the whole sound, in seconds.
        codes: int64 (frames,).
        prompt_tokens: tokens of the prompt, voice and text.
        finish_reason: ``"stop"`` if the model ended it; ``"length"`` if it reached its longest, so that text may be
            missing; ``"repetition"`` if it had become a loop.
        attempts: generations that were made; all but the last were thrown away.
    """

    index: int
    text: str
    start_char: int
    end_char: int
    start: float
    end: float
    codes: NDArray[np.int64] = field(repr=False)
    prompt_tokens: int
    finish_reason: FinishReason
    attempts: int = 1

    @property
    def speech_tokens(self) -> int:
        """Tokens that were generated and kept."""
        return int(self.codes.size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Segment):
            return NotImplemented
        return all(
            np.array_equal(mine, theirs) for mine, theirs in zip(*map(_values, (self, other)), strict=True)
        )

    def __hash__(self) -> int:
        return hash((self.index, self.start_char, self.end_char, self.text))


def _values(segment: Segment) -> list[object]:
    return [getattr(segment, each.name) for each in fields(segment)]


@dataclass(frozen=True, eq=False)
class SpeechResult:
    """A whole text, spoken.

    Attributes:
        samples: float32 (n,).
        sample_rate: in Hz.
        segments: one for each sentence, in the order of the text.
        seed: the same text is spoken in the same way again with this seed.
        watermarked: True if the sound carries a watermark.
        warnings: parts of the text that were not read, and why.
    """

    samples: NDArray[np.float32] = field(repr=False)
    sample_rate: int
    segments: tuple[Segment, ...]
    seed: int
    watermarked: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def codes(self) -> NDArray[np.int64]:
        """Codes of all segments, int64 (frames,); pauses between them have none."""
        return np.concatenate([segment.codes for segment in self.segments])

    @property
    def duration(self) -> float:
        """In seconds."""
        return self.samples.size / self.sample_rate

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(segment.prompt_tokens for segment in self.segments)

    @property
    def speech_tokens(self) -> int:
        """Tokens that were generated and kept."""
        return sum(segment.speech_tokens for segment in self.segments)

    @property
    def finish_reason(self) -> FinishReason:
        """``"stop"`` if all segments ended by themselves, else the reason of the first that did not."""
        return next((s.finish_reason for s in self.segments if s.finish_reason != "stop"), "stop")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sound; the suffix chooses the format, as `neucodec_tts.audio.write_audio`.

        Raises:
            AudioError: it cannot be written there.
        """
        from neucodec_tts.audio import write_audio

        write_audio(path, self.samples, self.sample_rate)
