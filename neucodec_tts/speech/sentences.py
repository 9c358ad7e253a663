"""Find the places at which text may be cut: paragraphs, sentences, clauses, words.

Rules and no model: they work for any language with Latin, Arabic, Devanagari or CJK marks, and a wrong cut costs a
pause, not a word. Nothing of the text is ever lost: the spans of a text cover all of it that is not white space.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from neucodec_tts.text import has_speech

Ending = Literal["paragraph", "sentence", "clause", "none"]
"""The end of a span of text, which decides how long a speaker pauses after it."""


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of a text, without white space at either end, and their ending."""

    start: int
    end: int
    ending: Ending


# Words that carry a full stop and seldom end a sentence, without it: English, German, French, Spanish.
_ABBREVIATIONS = frozenset(
    """
    mr mrs ms dr prof st sr jr vs etc gen col capt lt sgt rev hon fig figs no nos vol pp ed eds al inc ltd co corp dept
    univ approx est min max jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun e.g i.e a.m p.m
    cf ca viz u.s u.k ph.d ave blvd rd mt ft
    z.b d.h u.a bzw usw ggf vgl evtl inkl nr str hr fr geb abs bspw sog
    mm mme mlle mgr
    sra srta ud uds dna pág págs núm
    """.split()  # noqa: SIM905
)
# After these even a capital seldom begins a new sentence: a name or a number follows.
_TITLES = frozenset(
    "mr mrs ms dr prof st sr sra srta gen col capt lt sgt rev hon mme mlle mgr hr fr no nr".split()  # noqa: SIM905
)

_CLOSING = "\"'”’»)]}›」』】》〉）］"
_WIDE_STOPS = "。！？｡"
_STOPS = re.compile(rf"(?:[.!?…؟۔।॥]+|[{_WIDE_STOPS}]+)[{re.escape(_CLOSING)}]*")
_CLAUSES = re.compile(
    rf"[,;:،؛][{re.escape(_CLOSING)}]*(?=\s)|[，、；：][{re.escape(_CLOSING)}]*|\s[-–—]+(?=\s)|—"
)
_PARAGRAPHS = re.compile(r"\s*\n\s*\n\s*|\s*[\u2028\u2029]\s*")
_WORD_BEFORE = re.compile(r"[\w.]*$")


def sentences(text: str) -> Iterator[Span]:
    """Sentences of a text, in order. A span without anything to speak joins the sentence before it."""
    held: Span | None = None
    for span in _merged_unspeakable(text, _raw_sentences(text)):
        if held is not None:
            yield held
        held = span
    if held is not None:
        yield held


def clauses(text: str, span: Span) -> list[Span]:
    """Parts of a span between commas, semicolons, colons and dashes; the span itself if it has none."""
    return _cut(
        text, span, (match.end() for match in _CLAUSES.finditer(text, span.start, span.end)), "clause"
    )


def words(text: str, span: Span) -> list[Span]:
    """Parts of a span between white space."""
    return _cut(
        text, span, (match.end() for match in re.compile(r"\s+").finditer(text, span.start, span.end)), "none"
    )


def characters(text: str, span: Span, step: int = 1) -> list[Span]:
    """Parts of a span, one for each `step` characters or so with the marks that combine with them."""
    ends = [
        place
        for place in range(span.start + step, span.end, step)
        if not unicodedata.combining(text[place]) and text[place] not in "\u200d\ufe0f"
    ]
    return _cut(text, span, ends, "none")


def _raw_sentences(text: str) -> Iterator[Span]:
    start = 0
    for match in _PARAGRAPHS.finditer(text):
        yield from _sentences_of_paragraph(text, start, match.start())
        start = match.end()
    yield from _sentences_of_paragraph(text, start, len(text))


def _sentences_of_paragraph(text: str, start: int, end: int) -> Iterator[Span]:
    ends = [match.end() for match in _STOPS.finditer(text, start, end) if _ends_sentence(text, match, end)]
    yield from _cut(text, Span(start, end, "paragraph"), ends, "sentence")


def _ends_sentence(text: str, match: re.Match[str], end: int) -> bool:
    """Return True if these marks end a sentence, False if they stand in a number, an abbreviation or a quotation."""
    if match.end() >= end or match[0][0] in _WIDE_STOPS:
        return True
    if not text[match.end()].isspace():
        return False  # 3.14, example.com, U.S.A
    following = text[match.end() : min(end, match.end() + 40)].lstrip().lstrip("\"'“‘«([{„¿¡-–—")[:1]
    if following.islower():
        return False  # "Really?" she asked. And: approx. five
    if match[0][0] != "." or match[0].startswith(".."):
        return True
    found = _WORD_BEFORE.search(text, max(0, match.start() - 30), match.start())
    word = found[0].lower() if found else ""
    if word in _TITLES or (len(word) == 1 and word.isalpha() and word != "i"):
        return False  # Dr. Who, J. Doe
    if word in _ABBREVIATIONS or "." in word:
        return following.isupper()  # at 3 p.m. The next; but fig. 3
    return True


def _cut(text: str, span: Span, ends: Iterable[int], ending: Ending) -> list[Span]:
    """Cut a span at places; pieces lose white space at both ends, the last one keeps the span's ending."""
    pieces = []
    start = span.start
    for place in [*ends, span.end]:
        if place <= start:
            continue
        piece = text[start:place]
        left = len(piece) - len(piece.lstrip())
        right = len(piece.rstrip())
        if left < right:
            pieces.append(Span(start + left, start + right, ending))
        start = place
    if pieces:
        last = pieces[-1]
        pieces[-1] = Span(last.start, last.end, span.ending)
    return pieces


def _merged_unspeakable(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Join what cannot be spoken (``...``, ``***``, an emoji) to the sentence before it, or else after it."""
    before: Span | None = None
    pending: Span | None = None  # unspeakable, with no sentence before it yet
    for span in spans:
        if has_speech(text[span.start : span.end]):
            if pending is not None:
                span, pending = Span(pending.start, span.end, span.ending), None
            if before is not None:
                yield before
            before = span
        elif before is not None:
            before = Span(before.start, span.end, span.ending)
        else:
            pending = span if pending is None else Span(pending.start, span.end, span.ending)
    if before is not None:
        yield before
