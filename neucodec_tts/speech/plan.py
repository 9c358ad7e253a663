"""From a text and a voice to the prompts that an engine gets, one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from neucodec_tts.speech.engine import Sampling
from neucodec_tts.speech.segments import SHORT_FRAMES, SpeakingRate, halves, segments
from neucodec_tts.speech.sentences import Span
from neucodec_tts.text import check_text, has_speech, speakable

if TYPE_CHECKING:
    from neucodec_tts.prompts import PromptFormat, Voice

LONGEST_FRAMES = 1000
"""Speech that is planned in one go, 20 s: models are trained on utterances, and lose the thread in longer ones."""
_MARGIN = 1.3  # room in the context beyond the estimated length
_RUNAWAY = 3.0  # a segment that gets longer than so many times its estimate has lost its way
_LEAST = 0.25  # and one that stops before this share of it has not begun
_EXTRA_FRAMES = 100


@dataclass(frozen=True)
class Utterance:
    """One stretch of the text, ready for the engine.

    Attributes:
        span: where in the text.
        text: what is to be spoken.
        prompt_ids: token ids of voice and text.
        sampling: with seed, shortest and longest number of frames filled in.
        estimated_frames: codes that it will take, roughly.
        attempt: 0 at first.
    """

    span: Span
    text: str
    prompt_ids: list[int]
    sampling: Sampling
    estimated_frames: int
    attempt: int = 0


class Plan:
    """What to speak of one text in one voice. Nothing is computed before it is asked for.

    Args:
        text: of any length.
        voice: whose voice; None leaves it to the model.
        prompt_format: builds prompts.
        context_length: tokens that prompt and speech may have together.
        sampling: applies to every utterance; its seed must be given.
        utterance_frames: shortest and longest speech of one utterance, as estimated, in codes: sentences that would be
            shorter go with a neighbour, longer ones are cut; `SHORT_FRAMES` and `LONGEST_FRAMES` by default.

    Raises:
        PromptError: there is nothing to speak in the text.
    """

    def __init__(
        self,
        text: str,
        voice: Voice | None,
        prompt_format: PromptFormat,
        context_length: int,
        sampling: Sampling,
        utterance_frames: tuple[int, int] | None = None,
    ) -> None:
        self.text = speakable(check_text(text))
        self._sampling = sampling
        self._context_length = context_length
        self._shortest, longest = utterance_frames or (SHORT_FRAMES, LONGEST_FRAMES)
        self._longest = min(longest, LONGEST_FRAMES)
        self.rate = SpeakingRate() if voice is None else SpeakingRate.of(voice.text, len(voice.codes))
        # A stretch is asked for twice in a row: whether it fits, and then to be spoken.
        self._prompt_ids = lru_cache(maxsize=8)(lambda stretch: prompt_format.prompt_ids(stretch, voice))

    def __iter__(self) -> Iterator[Utterance]:
        for span in segments(self.text, self._fits, self.rate, self._shortest):
            yield self._utterance(span, 0)

    def again(self, utterance: Utterance) -> list[Utterance]:
        """What to try where an utterance did not end well: the same with other random numbers, or in two halves.

        Halves are for what the context has no room for. There is nothing to try where the caller's own limit
        ended it.
        """
        longest = utterance.sampling.max_frames
        if longest is not None and longest == self._sampling.max_frames:
            return []
        spans = [utterance.span]
        if self._room(utterance.prompt_ids) <= self._runaway(utterance.estimated_frames):
            parts = halves(self.text, utterance.span)
            if all(has_speech(self._stretch(part)) for part in parts):
                spans = parts
        return [self._utterance(span, utterance.attempt + 1) for span in spans]

    def _stretch(self, span: Span) -> str:
        return self.text[span.start : span.end]

    def _room(self, prompt_ids: list[int]) -> int:
        return self._context_length - len(prompt_ids)

    @staticmethod
    def _runaway(estimated: int) -> int:
        return round(_RUNAWAY * estimated) + _EXTRA_FRAMES

    def _fits(self, stretch: str) -> bool:
        estimated = self.rate.frames(stretch)
        if estimated > self._longest:
            return False
        if not has_speech(stretch):
            return True
        return self._room(self._prompt_ids(stretch)) >= _MARGIN * estimated + 1

    def _utterance(self, span: Span, attempt: int) -> Utterance:
        stretch = self._stretch(span)
        prompt_ids = self._prompt_ids(stretch)
        estimated = self.rate.frames(stretch)
        longest = min(self._room(prompt_ids), self._runaway(estimated))
        if self._sampling.max_frames is not None:
            longest = min(longest, self._sampling.max_frames)
        shortest = min(max(self._sampling.min_frames, round(_LEAST * estimated)), longest)
        sampling = replace(
            self._sampling,
            min_frames=shortest,
            max_frames=longest,
            seed=derived_seed(self._sampling.seed or 0, span.start, attempt),
        )
        return Utterance(span, stretch, prompt_ids, sampling, estimated, attempt)


def derived_seed(seed: int, *parts: int) -> int:
    """A seed for one part of a whole, non-negative and below 2**63; equal for equal numbers, on any machine."""
    digest = hashlib.sha256(",".join(map(str, (seed, *parts))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
