"""The listing of a corpus: every item, in units of work of which each becomes a shard.

It is written before anything is encoded, to ``sources.arrow``, an Arrow file with one record batch a unit. Reading
a unit from it does not need the rest, so that it may be of any size. A corpus that has changed is known by it.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.dataset.filters import clean_text
from neucodec_tts.dataset.items import Item, Source
from neucodec_tts.dataset.packages import arrow
from neucodec_tts.dataset.places import Place, forget_listings, reaching
from neucodec_tts.dataset.settings import MAX_SHARDS
from neucodec_tts.dataset.sources.text_files import CONVERT
from neucodec_tts.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = 3
_MENDS = {
    "text": f"mend it, or {CONVERT}",
    "speaker": f"mend it, or {CONVERT}",
    "where": "rename the file",
    "id": "rename it",
}
_values = attrgetter(*(each.name for each in fields(Item)))


@dataclass(frozen=True)
class Listing:
    """Size and digest of a listing."""

    items: int
    units: int
    digest: str
    """SHA-256 of all items, but for the times at which their files were last modified."""
    texts: int
    """Items that have a text."""
    first_problem: str | None
    """The problem of the first item, if every item has one."""


def write_listing(source: Source, path: Path, shard_items: int, *, without_text: bool = False) -> Listing:
    """List a corpus into a file.

    Duplicate ids are found on the way: the first item of an id counts, the others get a `Item.problem`. Apart from 8
    bytes an item, memory does not grow with the corpus.

    Args:
        source: the corpus.
        path: the file to write; its folder must exist.
        shard_items: items a unit.
        without_text: take a corpus in which no item has a text.

    Raises:
        DatasetError: the corpus is empty, no item of it can be used or none has a text, or what `Source.items` raises.
    """
    forget_listings()
    hashes = array("Q")
    listing = _write(_checked(source, hashes), path, shard_items)
    if listing.items == 0:
        raise DatasetError(
            f"there are no recordings in {source.name}; check the path, or name the kind (--kind)"
        )
    if listing.first_problem is not None:
        others = f", and none of the {listing.items - 1} others either" if listing.items > 1 else ""
        raise DatasetError(f"nothing of {source.name} can be used{others}: {listing.first_problem}")
    if listing.texts == 0 and not without_text:
        raise DatasetError(
            f"no texts found in {source.name} (read as {source.kind}, {listing.items} utterances); name their column "
            "(--text-column), put NAME.txt beside each recording, or go on with --without-text (without_text=True)"
        )
    if listing.units > MAX_SHARDS:
        raise DatasetError(
            f"{listing.items} utterances in shards of {shard_items} would be {listing.units} shards, more than "
            f"{MAX_SHARDS}; set shard_items (--shard-items) to {-(-listing.items // MAX_SHARDS)} or more"
        )
    repeated = _repeated(hashes)
    if repeated:
        first = path.with_name(path.name + ".first")
        path.rename(first)
        listing = _write(_without_duplicates(first, repeated), path, shard_items)
        first.unlink()
    return listing


def read_unit(path: Place, unit: int) -> list[Item]:
    """Return the items of a unit of work, from the listing's file.

    Raises:
        StorageError: the object store that it lies in cannot be reached.
    """
    with reaching(path), _opened(path) as reader:
        return [Item(**row) for row in reader.get_batch(unit).to_pylist()]


def explain_difference(before: Place, after: Path) -> list[str]:
    """Return in words how one listing differs from another."""
    old, new = ({item.id: _values(item) for item in _items(path)} for path in (before, after))
    found = []
    for what, ids in (
        ("were added", [id for id in new if id not in old]),
        ("are gone", [id for id in old if id not in new]),
        ("have changed", [id for id in new if id in old and new[id] != old[id]]),
    ):
        if ids:
            shown = ", ".join(ids[:_SHOWN]) + (" ..." if len(ids) > _SHOWN else "")
            found.append(f"{len(ids)} utterances {what} ({shown})")
    return found or ["the utterances come in another order"]


def _schema() -> pa.Schema:
    pa = arrow()
    others = {"start": pa.float64(), "end": pa.float64(), "size": pa.int64(), "modified": pa.int64()}
    return pa.schema({each.name: others.get(each.name, pa.string()) for each in fields(Item)})


def _write(items: Iterator[Item], path: Path, shard_items: int) -> Listing:
    pa = arrow()
    schema = _schema()
    digest = hashlib.sha256()
    count = units = texts = problems = 0
    first_problem = None
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as opened, pa.ipc.new_file(opened, schema, options=options) as writer:
        while unit := list(islice(items, shard_items)):
            columns = zip(*map(_values, unit), strict=True)
            arrays = [pa.array(values, each.type) for values, each in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            for item in unit:
                digest.update(_canonical(item))
                texts += item.text is not None
                problems += item.problem is not None
                first_problem = first_problem or item.problem
            count += len(unit)
            units += 1
    return Listing(count, units, digest.hexdigest(), texts, first_problem if problems == count else None)


def _checked(source: Source, hashes: array[int]) -> Iterator[Item]:
    for item in source.items():
        item = replace(item, text=clean_text(item.text), speaker=clean_text(item.speaker))
        values: dict[str, Any] = {}
        for name in ("id", "where", "text", "speaker", "locator", "problem"):
            value = getattr(item, name)
            if value is None:
                continue
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                # Half a character, which nothing can be stored with: from a file in another encoding, or JSON.
                values[name] = value.encode("utf-8", "backslashreplace").decode("utf-8")
                values["problem"] = (
                    f"its {name} is not valid Unicode ({values[name][:60]}); {_MENDS.get(name, 'mend it')}"
                )
        item = replace(item, **values) if values else item
        hashes.append(_hash(item.id))
        yield item


def _hash(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "little")


def _repeated(hashes: array[int]) -> frozenset[int]:
    ordered = np.sort(np.frombuffer(hashes, dtype=np.uint64)) if hashes else np.zeros(0, np.uint64)
    return frozenset(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def _without_duplicates(path: Path, repeated: frozenset[int]) -> Iterator[Item]:
    first_of: dict[str, str] = {}
    for item in _items(path):
        if _hash(item.id) in repeated:
            if item.id in first_of:
                item = replace(item, problem=f"duplicate id: it is that of {first_of[item.id]}, too")
            else:
                first_of[item.id] = item.where
        yield item


@contextmanager
def _opened(path: Place) -> Iterator[Any]:
    pa = arrow()
    with (
        pa.memory_map(str(path)) if isinstance(path, Path) else path.open("rb") as opened,
        pa.ipc.open_file(opened) as reader,
    ):
        yield reader


def _items(path: Place) -> Iterator[Item]:
    with _opened(path) as reader:
        for unit in range(reader.num_record_batches):
            for row in reader.get_batch(unit).to_pylist():
                yield Item(**row)


def _canonical(item: Item) -> bytes:
    values = _values(replace(item, modified=-1))
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"
