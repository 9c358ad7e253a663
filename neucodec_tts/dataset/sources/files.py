"""Files of a corpus: finding them, and reading audio and text."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from neucodec_tts.audio import load_audio
from neucodec_tts.dataset.items import Item
from neucodec_tts.errors import DatasetError

TEXT_SUFFIXES = (".txt", ".normalized.txt", ".original.txt", ".lab")
"""Endings of the transcript beside a recording; the first that is there counts."""


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


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises:
        DatasetError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise DatasetError(
            f"{path}: not in UTF-8 (byte {problem.start}); convert it, as with: iconv -f latin1 -t utf-8"
        ) from problem
    except OSError as problem:
        raise cannot_read(path, problem) from problem


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the content of each line of a text file in UTF-8, without its end.

    Raises:
        DatasetError: it cannot be read, or a line is not UTF-8.
    """
    try:
        with open(path, "rb") as opened:
            for number, raw in enumerate(opened, start=1):
                try:
                    yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as problem:
                    raise DatasetError(
                        f"{path}, line {number}: not in UTF-8 (byte {problem.start} of the line); convert the file, as "
                        "with: iconv -f latin1 -t utf-8"
                    ) from problem
    except OSError as problem:
        raise cannot_read(path, problem) from problem


def cannot_read(path: Path, problem: OSError) -> DatasetError:
    """Return the error for a file of the corpus, other than audio, that cannot be read."""
    return DatasetError(f"{path}: cannot be read ({problem.strerror or problem}); mend its path or its mode")


def read_audio(source: Path | bytes, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
    """Read the audio of an item that is a file or a part of one, from its path or its content; see `Source.read`."""
    return load_audio(source, start=item.start, end=item.end, max_seconds=longest, name=item.where)


def _raise(problem: OSError) -> None:
    raise cannot_read(Path(problem.filename or ""), problem) from problem
