"""Pieces of a recording that has a transcript with times: each a sentence, or as many words as fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from neucodec_tts.dataset.filters import clean_text
from neucodec_tts.dataset.pieces.transcripts import Cue
from neucodec_tts.errors import DatasetError
from neucodec_tts.text import has_speech

_ROUNDED_SECONDS = 0.1  # by which cues may overlap, and end beyond the recording
_BEYOND_SECONDS = 1.0  # by which a cue may end beyond the recording; its end is the recording's then
_GAP_SECONDS = 2.0  # a longer part without words is told
_JOINED_SECONDS = 2.0  # cues further apart are never joined
_SOUND = re.compile(r"\[[^\]]*\]|\([^)]*\)|\*[^*]*\*|[♪♫]([^♪♫]*[♪♫])?")
_SENTENCE_END = re.compile(r"[.?!…。？！](?:[\"'”’»)\]]|\s)*$")


@dataclass(frozen=True)
class Piece:
    """A part of a recording."""

    start: float
    """In seconds, as is `end`."""
    end: float
    text: str | None = None
    speaker: str | None = None
    problem: str | None = None


def pieces_of(cues: Sequence[Cue], seconds: float, longest: float, name: str) -> Iterator[Piece]:
    """Turn cues into pieces, in the order of their times; parts without words get a piece with a problem.

    Cues of one speaker that end within a sentence are joined with those that follow, up to `longest` seconds. A cue
    that is longer is cut between its words, if their times are known.

    Args:
        cues: in any order.
        seconds: of the recording.
        longest: of a piece, in seconds.
        name: of the transcript, for problems.

    Raises:
        DatasetError: they go on beyond the recording, and belong to another one.
    """
    last = max((cue.end for cue in cues if cue.problem is None and cue.end < float("inf")), default=0.0)
    if last > seconds + _BEYOND_SECONDS or any(cue.start >= seconds and cue.text.strip() for cue in cues):
        raise DatasetError(
            f"{name} goes on to {max(last, *(cue.start for cue in cues)):.2f} s, and the recording ends at "
            f"{seconds:.2f} s; it is that of another recording, or the recording lacks its end"
        )
    done = 0.0
    for piece in sorted(_joined(_checked(cues, seconds), longest), key=lambda each: each.start):
        if piece.start - done > _GAP_SECONDS:
            yield _gap(done, piece.start, name)
        yield piece
        done = max(done, piece.end)
    if seconds - done > _GAP_SECONDS:
        yield _gap(done, seconds, name)


def _gap(start: float, end: float, name: str) -> Piece:
    return Piece(start, end, problem=f"no text: {name} has no words from {start:.2f} to {end:.2f} s")


def _checked(cues: Sequence[Cue], seconds: float) -> list[Cue]:
    """Return cues with words in their order, those that cannot be used with a problem."""
    checked: list[Cue] = []
    for cue in sorted(cues, key=lambda each: each.start):
        text = clean_text(cue.text)
        if text is None and cue.problem is None:
            continue
        problem, end = cue.problem, min(cue.end, seconds)
        if problem is None and cue.start < 0:
            problem = f"{cue.place}: begins before the recording"
        elif problem is None and end <= cue.start:
            problem = f"{cue.place}: ends at {end:.2f} s, and begins at {cue.start:.2f} s; mend its times"
        elif problem is None and not has_speech(_SOUND.sub(" ", text or "")):
            problem = f"no text: {cue.place}: a sound and no words, {text!r}"
        checked.append(replace(cue, text=text or "", end=end, problem=problem))
    for index in range(len(checked) - 1):
        before, after = checked[index], checked[index + 1]
        if before.problem is not None and "overlaps" not in before.problem:
            continue
        over = before.end - after.start
        if over > _ROUNDED_SECONDS:
            for at, other in ((index, after), (index + 1, before)):
                problem = f"{checked[at].place}: overlaps {other.place}, by {over:.2f} s; mend their times"
                checked[at] = replace(checked[at], problem=checked[at].problem or problem)
        elif over > 0:
            checked[index] = replace(before, end=after.start)
    return checked


def _joined(cues: Sequence[Cue], longest: float) -> Iterator[Piece]:
    group: list[Cue] = []
    for cue in cues:
        if cue.problem is not None:
            yield from _closed(group)
            yield Piece(cue.start, max(cue.end, cue.start), cue.text, cue.speaker, cue.problem)
            group = []
        elif cue.end - cue.start > longest:
            yield from _closed(group)
            group = []
            yield from _from_words(cue, longest)
        else:
            if group and (
                _SENTENCE_END.search(group[-1].text)
                or cue.speaker != group[0].speaker
                or cue.start - group[-1].end > _JOINED_SECONDS
            ):
                yield from _closed(group)
                group = []
            group.append(cue)
            while group[-1].end - group[0].start > longest:
                size = _widest_gap(group)
                yield from _closed(group[:size])
                group = group[size:]
    yield from _closed(group)


def _from_words(cue: Cue, longest: float) -> Iterator[Piece]:
    """Cut a cue that is too long between its words."""
    if any(word.end - word.start > longest for word in cue.words) or not cue.words:
        problem = (
            f"too long: {cue.place}: {cue.end - cue.start:.2f} s, more than {longest:g} s, and the times of its words "
            "are not known"
        )
        yield Piece(cue.start, cue.end, cue.text, cue.speaker, problem)
        return
    words = [replace(word, speaker=cue.speaker) for word in cue.words]
    between = "" if clean_text("".join(word.text for word in words)) == cue.text else " "
    while words[-1].end - words[0].start > longest:
        size = _widest_gap(words, longest)
        yield from _closed(words[:size], between)
        words = words[size:]
    yield from _closed(words, between)


def _widest_gap(cues: Sequence[Cue], longest: float | None = None) -> int:
    """Return how many cues to take so that what follows them is the widest gap, of the second half that fits."""
    fit = len(cues) - 1
    if longest is not None:
        fit = max(1, sum(cue.end - cues[0].start <= longest for cue in cues[:-1]))
    return max(range((fit + 1) // 2, fit + 1), key=lambda size: (cues[size].start - cues[size - 1].end, size))


def _closed(group: Sequence[Cue], between: str = " ") -> Iterator[Piece]:
    if group:
        text = clean_text(between.join(cue.text for cue in group))
        yield Piece(group[0].start, group[-1].end, text, group[0].speaker)
