"""Training tokens for a finished data set, or those of another model, without touching audio."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from neucodec_tts.dataset.folder import DatasetFolder
from neucodec_tts.dataset.manifest import DatasetManifest, ShardEntry, read_manifest
from neucodec_tts.dataset.places import Place, look
from neucodec_tts.dataset.shards import read_about, read_shard, shard_bytes
from neucodec_tts.dataset.tokens import TokenSettings, add_tokens
from neucodec_tts.errors import DatasetError

if TYPE_CHECKING:
    from neucodec_tts.prompts.formats import PromptFormat


@dataclass(frozen=True)
class Tokenized:
    """The result of `tokenize`."""

    folder: Place
    manifest: DatasetManifest
    shards_before: int
    """Shards that had these tokens already."""

    @property
    def untokenized(self) -> int:
        """Rows whose text makes no training example: their `input_ids` and `labels` are null."""
        return sum(shard.untokenized or 0 for shard in self.manifest.shards)


def tokenize(
    folder: str | os.PathLike[str],
    tokens: TokenSettings,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tokenized:
    """Add ``input_ids`` and ``labels`` to every shard of a complete data set, in place of older ones.

    Killed at any moment and called again, it goes on. The shards end as `prepare` would have written them with these
    tokens at once.

    Args:
        folder: the data set.
        tokens: the language model to make training examples for.
        on_progress: is called with the number of shards that are done, and of all.

    Raises:
        DatasetError: there is no data set, it is not complete, has no text at all, or cannot be written.
        NeuCodecError: loading the language model's tokenizer fails.
    """
    store = DatasetFolder.at(folder)
    read_manifest(store)  # before the folder is locked, which would make it if it is not there
    with store.lock():
        manifest = read_manifest(store)
        if not manifest.complete:
            raise DatasetError(f"{store.path} is not complete; run the command that it was begun with again")
        tokens = tokens.resolved(int(manifest.codec["codebook_size"]))
        begun = replace(
            manifest,
            tokens=tokens.to_dict(),
            shards=tuple(_unless(shard, manifest, tokens) for shard in manifest.shards),
        )
        if begun != manifest:
            begun.write(store)  # from now on its shards may have other tokens than those written down
        entries: list[ShardEntry] = []
        before = 0
        prompt_format: PromptFormat | None = None
        for shard in begun.shards:
            about = read_about(store.path / shard.file)
            if about.get("tokens") == tokens.digest:
                before += 1
                entries.append(shard if shard.untokenized is not None else _entry(store, shard))
            else:
                prompt_format = prompt_format or tokens.make_format()
                entries.append(_rewrite(store, shard, about, tokens, prompt_format))
            on_progress(len(entries), len(begun.shards))
        finished = replace(begun, shards=tuple(entries))
        if finished != begun:
            finished.write(store)
    return Tokenized(store.path, finished, before)


def _unless(shard: ShardEntry, manifest: DatasetManifest, tokens: TokenSettings) -> ShardEntry:
    """Return a shard's entry, without the count of rows that have no tokens if that is of other tokens."""
    same = manifest.tokens is not None and TokenSettings.from_dict(manifest.tokens).digest == tokens.digest
    return shard if same else replace(shard, untokenized=None)


def _rewrite(
    store: DatasetFolder,
    shard: ShardEntry,
    about: dict[str, Any],
    tokens: TokenSettings,
    prompt_format: PromptFormat,
) -> ShardEntry:
    rows, untokenized = add_tokens(read_shard(store.path / shard.file)[0], prompt_format)
    content = shard_bytes(rows, True, {**about, "tokens": tokens.digest})
    sha256 = store.write(store.path / shard.file, content)
    return replace(shard, bytes=len(content), sha256=sha256, untokenized=untokenized)


def _entry(store: DatasetFolder, shard: ShardEntry) -> ShardEntry:
    """Return the entry of a shard that a run which was killed has rewritten."""
    path = store.path / shard.file
    untokenized = sum(row.input_ids is None for row in read_shard(path)[0])
    found = look(path)
    return replace(
        shard, bytes=-1 if found is None else found.size, sha256=store.sha256(path), untokenized=untokenized
    )
