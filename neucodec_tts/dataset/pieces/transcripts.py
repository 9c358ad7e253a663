"""Transcripts with times, as people have them beside a recording.

Whisper's JSON, with those of faster-whisper, WhisperX, whisper.cpp and ``transformers``; Praat's TextGrid; WebVTT;
SubRip; LRC. Each becomes a list of cues. What cannot be understood is told by its line.
"""

from __future__ import annotations

import html
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neucodec_tts.dataset.filters import clean_text
from neucodec_tts.dataset.places import Place
from neucodec_tts.dataset.sources.text_files import read_text
from neucodec_tts.errors import DatasetError

_LANGUAGE = re.compile(r"\.[a-z]{2,3}([-_]\w{2,8})?", re.IGNORECASE)


@dataclass(frozen=True)
class Cue:
    """Words with their times."""

    start: float
    """In seconds, as is `end`."""
    end: float
    """Infinity where the file does not say."""
    text: str
    place: str
    """Its place in the file, for people."""
    speaker: str | None = None
    words: tuple[Cue, ...] = ()
    """Its words, where the file has their times."""
    problem: str | None = None
    """The reason why it cannot be used."""


def find_transcript(recording: Place, names: Sequence[str]) -> tuple[Place, list[Cue]] | None:
    """Return the transcript with times beside a recording, and its cues; None if there is none.

    ``book.json`` is looked for first, then ``book.TextGrid``, ``.vtt``, ``.srt`` and ``.lrc``, each also after the
    whole name (``book.mp3.srt``) or a language (``book.en.srt``).

    Args:
        recording: the file.
        names: of all files in its folder, sorted.

    Raises:
        DatasetError: it cannot be read, or holds no times.
    """
    beside = []
    for name in names[bisect_left(names, f"{recording.stem}.") :]:
        if not name.startswith(f"{recording.stem}."):
            break
        middle, dot, suffix = name[len(recording.stem) :].rpartition(".")
        if middle in ("", recording.suffix) or _LANGUAGE.fullmatch(middle):
            beside.append((dot + suffix.lower(), len(middle), name))
    for wanted, read in _READERS.items():
        for suffix, _, name in sorted(beside):
            if suffix == wanted:
                path = recording.with_name(name)
                cues = list(read(read_text(path), path))
                if cues:
                    return path, cues
                if suffix != ".json":  # a .json file may say other things of a recording
                    raise DatasetError(
                        f"{path}: there are no times in it; mend it, or move it away and add --without-text"
                    )
    return None


# SubRip and WebVTT

_CLOCK = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?")
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")


def _subtitles(text: str, path: Place) -> Iterator[Cue]:
    """Cues of SubRip and WebVTT: a line with times, and the lines up to an empty one."""
    lines = text.splitlines()
    index = 0
    while index < len(lines):
        line = lines[index]
        place = f"{path.name}, line {index + 1}"
        index += 1
        if "-->" not in line:
            continue
        said = []
        while index < len(lines) and lines[index].strip() and "-->" not in lines[index]:
            said.append(lines[index])
            index += 1
        if index < len(lines) and "-->" in lines[index] and said and said[-1].strip().isdigit():
            said.pop()  # the number of the next cue, with no empty line before it
        words = "\n".join(said)
        voice = _VOICE.search(words)
        spoken = html.unescape(_TAG.sub("", words))
        times = _TIMES.fullmatch(line)
        if times is None:
            yield Cue(
                0, 0, spoken, place, problem=f"{place}: {line.strip()[:60]!r} are no times; mend the line"
            )
            continue
        yield Cue(
            _clock(times.groups()[:4]),
            _clock(times.groups()[4:]),
            spoken,
            place,
            speaker=None if voice is None else voice[1].strip(),
        )


def _clock(groups: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = groups
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction}")


# LRC

_LRC_TIME = re.compile(r"\[(\d+):(\d{1,2})(?:[.:](\d{1,3}))?\]")


def _lyrics(text: str, path: Place) -> Iterator[Cue]:
    """Lines of LRC, each up to the beginning of the next, and the last up to the end of the recording."""
    starts: list[tuple[float, str, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        times = list(_LRC_TIME.finditer(line))
        said = _LRC_TIME.sub("", line)
        for time in times:
            starts.append((_clock((None, *time.groups("0"))), said, f"{path.name}, line {number}"))
    starts.sort(key=lambda each: each[0])
    for (start, said, place), (end, *_) in zip(starts, [*starts[1:], (float("inf"), "", "")], strict=True):
        yield Cue(start, end, said, place)


# TextGrid

_GRID_VALUE = re.compile(
    r'"((?:[^"]|"")*)"|(?<![^\s])(<exists>|<absent>|-?\d+(?:\.\d+)?(?:[eE]-?\d+)?)(?![^\s])'
)
_SENTENCES = re.compile(r"(?i)sentence|utter|phrase|text|trans|ortho|segment|speech")


def _text_grid(text: str, path: Place) -> Iterator[Cue]:
    """Intervals of a TextGrid, in its long or its short form: of the tier with sentences, or else of words.

    Praat reads free-standing numbers, quoted strings and flags, and takes the rest for comments; so is it done here.
    """
    tiers = dict(_tiers(text, path))
    if not tiers:
        raise DatasetError(f"{path}: there is no tier of intervals in it")
    names = [name for name in tiers if not re.search(r"(?i)phone|phoneme|\bword", name)]
    names = [name for name in names if _SENTENCES.search(name)] or names
    names = names or [name for name in tiers if re.search(r"(?i)\bword", name)]
    if len(names) != 1:
        raise DatasetError(
            f"{path}: which of its tiers has the sentences is not clear ({', '.join(tiers)}); call one of them "
            "sentences"
        )
    yield from tiers[names[0]]


def _tiers(text: str, path: Place) -> Iterator[tuple[str, list[Cue]]]:
    values = iter(
        (match[1].replace('""', '"') if match[1] is not None else match[2])
        for match in _GRID_VALUE.finditer(text)
    )
    try:
        if next(values) != "ooTextFile" or next(values) != "TextGrid":
            raise DatasetError(f"{path}: not a TextGrid; save it as one with Praat")
        next(values), next(values)
        if next(values) != "<exists>":
            return
        for _ in range(int(next(values))):
            kind, name = next(values), next(values)
            next(values), next(values)
            cues = []
            for number in range(1, int(next(values)) + 1):
                place = f"{path.name}, {name} {number}"
                if kind == "IntervalTier":
                    cues.append(Cue(float(next(values)), float(next(values)), next(values), place))
                else:
                    next(values), next(values)
            if kind == "IntervalTier":
                yield name, cues
    except (StopIteration, ValueError) as problem:
        raise DatasetError(f"{path}: a TextGrid that ends early, or a damaged one; save it anew") from problem


# JSON


def _json(text: str, path: Place) -> Iterator[Cue]:
    """Segments, under the names that whisper's relatives give them; nothing if there are none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise DatasetError(f"{path}: not JSON ({problem})") from problem
    if isinstance(values, Mapping):
        values = next(
            (values[name] for name in ("segments", "chunks", "transcription") if name in values), None
        )
    if not isinstance(values, list):
        return
    for number, segment in enumerate(values, start=1):
        place = f"{path.name}, segment {number}"
        yield _segment(segment, place, "text")


def _segment(segment: Any, place: str, text: str) -> Cue:
    if not isinstance(segment, Mapping) or not isinstance(segment.get(text), str):
        return Cue(0, 0, "", place, problem=f"{place}: an object with a text is expected; mend it")
    said, speaker = segment[text], segment.get("speaker")
    try:
        if "timestamp" in segment:
            start, end = (float(each) for each in segment["timestamp"])
        elif "offsets" in segment:
            start, end = (float(segment["offsets"][each]) / 1000 for each in ("from", "to"))
        else:
            start, end = float(segment["start"]), float(segment["end"])
    except (KeyError, TypeError, ValueError):
        return Cue(
            0, 0, said, place, problem=f"{place}: {said.strip()[:40]!r} has no start and end; add them"
        )
    listed = segment.get("words")
    words = [_segment(word, place, "word") for word in listed] if isinstance(listed, list) else []
    if any(word.problem is not None for word in words):
        words = []
    return Cue(
        start, end, said, place, clean_text(speaker) if isinstance(speaker, str) else None, tuple(words)
    )


_READERS: dict[str, Callable[[str, Place], Iterator[Cue]]] = {
    ".json": _json,
    ".textgrid": _text_grid,
    ".vtt": _subtitles,
    ".srt": _subtitles,
    ".lrc": _lyrics,
}
