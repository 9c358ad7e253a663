"""Parquet: a row an utterance, with its audio inside, as corpora on the hub have it, or with the path of its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.packages import arrow, parquet
from neucodec_tts.dataset.places import Place, below, is_dir, place, reaching
from neucodec_tts.dataset.sources.base import ListedSource
from neucodec_tts.dataset.sources.files import file_item, find_recording, read_audio, relative, stat, walk
from neucodec_tts.dataset.sources.text_files import cannot_read
from neucodec_tts.errors import AudioError, DatasetError


@dataclass(frozen=True)
class ParquetCorpus(ListedSource):
    """A Parquet file, or all of them in and below a folder."""

    kind: str = field(default="parquet", init=False)

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        files = walk(self.path, {".parquet"}) if is_dir(self.path) else iter([self.path])
        for file in files:
            yield from self._items_of(file)

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        """See `Source.read`."""
        if not item.locator:
            return super().read(item, longest)
        file, group, row, column = item.locator.rsplit("|", 3)
        try:
            there = below(self.folder, file)
            with _reading(there):
                cell = _audio_column(str(there), int(group), column)[int(row)].as_py()
        except (_DamagedError, DatasetError) as problem:
            raise AudioError(f"{item.where}: cannot be read ({problem})") from problem
        return read_cell(cell, item, longest, self.root)

    def _items_of(self, file: Place) -> Iterator[Item]:
        shown = relative(self.folder, file)
        size, modified = stat(file)
        try:
            with _reading(file):
                opened = _open(file)
        except UnicodeEncodeError as problem:
            raise DatasetError(f"{file}: its name is not UTF-8; rename it") from problem
        except _DamagedError as problem:
            yield Item(shown, shown, problem=f"{file}: not a Parquet file, or a damaged one ({problem})")
            return
        with opened:
            names = opened.schema_arrow.names
            found = self.columns.find(names, str(file))
            is_path = arrow().types.is_string(opened.schema_arrow.field(found.audio).type)
            wanted = {name for name in vars(found).values() if name is not None} - (
                set() if is_path else {found.audio}
            )
            for group in range(opened.num_row_groups):
                try:
                    with _reading(file):
                        rows = opened.read_row_group(group, columns=sorted(wanted)).to_pylist()
                except _DamagedError as problem:
                    count = opened.metadata.row_group(group).num_rows
                    lost = f"{file}: {count} rows of group {group} are damaged ({problem})"
                    yield Item(f"{shown}-{group}", f"{shown}:{group}", problem=lost)
                    continue
                for index, row in enumerate(rows):
                    where = f"{shown}:{group}.{index}"
                    named = f"{shown.removesuffix('.parquet')}-{group}.{index}"
                    try:
                        id, text, speaker = found.said(row)
                    except DatasetError as problem:
                        yield Item(named, where, problem=f"{where}: {problem}")
                        continue
                    id = id or named
                    path = row[found.audio or ""] if is_path else None
                    try:
                        start, end = found.part(row, where)
                        if is_path and not path:
                            raise DatasetError(f"{where}: {found.audio} holds no path")
                    except DatasetError as problem:
                        yield Item(id, where, text, speaker, problem=str(problem))
                        continue
                    if path:
                        path = find_recording(self.root, path)
                        yield file_item(self.root, path, id, text, speaker, start, end)
                    else:
                        locator = f"{shown}|{group}|{index}|{found.audio}"
                        yield Item(id, where, text, speaker, start, end, locator, size, modified)


def read_cell(cell: Any, item: Item, longest: float | None, root: Place) -> tuple[np.ndarray, int]:
    """Read the audio in a cell: the bytes of a file, its path, both, or numbers with their rate.

    Raises:
        AudioError: there is none in it.
        AudioTooLongError: it is longer than `longest`.
    """
    if isinstance(cell, dict) and cell.get("array") is not None and cell.get("sampling_rate"):
        return np.asarray(cell["array"]), int(cell["sampling_rate"])
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(data, bytes):
        if not data:
            raise AudioError(f"{item.where}: the file is empty (0 bytes)")
        return read_audio(data, item, longest)
    path = cell.get("path") if isinstance(cell, dict) else cell
    if isinstance(path, str) and path:
        return read_audio(below(root, path), item, longest)
    if isinstance(cell, list) and cell:
        raise AudioError(
            f'{item.where}: numbers without their rate; make each cell {{"array": ..., "sampling_rate": ...}}'
        )
    raise AudioError(f"{item.where}: there is no audio in it; leave it out or mend the corpus")


@lru_cache(maxsize=2)
def _audio_column(file: str, group: int, column: str) -> Any:
    """One row group of the audio; neighbours are asked for one after the other."""
    with _open(place(file)) as opened:
        return opened.read_row_group(group, columns=[column])[column]


class _DamagedError(ValueError):
    """Arrow can make nothing of the bytes of a file."""


@contextmanager
def _reading(file: Place) -> Iterator[None]:
    """Tell damage, for which Arrow raises OSErrors without a number, too, from a file that cannot be read.

    Raises:
        DatasetError: it cannot be read.
        StorageError: its object store cannot be reached.
    """
    try:
        with reaching(file):
            try:
                yield
            except UnicodeEncodeError:  # of its name
                raise
            except (ValueError, arrow().ArrowException) as problem:
                raise _DamagedError(str(problem)) from problem
            except OSError as problem:
                if type(problem) is not OSError or problem.errno is not None:
                    raise
                raise _DamagedError(str(problem)) from problem
    except OSError as problem:
        raise cannot_read(file, problem) from problem


def _open(file: Place) -> Any:
    return parquet().ParquetFile(file if isinstance(file, Path) else file.open("rb"))
