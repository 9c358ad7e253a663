"""Kinds of corpora, one module each, and finding out of which kind one is."""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from itertools import islice
from pathlib import Path

from neucodec_tts.audio import AUDIO_SUFFIXES
from neucodec_tts.dataset.folder import MANIFEST
from neucodec_tts.dataset.items import Source
from neucodec_tts.dataset.places import Place, forget_listings, is_dir, list_folder, look, place
from neucodec_tts.dataset.sources.columns import Columns
from neucodec_tts.dataset.sources.files import is_file, walk
from neucodec_tts.dataset.sources.folder import AudioFolder
from neucodec_tts.dataset.sources.hub import HubDataset
from neucodec_tts.dataset.sources.kaldi import KaldiFolder
from neucodec_tts.dataset.sources.lhotse import LhotseCuts
from neucodec_tts.dataset.sources.librispeech import LibriSpeech, has_transcripts
from neucodec_tts.dataset.sources.ljspeech import LJSpeech
from neucodec_tts.dataset.sources.long_recordings import LongRecordings
from neucodec_tts.dataset.sources.parquet import ParquetCorpus
from neucodec_tts.dataset.sources.rows import layout_of
from neucodec_tts.dataset.sources.table import JSON_SUFFIXES, LIST_SUFFIXES, TABLE_SUFFIXES, Table
from neucodec_tts.dataset.sources.text_files import lines
from neucodec_tts.dataset.sources.webdataset import WebDataset, expand
from neucodec_tts.errors import DatasetError

_FOLDERS = {"folder": AudioFolder, "ljspeech": LJSpeech, "librispeech": LibriSpeech, "kaldi": KaldiFolder}
KINDS = (*_FOLDERS, "table", "parquet", "webdataset", "huggingface", "lhotse")
_TABLES = ("metadata.csv", "metadata.jsonl", "metadata.json", "metadata.tsv")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def open_source(
    source: str | os.PathLike[str],
    kind: str | None = None,
    *,
    columns: Columns | None = None,
    audio_root: str | os.PathLike[str] | None = None,
    split_seconds: float | None = None,
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
) -> Source:
    """Open a corpus, finding out its kind.

    Args:
        source: a folder, a table, tars, or the id of a data set on the Hugging Face hub; with `split_seconds` a folder
            or a recording.
        kind: one of `KINDS`, if it is not to be found out.
        columns: names of a table's columns, if they are not among those that corpora use.
        audio_root: the folder that a table's paths are relative to, if it is not that of the table.
        split_seconds: cut recordings into pieces of at most so many seconds, at the times of the transcripts beside
            them, or in their pauses.
        config: of a data set of the hub.
        split: of a data set of the hub; "train" by default.
        revision: of a data set of the hub.

    Raises:
        DatasetError: there is no such corpus, its kind cannot be told, or an option does not go with it.
    """
    forget_listings()
    path, columns = place(source), columns or Columns()
    root = None if audio_root is None else place(audio_root)
    if split_seconds is not None and kind is None:
        kind = "folder"
    if kind is None:
        kind = _kind_of(os.fspath(source))
    given = {
        "pieces of some seconds": split_seconds is not None and kind != "folder",
        "columns": bool(columns.options()) and kind not in ("table", "parquet", "webdataset", "huggingface"),
        "audio_root": root is not None and kind not in ("table", "parquet"),
        "config, split and revision": any((config, split, revision)) and kind != "huggingface",
    }
    for name, wrong in given.items():
        if wrong:
            raise DatasetError(
                f"{os.fspath(source)} is read as {kind}, which {name} do not go with; leave them out"
            )
    if kind == "table":
        return Table(_metadata(path) or path, columns, root)
    if kind == "parquet":
        return ParquetCorpus(path, columns, root)
    if kind == "webdataset":
        return WebDataset(os.fspath(source), columns)
    if kind == "huggingface":
        return HubDataset(os.fspath(source), config, split or "train", revision, columns)
    if kind == "lhotse":
        if not isinstance(path, Path):
            raise DatasetError(f"{path}: Lhotse reads cuts of this machine only; copy the file here")
        return LhotseCuts(path)
    if split_seconds is not None and look(path) is not None:
        return LongRecordings(path, split_seconds)
    if kind not in _FOLDERS:
        raise DatasetError(f"unknown kind of corpus {kind!r}; known are {', '.join(KINDS)}")
    if not is_dir(path):
        what = "folder" if split_seconds is None else "folder or recording"
        raise DatasetError(f"{path}: no such {what}{_here(path)}")
    opened: Source = _FOLDERS[kind](path)
    return opened


def _kind_of(source: str) -> str:
    path = place(source)
    found = look(path)
    if found is not None:
        return _kind_of_folder(path) if found.is_dir else _kind_of_file(path)
    if source.endswith(".tar") and expand(source):
        return "webdataset"
    if _HUB_ID.fullmatch(source):
        return "huggingface"
    hub = ", and no id of a data set on the hub (OWNER/NAME)" if isinstance(path, Path) else ""
    raise DatasetError(f"{source}: no such file or folder{_here(path)}{hub}")


def _here(path: Place) -> str:
    return f" (now in {Path.cwd()})" if isinstance(path, Path) else "; check the bucket and the path"


def _kind_of_file(path: Place) -> str:
    name = path.name.lower()
    if name.endswith(".jsonl.gz") and _holds_packed_cuts(path):
        return "lhotse"
    if path.suffix.lower() in (".gz", ".zst", ".bz2", ".xz", ".zip"):
        raise DatasetError(f"{path}: it is compressed; unpack it first, as with gunzip or zstd -d")
    if path.suffix.lower() in JSON_SUFFIXES and _holds_cuts(path):
        return "lhotse"
    if path.suffix.lower() in (*JSON_SUFFIXES, *TABLE_SUFFIXES):
        return "table"
    if path.suffix.lower() in (".parquet", ".tar"):
        return {".parquet": "parquet", ".tar": "webdataset"}[path.suffix.lower()]
    if path.suffix.lower() in AUDIO_SUFFIXES:
        raise DatasetError(
            f"{path}: one recording; --split SECONDS (split_seconds) cuts it into pieces, and a folder of recordings "
            "is a corpus"
        )
    raise DatasetError(
        f"{path}: not a kind of table that is known; name a .jsonl, .json, .csv, .tsv, .txt, .list, .parquet or "
        ".tar file, or a folder"
    )


def _kind_of_folder(path: Place) -> str:
    if is_file(path / MANIFEST):
        raise DatasetError(f"{path} is a data set that was prepared already; name the corpus it is of")
    if is_file(path / "wav.scp"):
        return "kaldi"
    table = _metadata(path)
    if table is not None:
        return "ljspeech" if _is_ljspeech(table) else "table"
    for name in ("dataset_dict.json", "state.json"):
        if isinstance(path, Path) and (path / name).is_file():
            return "huggingface"
    for suffix, kind in ((".tar", "webdataset"), (".parquet", "parquet")):
        if next(islice(walk(path, {suffix}), 1), None) is not None:
            return kind
    return "librispeech" if has_transcripts(path) else "folder"


def _metadata(path: Place) -> Place | None:
    """Return the table in a folder: one of `datasets`' audio folders, Common Voice's, or a list of recordings.

    Raises:
        DatasetError: there are several lists.
    """
    if not is_dir(path):
        return None
    for name in _TABLES:
        if is_file(path / name):
            return path / name
    if is_dir(path / "clips"):
        for name in ("validated.tsv", "train.tsv"):
            if is_file(path / name):
                return path / name
    files = [path / name for name in list_folder(path)]
    recordings = {each.stem for each in files if each.suffix.lower() in AUDIO_SUFFIXES}
    lists = [
        each
        for each in files
        if each.suffix.lower() in LIST_SUFFIXES and each.stem not in recordings and _is_list(each)
    ]
    if len(lists) > 1:
        raise DatasetError(
            f"{path}: {', '.join(each.name for each in lists)} are lists of recordings; name one of them"
        )
    return lists[0] if lists else None


def _is_list(path: Place) -> bool:
    """Return True for a file whose lines begin with the path of a recording, and not a transcript beside one."""
    try:
        layout = layout_of(path, Columns())
    except DatasetError:
        return False
    return layout is not None and layout.names[0] == "path" and len(layout.names) > 1


def _is_ljspeech(path: Place) -> bool:
    """Return True for a ``metadata.csv`` without a header whose lines begin with an id."""
    if path.name != "metadata.csv":
        return False
    try:
        layout = layout_of(path, Columns())
    except DatasetError:
        return False
    return layout is not None and not layout.has_header and layout.names[0] == "id"


def _holds_packed_cuts(path: Place) -> bool:
    """Return True if the first line of a file that gzip has compressed is one of Lhotse's cuts, or cannot be read."""
    try:
        with path.open("rb") as file, gzip.open(file) as opened:
            return _is_cut(opened.readline().decode("utf-8", "replace"))
    except (OSError, EOFError, zlib.error):
        return True  # what reads cuts says what is wrong


def _holds_cuts(path: Place) -> bool:
    """Return True if a file's first line is one of Lhotse's cuts."""
    try:
        _, line = next(iter(lines(path)), (0, ""))
    except DatasetError:
        return False
    return _is_cut(line)


def _is_cut(line: str) -> bool:
    try:
        first = json.loads(line)
    except ValueError:
        return False
    return isinstance(first, dict) and first.get("type") in ("MonoCut", "MultiCut", "MixedCut", "PaddingCut")
