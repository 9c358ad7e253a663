"""Preparing a data set: `prepare` does it here; with `preparing` and `units.run_units` others do."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from neucodec_tts.dataset.folder import DatasetFolder
from neucodec_tts.dataset.items import Source
from neucodec_tts.dataset.listing import explain_difference, write_listing
from neucodec_tts.dataset.manifest import DatasetManifest, ShardEntry, read_manifest
from neucodec_tts.dataset.places import Place, look, read_bytes
from neucodec_tts.dataset.progress import Progress
from neucodec_tts.dataset.reader_pool import ReaderPool
from neucodec_tts.dataset.settings import CodecInfo, PrepareSettings, differences
from neucodec_tts.dataset.shards import RejectsWriter, hexadecimal
from neucodec_tts.dataset.sources import open_source
from neucodec_tts.dataset.sources.long_recordings import LongRecordings
from neucodec_tts.dataset.tokens import TokenSettings
from neucodec_tts.dataset.units import Recipe, read_records, run_units
from neucodec_tts.errors import DatasetError
from neucodec_tts.files import printable

if TYPE_CHECKING:
    from neucodec_tts.codec.neucodec import NeuCodec


@dataclass(frozen=True)
class Prepared:
    """The result of a run."""

    folder: Place
    manifest: DatasetManifest
    progress: Progress
    """Of this run alone."""
    shards_before: int
    """Shards that were finished already."""
    was_complete: bool
    """True if there was nothing to do."""


def prepare(
    source: str | os.PathLike[str] | Source,
    out: str | os.PathLike[str],
    codec: NeuCodec,
    settings: PrepareSettings | None = None,
    *,
    tokens: TokenSettings | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Prepared:
    """Turn a corpus into a data set of codes; `neucodec_tts.dataset` says what the data set looks like.

    Killed at any moment and called again with the same arguments, it goes on with the first shard that is not
    finished and ends with the same bytes. On a complete data set it does nothing.

    Args:
        source: a corpus, or the path, URL or hub id of one, as for `sources.open_source`.
        out: the data set's folder, its path or its URL (``s3://bucket/folder``): new, empty, or begun by the same call.
        codec: encodes.
        settings: which utterances are kept, and how they are divided.
        tokens: the language model to make training examples for; None makes none.
        workers: reader processes; None takes one a core but one, 0 reads in this process.
        on_progress: is called from time to time.

    Raises:
        DatasetError: the corpus is not what it should be, `out` holds something else or was begun from another
            corpus or with other settings, another run is at it, the disk is full, or a reader process died.
        StorageError: an object store cannot be reached, or forbids this.
        NeuCodecError: loading the language model's tokenizer or encoding fails.
    """
    info = CodecInfo.of(codec)
    with ReaderPool(workers) as readers, preparing(source, out, info, settings, tokens=tokens) as preparation:
        recipe, progress = preparation.recipe, preparation.progress
        for _ in run_units(recipe, preparation.pending, codec, readers, progress, on_progress):
            pass
        return preparation.finish()


class Preparation:
    """A data set that is being made. Made by `preparing`.

    Attributes:
        recipe: give it, and numbers of units, to `units.run_units`, on any machine that sees the data set's folder and
            the corpus under the same paths.
        pending: numbers of the units that are not finished.
        progress: counts the items of earlier runs already.
    """

    def __init__(self, recipe: Recipe, items: int, manifest: DatasetManifest) -> None:
        self.recipe = recipe
        self._begun = manifest
        records = enumerate(read_records(recipe.folder, recipe.units))
        self.pending = [] if manifest.complete else [unit for unit, record in records if record is None]
        size = recipe.settings.shard_items
        left = sum(min(size, items - unit * size) for unit in self.pending)
        self._units_before = recipe.units - len(self.pending)
        self.progress = Progress(items_total=items, items_done=items - left, items_before=items - left)

    def finish(self) -> Prepared:
        """Put the results of all units together; the data set is complete then.

        Raises:
            DatasetError: a unit is not finished, or a file cannot be written.
        """
        manifest = self._begun if self._begun.complete else self._put_together()
        folder = self.recipe.folder
        folder.remove_records()
        return Prepared(folder.path, manifest, self.progress, self._units_before, self._begun.complete)

    def _put_together(self) -> DatasetManifest:
        folder, units = self.recipe.folder, self.recipe.units
        shards: list[ShardEntry] = []
        rejects: Counter[str] = Counter()
        with folder.replacing(folder.rejects) as part, RejectsWriter(part) as writer:
            for unit, finished in enumerate(read_records(folder, units)):
                if finished is None:
                    raise DatasetError(f"shard {unit} of {units} is not finished; run the same command again")
                writer.write(finished.rejects)
                rejects.update(reject.reason for reject in finished.rejects)
                shards.append(finished.shard)
        manifest = replace(
            self._begun,
            complete=True,
            rows=sum(shard.rows for shard in shards),
            frames=sum(shard.frames for shard in shards),
            seconds=sum(shard.seconds for shard in shards),
            content=hexadecimal(sum(int(shard.content, 16) for shard in shards)),
            rejects=dict(sorted(rejects.items())),
            rejects_sha256=folder.sha256(folder.rejects),
            shards=tuple(shards),
        )
        manifest.write(folder)
        return manifest


@contextmanager
def preparing(
    source: str | os.PathLike[str] | Source,
    out: str | os.PathLike[str],
    codec: CodecInfo,
    settings: PrepareSettings | None = None,
    *,
    tokens: TokenSettings | None = None,
) -> Iterator[Preparation]:
    """Begin a data set, or go on with one: list the corpus, and find the units that are pending.

    The data set is locked while the block runs. In it, give `Preparation.recipe` and the pending units to whoever does
    them, and call `Preparation.finish` in the end.

    Args:
        source: see `prepare`; so `out`, `settings` and `tokens`.
        codec: the codec that will encode.

    Raises:
        DatasetError: see `prepare`.
    """
    opened = open_source(source) if isinstance(source, (str, os.PathLike)) else source
    settings = settings or PrepareSettings()
    if tokens is not None:
        tokens = tokens.resolved(codec.codebook_size)
    folder = DatasetFolder.at(out)
    name = os.path.abspath(folder.path) if isinstance(folder.path, Path) else str(folder.path)
    if printable(name) != name:
        raise DatasetError(f"{folder.path}: the name of a data set must be UTF-8; choose another")
    with folder.lock():
        stored = read_manifest(folder) if look(folder.manifest) is not None else None
        begun = None if stored is None else PrepareSettings(**stored.settings)
        settings = settings.resolved(codec, begun, tokens is not None)
        fresh = folder.parts / "sources.arrow"
        folder.parts.mkdir(parents=True, exist_ok=True)
        listing = write_listing(opened, fresh, settings.shard_items, without_text=settings.without_text)
        manifest = DatasetManifest(
            complete=False,
            codec=codec.to_dict(),
            settings=asdict(settings),
            source={
                "kind": opened.kind,
                **opened.options,
                "items": listing.items,
                "units": listing.units,
                "digest": listing.digest,
            },
            tokens=None if tokens is None else tokens.to_dict(),
        )
        if stored is not None:
            _refuse_difference(folder, stored, manifest, fresh)
            if stored.complete and tokens is not None and stored.tokens_pending:
                raise DatasetError(
                    f"{folder.path}: adding tokens to it was interrupted; run that again "
                    "(neucodec-tts prepare --tokens-only)"
                )
            if stored.complete:
                manifest, tokens = stored, None
        else:
            with folder.replacing(folder.sources) as part:
                shutil.move(fresh, part)
            manifest.write(folder)
        fresh.unlink(missing_ok=True)
        split = opened.split_seconds if isinstance(opened, LongRecordings) else None
        recipe = Recipe(folder, opened, settings, codec, listing.units, tokens, split)
        yield Preparation(recipe, listing.items, manifest)


def _refuse_difference(
    folder: DatasetFolder, stored: DatasetManifest, wanted: DatasetManifest, fresh: Path
) -> None:
    """Refuse to go on with a data set that was begun from another corpus or with other settings.

    Raises:
        DatasetError: with what differs.
    """
    found = differences(stored.settings, wanted.settings)
    found += [f"codec: {each}" for each in differences(stored.codec, wanted.codec)]
    if wanted.tokens is not None or not stored.complete:
        found += [f"tokens: {each}" for each in differences(stored.tokens or {}, wanted.tokens or {})]
    choices = [
        {name: value for name, value in each.source.items() if name not in ("items", "units", "digest")}
        for each in (stored, wanted)
    ]
    found += [f"source: {each}" for each in differences(*choices)]
    if not found and read_bytes(folder.sources) != fresh.read_bytes():
        found = explain_difference(folder.sources, fresh)
    if found:
        adding = wanted.tokens is not None and stored.complete
        hint = "; tokens alone are added by `tokenize` (--tokens-only)" if adding else ""
        raise DatasetError(
            f"{folder.path} was made from another corpus or with other settings: {'; '.join(found)}. Choose another "
            f"folder, or use what it was made with{hint}"
        )
