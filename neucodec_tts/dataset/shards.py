"""Shards: rows of a data set as Parquet, equal bytes for equal rows."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.dataset.items import Reject
from neucodec_tts.dataset.packages import arrow, parquet
from neucodec_tts.dataset.places import Place, reaching, read_bytes
from neucodec_tts.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa

KEY = "neucodec-tts"
"""The key of a shard's metadata, which is JSON, in those of its schema."""
_ROW_GROUP = 1000
# Codes hardly compress, but Parquet stores 16-bit numbers in 32 bits: with the bytes of equal rank put together, zstd
# takes the empty half away (2.01 bytes a code; plain 2.5, dictionary 2.4). Nothing here depends on the time or the
# machine.
_OPTIONS: dict[str, Any] = {
    "version": "2.6",
    "compression": "zstd",
    "compression_level": 3,
    "row_group_size": _ROW_GROUP,
    "data_page_size": 2**20,
    "write_statistics": True,
    "store_schema": True,
}
_LISTS = ("codes", "input_ids", "labels")


@dataclass(frozen=True)
class Row:
    """One utterance of a data set."""

    id: str
    text: str | None
    codes: np.ndarray
    """uint16 (frames,)."""
    duration: float
    """Seconds of the audio that was encoded."""
    speaker: str | None
    input_ids: list[int] | None = None
    """Token ids of the training example; None if the data set has none, or this text makes none."""
    labels: list[int] | None = None
    start: float | None = None
    """Its beginning in the recording that it was cut from, in seconds, as is `end`; None if there was no cutting."""
    end: float | None = None


def schema(tokens: bool, about: dict[str, Any]) -> pa.Schema:
    """Return the columns of a shard.

    Args:
        tokens: it has token ids.
        about: its metadata; JSON values. With ``split_seconds`` in it there are columns of times.
    """
    pa = arrow()
    columns = {
        "id": pa.string(),
        "text": pa.string(),
        "codes": pa.list_(pa.uint16()),
        "duration": pa.float64(),
        "speaker": pa.string(),
    }
    if about.get("split_seconds") is not None:
        columns |= {"start": pa.float64(), "end": pa.float64()}
    if tokens:
        columns |= {"input_ids": pa.list_(pa.int32()), "labels": pa.list_(pa.int32())}
    return pa.schema(columns, metadata={KEY: json.dumps(about, sort_keys=True)})


def shard_bytes(rows: Sequence[Row], tokens: bool, about: dict[str, Any]) -> bytes:
    """Return a whole Parquet file."""
    pa = arrow()
    columns = schema(tokens, about)
    table = pa.table(
        {
            name: pa.array([getattr(row, name) for row in rows], columns.field(name).type)
            for name in columns.names
        },
        schema=columns,
    )
    return _parquet_bytes(table)


def read_shard(path: Place) -> tuple[list[Row], dict[str, Any]]:
    """Read the rows of a shard, and its metadata.

    Raises:
        DatasetError: it is missing, damaged, or no shard of ours.
    """
    try:
        table = read_table(path)
    except (OSError, arrow().ArrowException) as problem:
        raise DatasetError(f"{path}: not a shard, or a damaged one ({problem})") from problem
    about = _about(table.schema, path)
    names = table.column_names
    codes = (
        [np.asarray(each.values, dtype=np.uint16) for each in table["codes"].combine_chunks()]
        if len(table)
        else []
    )
    columns = {name: table[name].to_pylist() for name in names if name != "codes"}
    rows = [
        Row(codes=codes[index], **{name: values[index] for name, values in columns.items()})
        for index in range(len(table))
    ]
    return rows, about


def read_table(path: Place) -> pa.Table:
    """Read a Parquet file.

    Raises:
        OSError, pyarrow.ArrowException: it is missing or damaged.
        StorageError: the object store that it lies in cannot be reached.
    """
    return parquet().read_table(path if isinstance(path, Path) else arrow().BufferReader(read_bytes(path)))


def read_about(path: Place) -> dict[str, Any]:
    """Read the metadata of a shard, from its end alone.

    Raises:
        DatasetError: it is missing, damaged, or no shard of ours.
    """
    try:
        if isinstance(path, Path):
            return _about(parquet().read_schema(path), path)
        with reaching(path), path.open("rb") as opened:
            return _about(parquet().read_schema(opened), path)
    except (OSError, arrow().ArrowException) as problem:
        raise DatasetError(f"{path}: not a shard, or a damaged one ({problem})") from problem


def content_sum(rows: Iterable[Row]) -> int:
    """Return a checksum of rows that depends neither on their order nor on their division: add those of shards up.

    The sum, modulo 2**256, of the SHA-256 of each row: of the JSON of its id, text, speaker and duration, and its
    codes as little-endian uint16. Token ids are not part of it.
    """
    total = 0
    for row in rows:
        described = json.dumps([row.id, row.text, row.speaker, row.duration], ensure_ascii=False)
        digest = hashlib.sha256(described.encode() + b"\n" + row.codes.astype("<u2").tobytes())
        total += int.from_bytes(digest.digest(), "big")
    return total % 2**256


def hexadecimal(content: int) -> str:
    """Return a content checksum as it is written down."""
    return f"{content % 2**256:064x}"


class RejectsWriter:
    """Writes ``rejects.parquet``, some items at a time. Use it in a ``with`` statement."""

    def __init__(self, path: Path) -> None:
        pa = arrow()
        names = ("id", "where", "reason", "detail")
        self._schema = pa.schema({name: pa.string() for name in names})
        options = {name: value for name, value in _OPTIONS.items() if name != "row_group_size"}
        self._writer = parquet().ParquetWriter(path, self._schema, **options)

    def write(self, rejects: Sequence[Reject]) -> None:
        """Add some."""
        if rejects:
            pa = arrow()
            columns = {name: [getattr(reject, name) for reject in rejects] for name in self._schema.names}
            self._writer.write_table(pa.table(columns, schema=self._schema))

    def __enter__(self) -> RejectsWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()


def _parquet_bytes(table: pa.Table) -> bytes:
    output = io.BytesIO()
    split = [f"{name}.list.element" for name in _LISTS if name in table.column_names]
    dictionary = ["speaker"]
    parquet().write_table(table, output, use_dictionary=dictionary, use_byte_stream_split=split, **_OPTIONS)
    return output.getvalue()


def _about(columns: pa.Schema, path: Place) -> dict[str, Any]:
    metadata = columns.metadata or {}
    try:
        about: dict[str, Any] = json.loads(metadata[KEY.encode()])
    except (KeyError, ValueError) as problem:
        raise DatasetError(f"{path}: a Parquet file, but no shard of a data set of ours") from problem
    return about
