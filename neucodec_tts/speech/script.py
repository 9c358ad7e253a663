"""From a text and a voice to the prompts that an engine gets, one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from neucodec_tts.speech.engine import Sampling
from neucodec_tts.speech.sentences import Span
from neucodec_tts.speech.splitting import SHORT_FRAMES, SpeakingRate, halves, split
from neucodec_tts.text import check_text, has_speech, speakable, spelt

if TYPE_CHECKING:
    from neucodec_tts.prompts import PromptFormat, Voice

LONGEST_FRAMES = 1000
"""Longest speech of one sentence, 20 s: models are trained on utterances, and lose the thread in longer ones."""
_MARGIN = 1.3  # room in the context beyond the estimated length
_RUNAWAY = 3.0  # speech that gets longer than so many times its estimate has lost its way
_LEAST = 0.25  # and speech that stops before this share of it has not begun,
_LEAST_FRAMES = 12  # or before so many codes, 0.24 s: a lone "I" takes twice that
_EXTRA_FRAMES = 100


@dataclass(frozen=True)
class Sentence:
    """A part of a text that is spoken in one go, ready for the engine.

    It is one sentence as a rule, several where they are very short, and a piece of one that is too long.

    Attributes:
        span: its place in the text.
        text: its words.
        prompt_ids: token ids of voice and text.
        sampling: with seed, shortest and longest number of frames filled in.
        estimated_frames: number of codes that it is likely to take.
        attempt: 0 at first, one more each time that it is generated again.
    """

    span: Span
    text: str
    prompt_ids: list[int]
    sampling: Sampling
    estimated_frames: int
    attempt: int = 0


class Script:
    """The sentences of one text in one voice. Iterating computes each when it is asked for.

    Args:
        text: of any length, as `TextReader` returns it.
        voice: speaks; None leaves the voice to the model.
        prompt_format: builds prompts.
        context_length: tokens that prompt and speech may have together.
        sampling: of every sentence; its seed must be given.
        utterance_frames: shortest and longest estimated speech of a sentence, in codes. Shorter ones are joined to a
            neighbour, longer ones are cut. `SHORT_FRAMES` and `LONGEST_FRAMES` by default.
        warnings: parts of the text that are not read, for people; `TextReader` finds them.

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
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.text = speakable(check_text(text))
        self.warnings = warnings
        self._sampling = sampling
        self._context_length = context_length
        self._shortest, longest = utterance_frames or (SHORT_FRAMES, LONGEST_FRAMES)
        self._longest = min(longest, LONGEST_FRAMES)
        self.rate = SpeakingRate() if voice is None else SpeakingRate.of(voice.text, len(voice.codes))
        # Each prompt is asked for twice in a row: to see if it fits, and to be spoken.
        self._prompt_ids = lru_cache(maxsize=8)(lambda words: prompt_format.prompt_ids(words, voice))

    def __iter__(self) -> Iterator[Sentence]:
        for span in split(self.text, self._fits, self.rate, self._shortest):
            if has_speech(self._words(span)):  # of a long row of marks only the piece with words is
                yield self._sentence(span, 0)

    def again(self, sentence: Sentence) -> list[Sentence]:
        """Return the sentences to generate instead of one that did not end well.

        It is the same sentence with other random numbers, or its two halves where the context had no room for it. The
        list is empty where the caller's own limit ended the speech.
        """
        longest = sentence.sampling.max_frames
        if longest is not None and longest == self._sampling.max_frames:
            return []
        spans = [sentence.span]
        if self._room(sentence.prompt_ids) <= self._runaway(sentence.estimated_frames):
            parts = halves(self.text, sentence.span)
            if all(has_speech(self._words(part)) for part in parts):
                spans = parts
        return [self._sentence(span, sentence.attempt + 1) for span in spans]

    def _words(self, span: Span) -> str:
        return self.text[span.start : span.end]

    def _room(self, prompt_ids: list[int]) -> int:
        return self._context_length - len(prompt_ids)

    @staticmethod
    def _runaway(estimated: int) -> int:
        return round(_RUNAWAY * estimated) + _EXTRA_FRAMES

    def _fits(self, words: str) -> bool:
        estimated = self.rate.frames(spelt(words))
        if estimated > self._longest:
            return False
        if not has_speech(words):
            return True
        return self._room(self._prompt_ids(words)) >= _MARGIN * estimated + 1

    def _sentence(self, span: Span, attempt: int) -> Sentence:
        words = self._words(span)
        prompt_ids = self._prompt_ids(words)
        estimated = self.rate.frames(spelt(words))
        longest = min(self._room(prompt_ids), self._runaway(estimated))
        if self._sampling.max_frames is not None:
            longest = min(longest, self._sampling.max_frames)
        shortest = min(max(self._sampling.min_frames, round(_LEAST * estimated), _LEAST_FRAMES), longest)
        sampling = replace(
            self._sampling,
            min_frames=shortest,
            max_frames=longest,
            seed=derived_seed(self._sampling.seed or 0, span.start, attempt),
        )
        return Sentence(span, spelt(words), prompt_ids, sampling, estimated, attempt)


def derived_seed(seed: int, *parts: int) -> int:
    """Derive the seed for one part of a whole, non-negative and below 2**63; the same on any machine."""
    digest = hashlib.sha256(",".join(map(str, (seed, *parts))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
