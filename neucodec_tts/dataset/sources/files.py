"""Files of a corpus: finding them, and reading their audio and the texts beside them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from neucodec_tts.audio import AUDIO_SUFFIXES, load_audio
from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.sources.text_files import cannot_read, read_text

TEXT_SUFFIXES = (".txt", ".normalized.txt", ".original.txt", ".lab")
"""Endings of the transcript beside a recording; the first that is there counts."""


_AUDIO_FOLDERS = ("wavs", "wav", "audio", "clips", "")


def walk(root: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Find files below `root` that end in one of `suffixes`, in a fixed order, without hidden ones."""
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_raise):
        found = os.stat(folder)
        if (found.st_dev, found.st_ino) in seen:  # a link to a folder above it would never end
            subfolders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in suffixes and not name.startswith("."):
                yield Path(folder, name)


def file_item(
    root: Path,
    where: str,
    id: str,
    text: str | None,
    speaker: str | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> Item:
    """Return an item in a file of its own, or in a part of one; `where` is relative to `root`, or absolute."""
    size, modified = stat(root / where)
    return Item(id, where, text, speaker, start, end, size=size, modified=modified)


def stat(path: Path) -> tuple[int, int]:
    """Return the bytes of a file, and the time of the last change in ns; -1 twice if the file cannot be looked at."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return -1, -1
    return found.st_size, found.st_mtime_ns


def identifier(root: Path, file: Path) -> str:
    """Return the path of a recording below `root`, without its suffix, with slashes on every system."""
    return str(PurePosixPath(file.relative_to(root).with_suffix("")))


def relative(root: Path, file: Path) -> str:
    """Return the path of a file below `root`, with slashes on every system."""
    return file.relative_to(root).as_posix()


def find_recording(root: Path, named: str) -> str:
    """Return the path of a recording, relative to `root` or absolute, as a list of recordings names it.

    Where there is no such file, backslashes count as slashes, the folders are looked in that corpora use, and an audio
    suffix is added if there is none. A file that is not found keeps its name: whoever reads it says so.
    """
    if _is_file(root / named):
        return named
    path = named.replace("\\", "/")
    with_suffix = os.path.splitext(path)[1].lower() in AUDIO_SUFFIXES
    names = [path] if with_suffix else [f"{path}{suffix}" for suffix in (".wav", ".flac", ".mp3", ".ogg")]
    for folder in _AUDIO_FOLDERS:
        for name in names:
            where = f"{folder}/{name}" if folder and not name.startswith("/") else name
            if _is_file(root / where):
                return where
    return path if with_suffix else f"{_AUDIO_FOLDERS[0]}/{names[0]}"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def text_beside(file: Path) -> str | None:
    """Return the transcript beside a recording, or None if there is none.

    Raises:
        DatasetError: it cannot be read.
    """
    for suffix in TEXT_SUFFIXES:
        beside = file.with_suffix(suffix)
        if beside.is_file():
            return read_text(beside)
    return None


def read_audio(source: Path | bytes, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
    """Read the audio of an item that is a file or a part of one, from its path or its content; see `Source.read`."""
    return load_audio(source, start=item.start, end=item.end, max_seconds=longest, name=item.where)


def _raise(problem: OSError) -> None:
    raise cannot_read(Path(problem.filename or ""), problem) from problem
