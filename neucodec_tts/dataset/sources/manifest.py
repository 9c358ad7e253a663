"""Manifests of a line an utterance: JSON Lines, CSV, or tab-separated values."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.sources.columns import Columns, Found, words
from neucodec_tts.dataset.sources.files import AUDIO_SUFFIXES, file_item, lines, read_file
from neucodec_tts.errors import DatasetError

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
TABLE_SUFFIXES = (".csv", ".tsv")


@dataclass(frozen=True)
class Manifest:
    """A file that lists utterances, among them those of NeMo, Common Voice and ``datasets``' audio folders.

    Paths in it are relative to `root`. An utterance without an id is called after its path, and after its beginning
    if it is part of a file.
    """

    file: Path
    columns: Columns = field(default_factory=Columns)
    audio_root: Path | None = None
    kind: str = field(default="manifest", init=False)

    @property
    def name(self) -> str:
        """The file."""
        return str(self.file)

    @property
    def options(self) -> Mapping[str, object]:
        """Columns that were named, and whether paths are relative to another folder than the manifest's."""
        moved = {} if self.audio_root is None else {"audio_root": str(self.audio_root)}
        return {**self.columns.options(), **moved}

    @property
    def root(self) -> Path:
        """The folder that paths are relative to: that of the manifest, if no other was named."""
        return self.file.parent if self.audio_root is None else self.audio_root

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        found: Found | None = None
        names: tuple[str, ...] = ()
        for number, row in self._rows():
            where = f"{self.file}, line {number}"
            if found is None or tuple(row) != names:
                names = tuple(row)
                found = self.columns.find(names, where)
            yield self._item(row, found, where)

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        """See `Source.read`."""
        return read_file(self.root / item.where, item, longest)

    def _item(self, row: Mapping[str, Any], found: Found, where: str) -> Item:
        path = row[found.audio or ""]
        if not isinstance(path, str) or not path.strip():
            raise DatasetError(f"{where}: {found.audio} must be the path of a recording, not {path!r}")
        path = path.strip()
        start, end = found.part(row, where)
        id = words(row.get(found.id)) if found.id else None
        if not id:
            stem = PurePosixPath(path)
            id = str(stem.with_suffix("") if stem.suffix.lower() in AUDIO_SUFFIXES else stem)
            if start or end is not None:
                id = f"{id}-{start:.3f}"
        return file_item(
            self.root,
            path,
            id,
            words(row.get(found.text)) if found.text else None,
            words(row.get(found.speaker)) if found.speaker else None,
            start,
            end,
        )

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        if self.file.suffix.lower() in JSON_SUFFIXES:
            return self._json_rows()
        return self._table_rows()

    def _json_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in lines(self.file):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as problem:
                raise DatasetError(
                    f"{self.file}, line {number}: not JSON ({problem}); one object a line is expected"
                ) from problem
            if not isinstance(row, dict):
                raise DatasetError(
                    f"{self.file}, line {number}: one JSON object a line is expected, not {line.strip()[:60]!r}"
                )
            yield number, row

    def _table_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        # A quoted cell may hold line ends, so the reader counts lines, and gets them with their ends.
        texts = (line + "\n" for _, line in lines(self.file))
        tabs = self.file.suffix.lower() == ".tsv"
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
                    self.columns.find(header, f"{self.file}, line 1")
                    continue
                if len(cells) != len(header):
                    raise DatasetError(
                        f"{self.file}, line {reader.line_num}: {len(cells)} cells, and the first line names "
                        f"{len(header)} columns; mend the line"
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True))
        except csv.Error as problem:
            raise DatasetError(f"{self.file}, line {reader.line_num}: {problem}; mend the line") from problem
