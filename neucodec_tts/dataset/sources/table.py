"""Tables of an utterance a line: JSON, CSV, tab-separated values, and lists such as ``path|speaker|text``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from neucodec_tts.audio import AUDIO_SUFFIXES
from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.sources.base import ListedSource
from neucodec_tts.dataset.sources.columns import Found
from neucodec_tts.dataset.sources.files import file_item, find_recording
from neucodec_tts.dataset.sources.rows import layout_of, rows
from neucodec_tts.dataset.sources.text_files import lines, read_text
from neucodec_tts.errors import DatasetError

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
LIST_SUFFIXES = (".txt", ".list")
TABLE_SUFFIXES = (".csv", ".tsv", ".psv", *LIST_SUFFIXES)


@dataclass(frozen=True)
class Table(ListedSource):
    """A file that lists utterances, among them those of NeMo, Common Voice, Coqui and ``datasets``' audio folders,
    and the lists of GPT-SoVITS, VITS and FastPitch.

    The file itself tells how columns are separated and whether it has a header. An utterance without an id is called
    after its path, and after its beginning if it is part of a file. A line that cannot be used is an item with a
    problem.
    """

    kind: str = field(default="table", init=False)

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        found: Found | None = None
        names: tuple[str, ...] = ()
        for place, row in self._rows():
            try:
                if isinstance(row, str):
                    raise DatasetError(f"{self.path}, {place}: {row}")
                if found is None or tuple(row) != names:
                    found = self.columns.find(row, f"{self.path}, {place}", ids_suffice=True)
                    names = tuple(row)
                item = self._item(row, found, f"{self.path}, {place}")
            except DatasetError as problem:
                shown = f"{self.path.name}, {place}"
                item = Item(shown, shown, problem=str(problem))
            yield item

    def _item(self, row: Mapping[str, Any], found: Found, where: str) -> Item:
        column = found.audio or found.id or ""
        path = row[column]
        if not isinstance(path, str) or not path.strip():
            raise DatasetError(f"{where}: {column} must be the path of a recording, not {path!r}")
        named = path.strip()
        path = find_recording(self.root, named)
        start, end = found.part(row, where)
        try:
            id, text, speaker = found.said(row)
        except DatasetError as problem:
            raise DatasetError(f"{where}: {problem}") from problem
        if not id:
            stem = PurePosixPath(named if path == named else named.replace("\\", "/"))
            id = str(stem.with_suffix("") if stem.suffix.lower() in AUDIO_SUFFIXES else stem)
            if start or end is not None:
                id = f"{id}-{start:.3f}"
        return file_item(self.root, path, id, text, speaker, start, end)

    def _rows(self) -> Iterator[tuple[str, dict[str, Any] | str]]:
        """Yield the place of each row, and its cells or the reason why it cannot be used."""
        if self.path.suffix.lower() in JSON_SUFFIXES:
            array = self._json_array()
            if array is not None:
                for number, row in enumerate(array, start=1):
                    yield f"entry {number}", row if isinstance(row, dict) else _no_object(json.dumps(row))
            else:
                yield from self._json_lines()
            return
        layout = layout_of(self.path, self.columns)
        if layout is None:
            return
        self.columns.find(layout.names, f"{self.path}, line 1", ids_suffice=True)
        for number, cells in rows(self.path, layout):
            yield (
                f"line {number}",
                cells if isinstance(cells, str) else dict(zip(layout.names, cells, strict=True)),
            )

    def _json_array(self) -> list[Any] | None:
        """Return the entries of a file that is one JSON array; it is held in memory."""
        first = next((line for _, line in lines(self.path) if line.strip()), "")
        if not first.lstrip().startswith("["):
            return None
        try:
            values = json.loads(read_text(self.path))
        except (ValueError, DatasetError):
            return None
        return values if isinstance(values, list) else None

    def _json_lines(self) -> Iterator[tuple[str, dict[str, Any] | str]]:
        for number, line in lines(self.path):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as problem:
                row = f"not JSON ({problem}); one object a line is expected"
            else:
                row = row if isinstance(row, dict) else _no_object(line)
            yield f"line {number}", row


def _no_object(shown: str) -> str:
    return f"one JSON object is expected, not {shown.strip()[:60]!r}"
