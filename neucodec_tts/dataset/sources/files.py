"""Files of a corpus: finding them, and reading their audio and the texts beside them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from neucodec_tts.audio import AUDIO_SUFFIXES, load_audio
from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.places import Place, below, look_once, read_bytes, walk_folders
from neucodec_tts.dataset.sources.text_files import cannot_read, read_text
from neucodec_tts.errors import AudioError

TEXT_SUFFIXES = (".txt", ".normalized.txt", ".original.txt", ".lab")
"""Endings of the transcript beside a recording; the first that is there counts."""


_AUDIO_FOLDERS = ("wavs", "wav", "audio", "clips", "")


def walk(root: Place, suffixes: Collection[str]) -> Iterator[Place]:
    """Find files below `root` that end in one of `suffixes`, in a fixed order, without hidden ones."""
    for folder, subfolders, names in _walk(root) if isinstance(root, Path) else walk_folders(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in suffixes and not name.startswith("."):
                yield folder / name


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_raise):
        found = os.stat(folder)
        if (found.st_dev, found.st_ino) in seen:  # a link to a folder above it would never end
            subfolders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        yield Path(folder), subfolders, names


def file_item(
    root: Place,
    where: str,
    id: str,
    text: str | None,
    speaker: str | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> Item:
    """Return an item in a file of its own, or in a part of one; `where` is relative to `root`, or absolute."""
    size, modified = stat(below(root, where))
    return Item(id, where, text, speaker, start, end, size=size, modified=modified)


def stat(path: Place) -> tuple[int, int]:
    """Return the bytes of a file, and the time of the last change in ns; -1 twice if the file cannot be looked at."""
    found = look_once(path)
    return (-1, -1) if found is None else (found.size, found.modified)


def identifier(root: Place, file: Place) -> str:
    """Return the path of a recording below `root`, without its suffix, with slashes on every system."""
    return str(PurePosixPath(relative(root, file)).with_suffix(""))


def relative(root: Place, file: Place) -> str:
    """Return the path of a file below `root`, with slashes on every system."""
    if isinstance(root, Path) and isinstance(file, Path):
        return file.relative_to(root).as_posix()
    return str(file).removeprefix(str(root).rstrip("/") + "/")


def find_recording(root: Place, named: str) -> str:
    """Return the path of a recording, relative to `root` or absolute, as a list of recordings names it.

    Where there is no such file, backslashes count as slashes, the folders are looked in that corpora use, and an audio
    suffix is added if there is none. A file that is not found keeps its name: whoever reads it says so.
    """
    if is_file(below(root, named)) or "://" in named:
        return named
    path = named.replace("\\", "/")
    with_suffix = os.path.splitext(path)[1].lower() in AUDIO_SUFFIXES
    names = [path] if with_suffix else [f"{path}{suffix}" for suffix in (".wav", ".flac", ".mp3", ".ogg")]
    for folder in _AUDIO_FOLDERS:
        for name in names:
            where = f"{folder}/{name}" if folder and not name.startswith("/") else name
            if is_file(below(root, where)):
                return where
    return path if with_suffix else f"{_AUDIO_FOLDERS[0]}/{names[0]}"


def is_file(path: Place) -> bool:
    """Return True for a file of this machine or of an object store."""
    found = look_once(path)
    return found is not None and not found.is_dir


def text_beside(file: Place) -> str | None:
    """Return the transcript beside a recording, or None if there is none.

    Raises:
        DatasetError: it cannot be read.
    """
    for suffix in TEXT_SUFFIXES:
        beside = file.with_suffix(suffix)
        if is_file(beside):
            return read_text(beside)
    return None


def read_audio(source: Place | bytes, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
    """Read the audio of an item that is a file or a part of one, from its place or its content; see `Source.read`."""
    if not isinstance(source, (bytes, Path)):
        try:
            source = read_bytes(source)
        except FileNotFoundError as problem:
            raise AudioError(f"{item.where}: there is no such object; check its URL") from problem
    return load_audio(source, start=item.start, end=item.end, max_seconds=longest, name=item.where)


def _raise(problem: OSError) -> None:
    raise cannot_read(Path(problem.filename or ""), problem) from problem
