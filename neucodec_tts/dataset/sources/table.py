"""Tables of a line an utterance: JSON Lines, CSV, or tab-separated values."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from neucodec_tts.audio import AUDIO_SUFFIXES
from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.sources.base import ListedSource
from neucodec_tts.dataset.sources.columns import Found
from neucodec_tts.dataset.sources.files import file_item, lines
from neucodec_tts.errors import DatasetError

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
TABLE_SUFFIXES = (".csv", ".tsv")


@dataclass(frozen=True)
class Table(ListedSource):
    """A file that lists utterances, among them those of NeMo, Common Voice and ``datasets``' audio folders.

    An utterance without an id is called after its path, and after its beginning if it is part of a file.
    """

    kind: str = field(default="table", init=False)

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        found: Found | None = None
        names: tuple[str, ...] = ()
        for number, row in self._rows():
            where = f"{self.path}, line {number}"
            if found is None or tuple(row) != names:
                names = tuple(row)
                found = self.columns.find(names, where)
            yield self._item(row, found, where)

    def _item(self, row: Mapping[str, Any], found: Found, where: str) -> Item:
        path = row[found.audio or ""]
        if not isinstance(path, str) or not path.strip():
            raise DatasetError(f"{where}: {found.audio} must be the path of a recording, not {path!r}")
        path = path.strip()
        start, end = found.part(row, where)
        id, text, speaker = found.said(row)
        if not id:
            stem = PurePosixPath(path)
            id = str(stem.with_suffix("") if stem.suffix.lower() in AUDIO_SUFFIXES else stem)
            if start or end is not None:
                id = f"{id}-{start:.3f}"
        return file_item(self.root, path, id, text, speaker, start, end)

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        if self.path.suffix.lower() in JSON_SUFFIXES:
            return self._json_rows()
        return self._table_rows()

    def _json_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in lines(self.path):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as problem:
                raise DatasetError(
                    f"{self.path}, line {number}: not JSON ({problem}); one object a line is expected"
                ) from problem
            if not isinstance(row, dict):
                raise DatasetError(
                    f"{self.path}, line {number}: one JSON object a line is expected, not {line.strip()[:60]!r}"
                )
            yield number, row

    def _table_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        # A quoted cell may hold line ends, so the reader counts lines, and gets them with their ends.
        texts = (line + "\n" for _, line in lines(self.path))
        tabs = self.path.suffix.lower() == ".tsv"
        # Common Voice's tables quote nothing, and sentences in them hold single quotes.
        reader = csv.reader(
            texts,
            delimiter="\t" if tabs else ",",
            quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
            strict=True,
        )
        header: list[str] | None = None
        try:
            for cells in reader:
                if not cells:
                    continue
                if header is None:
                    header = [cell.strip() for cell in cells]
                    self.columns.find(header, f"{self.path}, line 1")
                    continue
                if len(cells) != len(header):
                    raise DatasetError(
                        f"{self.path}, line {reader.line_num}: {len(cells)} cells, and the first line names "
                        f"{len(header)} columns; mend the line"
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True))
        except csv.Error as problem:
            raise DatasetError(f"{self.path}, line {reader.line_num}: {problem}; mend the line") from problem
