"""Corpora of the Hugging Face hub, and folders that ``datasets`` has saved, read with ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.packages import needed
from neucodec_tts.dataset.sources.columns import Columns
from neucodec_tts.dataset.sources.parquet import read_cell
from neucodec_tts.errors import DatasetError


@dataclass(frozen=True)
class HubDataset:
    """One split of a data set; downloaded first if it is on the hub."""

    id: str
    """Hub id, or a folder that ``load_dataset`` or ``load_from_disk`` reads."""
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    columns: Columns = field(default_factory=Columns)
    kind: str = field(default="huggingface", init=False)

    @property
    def name(self) -> str:
        """The id."""
        return self.id

    @property
    def options(self) -> Mapping[str, object]:
        """The configuration, split and revision, columns that were named, and `datasets`' fingerprint."""
        chosen = {"config": self.config, "split": self.split, "revision": self.revision}
        chosen = {name: value for name, value in chosen.items() if value is not None}
        return {**chosen, **self.columns.options(), "fingerprint": self._open()._fingerprint}

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        table = self._open()
        found = self.columns.find(table.column_names, self.id)
        described = [name for name in vars(found).values() if name is not None and name != found.audio]
        rows: Iterator[dict[str, Any]]
        if described:
            rows = iter(table.select_columns(described))
        else:
            rows = ({} for _ in range(table.num_rows))
        for number, row in enumerate(rows):
            named = f"{self.split}-{number:08d}"
            try:
                id, text, speaker = found.said(row)
            except DatasetError as problem:
                yield Item(named, f"row {number}", problem=str(problem))
                continue
            id = id or named
            try:
                start, end = found.part(row, f"{self.id}, row {number}")
            except DatasetError as problem:
                yield Item(id, f"row {number}", text, speaker, problem=str(problem))
                continue
            yield Item(
                id,
                f"row {number}",
                text,
                speaker,
                start,
                end,
                locator=f"{number}|{found.audio}",
            )

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        """See `Source.read`."""
        row, column = item.locator.split("|", 1)
        table = self._open().select_columns([column])
        return read_cell(table[int(row)][column], item, longest, Path(self.id))

    def _open(self) -> Any:
        return _open(self.id, self.config, self.split, self.revision)


@lru_cache(maxsize=2)
def _open(id: str, config: str | None, split: str, revision: str | None) -> Any:
    """Open the split as a `datasets.Dataset` whose audio is left as it is stored: decoding is ours."""
    datasets = needed("datasets", "dataset")
    folder = Path(id)
    try:
        if (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file():
            table = datasets.load_from_disk(id)
            if isinstance(table, datasets.DatasetDict):
                if split not in table:
                    raise DatasetError(
                        f"{id}: there is no split {split!r}; there are {', '.join(table)} (--split)"
                    )
                table = table[split]
        else:
            table = datasets.load_dataset(id, config, split=split, revision=revision)
    except DatasetError:
        raise
    except Exception as problem:  # datasets raises what the hub, the file system and its builders raise
        first = str(problem).strip().partition("\n")[0]
        raise DatasetError(
            f"{id}: cannot be loaded as a data set ({type(problem).__name__}: {first})"
        ) from problem
    for name, feature in table.features.items():
        if isinstance(feature, datasets.Audio):
            table = table.cast_column(name, datasets.Audio(decode=False))
    return table
