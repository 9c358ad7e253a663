"""Places of files: paths of this machine, and URLs of object stores, which ``fsspec`` reads and writes.

A place is a `pathlib.Path` or an object of ``universal_pathlib`` that does the same. What an object store raises
becomes an error of ours here: nobody may take a network that is away for a file that is not there.
"""

from __future__ import annotations

import importlib.util
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from neucodec_tts.dataset.packages import needed
from neucodec_tts.errors import DatasetError, NeuCodecError, StorageError

if TYPE_CHECKING:
    from upath import UPath

Place: TypeAlias = "Path | UPath"

_DRIVERS = {
    "s3": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
    "hf": ("huggingface_hub", "dataset"),
}
"""The package that each kind of URL needs, and the extra that brings it."""
_RIGHTS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and look at the rights of that user",
    "gs": "run `gcloud auth application-default login`, and look at the rights of that user",
    "hf": "run `hf auth login`, and look at the rights of that user",
}


class Entry(NamedTuple):
    """A file or a folder."""

    is_dir: bool
    size: int
    """Bytes; -1 where it does not say."""
    modified: int
    """Time of the last change, in ns since the epoch; -1 where it does not say."""


def place(name: str | os.PathLike[str] | Place) -> Place:
    """Return the place that a path or a URL (``s3://bucket/folder``) means.

    Raises:
        DatasetError: the package for such URLs is not installed, or there are no such URLs.
    """
    if not isinstance(name, str):
        return Path(name) if isinstance(name, (Path, os.PathLike)) else name
    scheme, separator, _ = name.partition("://")
    if not separator:
        return Path(name)
    package, extra = _DRIVERS.get(scheme, ("fsspec", "dataset"))
    if importlib.util.find_spec(package) is None:
        raise DatasetError(f"{name}: this needs {package}: pip install 'neucodec-tts[{extra}]'")
    upath = needed("upath", "dataset")
    try:
        # fsspec's own memory of listings does not see what others write.
        found: UPath = upath.UPath(name, use_listings_cache=False)
        found.fs  # noqa: B018 - made here, so that its errors are
    except Exception as problem:
        raise DatasetError(
            f"{name}: such a URL cannot be opened ({type(problem).__name__}: {problem})"
        ) from problem
    return found


def is_remote(place: Place) -> bool:
    """Return True for what lies in an object store."""
    return not isinstance(place, Path)


def is_dir(there: Place) -> bool:
    """Return True for a folder of this machine, or one of an object store.

    Raises:
        StorageError: the object store cannot be asked.
    """
    found = look(there)
    return found is not None and found.is_dir


def below(root: Place, name: str) -> Place:
    """Return the place of a file that is named by a path relative to `root`, an absolute one, or a URL."""
    return place(name) if "://" in name else root / name


@contextmanager
def reaching(there: Place) -> Iterator[None]:
    """Turn the errors of an object store into ours, but for that of a file that is not there.

    Raises:
        StorageError: it cannot be reached, or forbids this.
    """
    try:
        yield
    except (NeuCodecError, FileNotFoundError, ValueError, tarfile.TarError):  # what is there is no such file
        raise
    except Exception as problem:
        if not is_remote(there):
            raise
        raise _unreachable(there, problem) from problem


def _unreachable(there: Place, problem: Exception) -> StorageError:
    said = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
    scheme = str(there).partition("://")[0]
    if isinstance(problem, PermissionError) or "Credentials" in type(problem).__name__:
        mend = _RIGHTS.get(scheme, "look at your rights")
        return StorageError(f"{there}: no right to do this ({said}); {mend}")
    return StorageError(
        f"{there}: cannot be reached ({said}); when it can, run the same command again: finished shards are kept"
    )


def look(there: Place) -> Entry | None:
    """Return what is at a place; None if nothing is.

    Raises:
        StorageError: the object store cannot be asked.
    """
    if isinstance(there, Path):
        try:
            found = os.stat(there)
        except (OSError, ValueError):  # ValueError: a name that no file can have
            return None
        return Entry(stat.S_ISDIR(found.st_mode), found.st_size, found.st_mtime_ns)
    with reaching(there):
        try:
            return _entry(there)
        except FileNotFoundError:
            return None


def look_once(there: Place) -> Entry | None:
    """As `look`, by one listing of the folder that it is in; `forget_listings` lets it look again.

    Raises:
        StorageError: the object store cannot be asked.
    """
    if isinstance(there, Path):
        return look(there)
    return _listing(there.parent).get(there.name)


def list_folder(there: Place) -> list[str]:
    """Return the names of the files and folders in a folder, sorted.

    Raises:
        FileNotFoundError, OSError: as `os.listdir`, for a path of this machine.
        StorageError: the object store cannot be asked.
    """
    return sorted(os.listdir(there) if isinstance(there, Path) else _listing(there))


def forget_listings() -> None:
    """Look at object stores anew: what they hold may have changed since the last run."""
    _listing.cache_clear()


@lru_cache(maxsize=4)
def _listing(folder: UPath) -> Mapping[str, Entry]:
    with reaching(folder):
        try:
            found = folder.fs.ls(folder.path, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
    entries = {}
    for info in found:
        name = info["name"].rstrip("/").rpartition("/")[2]
        entries[name] = _described(info)
    return entries


def _entry(there: UPath) -> Entry:
    return _described(there.fs.info(there.path))


def _described(info: Mapping[str, object]) -> Entry:
    from upath.core import UPathStatResult

    found = UPathStatResult.from_info(dict(info))
    return Entry(info["type"] == "directory", found.st_size, int(found.st_mtime * 1e9) or -1)


def walk_folders(root: UPath) -> Iterator[tuple[UPath, list[str], list[str]]]:
    """Walk down an object store as `os.walk` does: each folder, and the names of its folders and files.

    Raises:
        StorageError: the object store cannot be asked.
    """
    entries = _listing(root)
    folders = [name for name, entry in entries.items() if entry.is_dir]
    yield root, folders, [name for name, entry in entries.items() if not entry.is_dir]
    for name in folders:
        yield from walk_folders(root / name)


def read_bytes(there: Place, start: int | None = None, end: int | None = None) -> bytes:
    """Read a file, or the bytes from `start` to `end` of one.

    Raises:
        OSError: it is not there, or cannot be read.
        StorageError: the object store cannot be reached, or forbids it.
    """
    if isinstance(there, Path):
        with open(there, "rb") as opened:
            opened.seek(start or 0)
            return opened.read() if end is None else opened.read(end - (start or 0))
    with reaching(there):
        found: bytes = there.fs.cat_file(there.path, start=start, end=end)
        return found


@contextmanager
def local_copy(there: Place) -> Iterator[Path]:
    """Give a file of this machine with the content of another, while the block runs.

    Raises:
        FileNotFoundError: it is not there.
        StorageError: the object store cannot be reached, or forbids it.
    """
    if isinstance(there, Path):
        yield there
        return
    with tempfile.TemporaryDirectory(prefix="neucodec-tts-") as folder:
        copy = Path(folder) / there.name
        with reaching(there):
            there.fs.get_file(there.path, str(copy))
        yield copy
