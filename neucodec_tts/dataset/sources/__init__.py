"""Kinds of corpora, one module each, and finding out of which kind one is."""

from __future__ import annotations

import os
from pathlib import Path

from neucodec_tts.dataset.items import Source
from neucodec_tts.dataset.sources.columns import Columns
from neucodec_tts.dataset.sources.folder import AudioFolder
from neucodec_tts.dataset.sources.ljspeech import LJSpeech
from neucodec_tts.dataset.sources.manifest import JSON_SUFFIXES, TABLE_SUFFIXES, Manifest
from neucodec_tts.errors import DatasetError

KINDS = ("folder", "ljspeech", "manifest")


def open_source(
    source: str | os.PathLike[str],
    kind: str | None = None,
    columns: Columns | None = None,
    audio_root: str | os.PathLike[str] | None = None,
) -> Source:
    """Find out what a corpus is.

    Args:
        source: a folder, a manifest.
        kind: one of `KINDS`, if it is not to be found out.
        columns: names of a manifest's columns, if they are not among those that corpora use.
        audio_root: the folder that a manifest's paths are relative to, if it is not that of the manifest.

    Raises:
        DatasetError: there is no such corpus, or its kind cannot be told.
    """
    path = Path(source)
    columns = columns or Columns()
    root = None if audio_root is None else Path(audio_root)
    if kind is None:
        kind = _kind_of(path)
    if kind == "manifest":
        return Manifest(path, columns, root)
    if kind == "ljspeech":
        return LJSpeech(path)
    if kind == "folder":
        return AudioFolder(path)
    raise DatasetError(f"unknown kind of corpus {kind!r}; known are {', '.join(KINDS)}")


def _kind_of(path: Path) -> str:
    if path.is_file():
        if path.suffix.lower() in (*JSON_SUFFIXES, *TABLE_SUFFIXES):
            return "manifest"
        raise DatasetError(
            f"{path}: not a kind of manifest that is known; name a .jsonl, .csv or .tsv file, or a folder"
        )
    if path.is_dir():
        return "ljspeech" if (path / "metadata.csv").is_file() else "folder"
    raise DatasetError(f"{path}: no such file or folder (now in {Path.cwd()})")
