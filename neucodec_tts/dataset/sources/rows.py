"""Rows of a file that separates its columns by ``|``, tabs, ``;`` or commas, with or without a header."""

from __future__ import annotations

import csv
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Literal

from neucodec_tts.audio import AUDIO_SUFFIXES
from neucodec_tts.dataset.places import Place
from neucodec_tts.dataset.sources.columns import Columns
from neucodec_tts.dataset.sources.text_files import lines
from neucodec_tts.errors import DatasetError

DELIMITERS = ("|", "\t", ";", ",")
_OPEN = "a quotation mark is not closed"
_LOOKED_AT = 200  # lines by which the form of a file is told
_LONGEST_CELL = 100  # lines
_LANGUAGE = re.compile(
    r"(?:[a-z]{2,3}(?:[-_][a-z]{2,4})?|auto|all_[a-z]{2,3}|auto_[a-z]{2,3})", re.IGNORECASE
)
_FEATURES = (".pt", ".pth", ".npy", ".npz")


@dataclass(frozen=True)
class Layout:
    """The form of a file of rows."""

    delimiter: str
    names: tuple[str, ...]
    """Names of the columns: those of the header, or ours ("path" or "id", "speaker", "language", "text")."""
    has_header: bool

    @property
    def quoting(self) -> Literal[0, 3]:
        """Only tables with commas or semicolons quote cells: in others a quotation mark belongs to the text."""
        return _quoting(self.delimiter)


def layout_of(path: Place, columns: Columns) -> Layout | None:
    """Tell the form of a file by its first lines; None for an empty one.

    Args:
        path: the file.
        columns: names of columns that are known to be there.

    Raises:
        DatasetError: it has neither a header with a column of audio, nor a path or an id in front of each line.
    """
    first = [line for _, line in islice(lines(path), _LOOKED_AT) if line.strip()]
    if not first:
        return None
    for delimiter in DELIMITERS:
        names = _header(first[0], delimiter)
        if len(names) == 1 and delimiter != DELIMITERS[-1]:
            continue
        if columns.audio_in(names) is not None or columns.names_ids_and_texts(names):
            return Layout(delimiter, names, True)
    for delimiter in DELIMITERS:
        cells = [_cells(line, delimiter) for line in first]
        width = Counter(map(len, cells)).most_common(1)[0][0]
        usual = [row for row in cells if len(row) == width]
        paths = sum(_is_audio(row[0]) for row in usual)
        if width > 1 and 2 * paths > len(usual):
            names = ("path", *_roles(usual))
            unclear = any(name.startswith("column ") for name in names) or _splits_texts(usual)
            if delimiter in ",;" and unclear:
                raise DatasetError(
                    f"{path}: which of its {width} columns has the text is not clear; put texts with commas into "
                    "quotation marks, or write a header above them"
                )
            return Layout(delimiter, names, False)
        if width > 1 and delimiter == "|":
            return Layout(delimiter, ("id", *_roles(usual)), False)
    likely = max(DELIMITERS, key=first[0].count)
    columns.find(_header(first[0], likely), f"{path}, line 1")
    raise DatasetError(f"{path}: neither a header nor a path in front of each line; name its columns")


def rows(path: Place, layout: Layout) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the number of each line, and its cells; or the reason, if they are not as many as there are columns.

    A quoted cell may hold line ends. A quotation mark that is never closed costs its own line only.

    Raises:
        DatasetError: the file cannot be read.
    """
    source = lines(path)
    waiting: deque[tuple[int, str]] = deque()
    skip = layout.has_header
    while block := _take(waiting, source, 1):
        if not block[0][1].strip():
            continue
        cells, reason = _parse(block, layout)
        while cells is None and reason == _OPEN and len(block) < _LONGEST_CELL:
            more = _take(waiting, source, 1)
            if not more:
                break
            block += more
            cells, reason = _parse(block, layout)
        if skip and cells is not None:
            skip = False
            continue
        number = block[0][0]
        if cells is not None and len(cells) == len(layout.names):
            yield number, cells
            continue
        if cells is not None:
            reason = (
                f"{len(cells)} cells, and there are {len(layout.names)} columns ({', '.join(layout.names)})"
            )
        waiting.extendleft(reversed(block[1:]))
        yield number, f"{reason}; mend the line"


def _take(
    waiting: deque[tuple[int, str]], source: Iterator[tuple[int, str]], count: int
) -> list[tuple[int, str]]:
    return [waiting.popleft()] if waiting else list(islice(source, count))


def _parse(block: Sequence[tuple[int, str]], layout: Layout) -> tuple[list[str] | None, str]:
    reader = csv.reader(
        (line + "\n" for _, line in block), delimiter=layout.delimiter, quoting=layout.quoting, strict=True
    )
    try:
        return next(reader), ""
    except csv.Error as problem:
        return None, _OPEN if "unexpected end" in str(problem) else str(problem)


def _header(line: str, delimiter: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in _cells(line, delimiter))


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, quoting=_quoting(delimiter)))
    except csv.Error:
        return [line]


def _quoting(delimiter: str) -> Literal[0, 3]:
    return csv.QUOTE_MINIMAL if delimiter in ",;" else csv.QUOTE_NONE


def _is_audio(cell: str) -> bool:
    return PurePath(cell.strip()).suffix.lower() in AUDIO_SUFFIXES


def _splits_texts(cells: Sequence[Sequence[str]]) -> bool:
    """Return True if a space stands behind some separators only, as behind the commas of "a.wav,Well, one."."""
    spaced = [[cell.startswith(" ") for cell in row[1:]] for row in cells]
    return 2 * sum(any(row) and not all(row) for row in spaced) > len(spaced)


def _roles(cells: Sequence[Sequence[str]]) -> list[str]:
    """Name the columns behind the first, by what is in them.

    Files of features and languages are known by their form. Behind a language stands the text (GPT-SoVITS,
    Bert-VITS2); else the text is the last column that is no speaker (LJSpeech has the normalised text last).
    """
    columns = [[cell.strip() for cell in column] for column in zip(*cells, strict=True)][1:]
    names = [f"column {number}" for number in range(2, len(columns) + 2)]
    left = []
    for index, column in enumerate(columns):
        if all(cell.lower().endswith(_FEATURES) for cell in column):
            names[index] = f"features {index + 2}"
        else:
            left.append(index)
    spoken = None
    if len(left) >= 3:
        language = next((i for i in left[1:-1] if all(map(_LANGUAGE.fullmatch, columns[i]))), None)
        if language is not None:
            names[language] = "language"
            spoken = left[left.index(language) + 1]
            left.remove(language)
    if spoken is None and left:
        texts = [index for index in left if not _is_speaker(columns[index])]
        spoken = texts[-1] if texts else left[-1]
    if spoken is not None:
        names[spoken] = "text"
        others = [
            i for i in left if i != spoken and _is_speaker(columns[i]) and columns[i] != columns[spoken]
        ]
        if others:
            names[others[0]] = "speaker"
    return names


def _is_speaker(column: Sequence[str]) -> bool:
    """Return True for a column of names or numbers of speakers: single words, or few words that come again."""
    cells = [cell for cell in column if cell]
    if not cells or any(cell[-1] in ".?!,;:…。？！" for cell in cells):
        return False
    if all(re.fullmatch(r"[\w./@+-]{1,40}", cell) for cell in cells):
        return True
    words = max(len(cell.split()) for cell in cells)
    return words <= 4 and 2 * len(set(cells)) <= len(cells)
