"""Split a text into parts that are spoken in one go: sentences, as far as the model's context holds them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from neucodec_tts.errors import PromptError
from neucodec_tts.speech.sentences import Span, characters, clauses, sentences, words

SHORT_FRAMES = 60
"""A sentence that is estimated to be shorter (1.2 s) goes with a neighbour: models speak a lone "Oh." badly."""

# Sounds that a character stands for, roughly: what counts is the ratio to the voice's own transcript.
_UNITS = {"L": 1.0, "M": 0.3, "N": 5.0, "P": 0.7, "S": 5.0, "Z": 0.2, "C": 0.1}
_STRETCH = 64  # characters of a word that is too long to be one
_IDEOGRAPH_UNITS = 3.0
_LEAST_RATE, _GREATEST_RATE, _USUAL_RATE = 2.0, 9.0, 4.0  # frames a unit; 4 is 12.5 letters a second


@dataclass(frozen=True)
class SpeakingRate:
    """Estimates how long a text takes to say.

    Attributes:
        frames_per_unit: codes for about one letter.
    """

    frames_per_unit: float = _USUAL_RATE

    @classmethod
    def of(cls, transcript: str, frames: int) -> SpeakingRate:
        """The rate of a voice, from its own recording of ``frames`` codes; unlikely ones are moved into bounds."""
        spoken = units(transcript)
        if spoken < 5:
            return cls()
        return cls(min(_GREATEST_RATE, max(_LEAST_RATE, frames / spoken)))

    def frames(self, text: str) -> int:
        """Codes that the text will take, to within a factor of two or so."""
        return math.ceil(units(text) * self.frames_per_unit)


def units(text: str) -> float:
    """The amount of speech in a text, in letters."""
    return sum(
        _IDEOGRAPH_UNITS
        if unicodedata.east_asian_width(character) == "W" and character.isalpha()
        else _UNITS[unicodedata.category(character)[0]]
        for character in text
    )


def split(
    text: str, fits: Callable[[str], bool], rate: SpeakingRate, shortest: int = SHORT_FRAMES
) -> Iterator[Span]:
    """Split a text into parts that are spoken one after the other; each is computed when it is asked for.

    A part is one sentence, or several where one is very short. A sentence that does not fit is cut at clauses, a
    clause that does not fit at words, and a word that does not fit anywhere.

    Args:
        text: of any length.
        fits: returns True for text that can be spoken in one go, and for all that is shorter.
        rate: estimates the length of speech.
        shortest: frames; a sentence with a shorter estimate is joined to a neighbour.

    Raises:
        PromptError: not even one character fits.
    """
    held: Span | None = None
    for sentence in sentences(text):
        if held is not None:
            joined = Span(held.start, sentence.end, sentence.ending)
            short = any(rate.frames(text[span.start : span.end]) < shortest for span in (held, sentence))
            if short and held.ending != "paragraph" and fits(text[joined.start : joined.end]):
                held = joined
                continue
            yield held
        held = None
        if fits(text[sentence.start : sentence.end]):
            held = sentence
        else:
            yield from _pieces(text, sentence, fits)
    if held is not None:
        yield held


def halves(text: str, span: Span) -> list[Span]:
    """A span in two, at the clause or else the word nearest to its middle; the span itself if it has one word."""
    for cut in (clauses, words):
        pieces = cut(text, span)
        if len(pieces) > 1:
            middle = (span.start + span.end) / 2
            at = min(range(1, len(pieces)), key=lambda i: abs(pieces[i].start - middle))
            first, second = pieces[:at], pieces[at:]
            return [
                Span(first[0].start, first[-1].end, first[-1].ending),
                Span(second[0].start, second[-1].end, span.ending),
            ]
    return [span]


def _pieces(text: str, span: Span, fits: Callable[[str], bool]) -> Iterator[Span]:
    """A span that does not fit, in pieces that do."""
    for cut in (clauses, words, partial(characters, step=_STRETCH), characters):
        parts = cut(text, span)
        if len(parts) > 1:
            yield from _packed(text, parts, fits)
            return
    raise PromptError(
        "the voice's recording fills the model's context: not even one character of text can be added; use a shorter "
        "recording (3 to 15 s)"
    )


def _packed(text: str, parts: list[Span], fits: Callable[[str], bool]) -> Iterator[Span]:
    """Join neighbouring parts as long as they fit together; a part that does not fit alone is cut further."""
    first = 0
    while first < len(parts):
        count = _most_that_fit(text, parts, first, fits)
        if count == 0:
            yield from _pieces(text, parts[first], fits)
            first += 1
            continue
        left = len(parts) - first
        if count < left < 1.5 * count:
            count = math.ceil(left / 2)  # or the last piece would be a word or two
        last = parts[first + count - 1]
        yield Span(parts[first].start, last.end, last.ending)
        first += count


def _most_that_fit(text: str, parts: list[Span], first: int, fits: Callable[[str], bool]) -> int:
    """Count the parts from ``first`` on that fit together, by doubling and halving, as `fits` is not cheap."""

    def fit(count: int) -> bool:
        return fits(text[parts[first].start : parts[first + count - 1].end])

    left = len(parts) - first
    low, high = 0, 1
    while high <= left and fit(high):
        low, high = high, 2 * high
    high = min(high, left + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fit(middle) else (low, middle)
    return low
