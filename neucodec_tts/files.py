"""Files and folders that appear under their names whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from neucodec_tts.errors import NeuCodecError

Error = type[NeuCodecError]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def atomic_path(
    path: str | os.PathLike[str],
    error: Error = NeuCodecError,
    *,
    within: Path | None = None,
    sync: bool = False,
) -> Iterator[Path]:
    """Give a temporary name in the folder of `path`; rename it to `path` when the block ends well.

    The temporary name ends like `path`, because many writers choose their format by the suffix. Whatever
    ends the block early (an error, Ctrl-C) removes the temporary file and leaves an older `path` as it was.
    A symbolic link is followed: the file it points to is replaced and the link stays.

    Args:
        path: the file to write.
        error: the class of error to raise when it cannot be written.
        within: a folder for the temporary file instead, on the same disk.
        sync: wait until the content is on the disk, so that the file is whole even if the machine fails.

    Raises:
        error: the folder is missing or not writable, the disk is full, or `path` is something else than a plain file.
    """
    temporary, target = _temporary_name(path, error, within)
    try:  # from before there is a file: Ctrl-C may come right after it is made
        try:
            _make(temporary)
            yield temporary
            if sync:
                with open(temporary, "r+b") as opened:  # Windows syncs only what may be written
                    os.fsync(opened.fileno())
            os.replace(temporary, target)
        except NeuCodecError:  # CheckpointError is an OSError, too
            raise
        except OSError as problem:
            raise cannot_write(path, problem, error) from problem
    finally:
        _remove(temporary)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], error: Error = NeuCodecError) -> Iterator[Path]:
    """Give a temporary folder beside `path`; it takes the place of `path` when the block ends well.

    Folders above `path` are made. Whatever ends the block early removes the temporary folder and leaves an older
    `path` as it was.

    Args:
        path: the folder to write.
        error: the class of error to raise when it cannot be written.

    Raises:
        error: the folder above is not writable, the disk is full, or `path` is a file.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise error(f"cannot write {Path(path)}: it is a file; give the name of a folder")
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    old = temporary.with_suffix(".old")
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            with suppress(FileNotFoundError):
                os.replace(target, old)
            os.replace(temporary, target)
        except NeuCodecError:  # CheckpointError is an OSError, too
            raise
        except OSError as problem:
            raise cannot_write(path, problem, error) from problem
    finally:
        if old.exists() and not target.exists():  # stopped between the two renames
            os.replace(old, target)
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


def check_writable(path: str | os.PathLike[str], error: Error = NeuCodecError) -> None:
    """Check that `atomic_path` can write `path`, before long work is done for it. Nothing is left behind.

    Raises:
        error: as for `atomic_path`.
    """
    temporary, _ = _temporary_name(path, error)
    try:
        _make(temporary)
    except OSError as problem:
        raise cannot_write(path, problem, error) from problem
    finally:
        _remove(temporary)


def cannot_write(
    path: str | os.PathLike[str], problem: OSError, error: Error = NeuCodecError
) -> NeuCodecError:
    """Return the error for a file or folder that cannot be written, with the mend."""
    shown, said = Path(path), problem.strerror or problem
    if problem.errno in _FULL:
        return error(f"no space to write {shown} ({said}); make room, and run the same command again")
    folder = Path(os.path.realpath(path)).parent
    if isinstance(problem, FileNotFoundError) and not folder.exists():
        return error(f"cannot write {shown}: the folder {folder} does not exist; make it first (mkdir -p)")
    if isinstance(problem, (NotADirectoryError, FileExistsError)):
        return error(f"cannot write {shown}: a file lies where a folder is needed; choose another folder")
    mend = "; choose a folder you may write to" if problem.errno in _FORBIDDEN else ""
    return error(f"cannot write {shown}: {said}{mend}")


def printable(text: str) -> str:
    """Return text that any stream takes: bytes of a file name that are not UTF-8 become ``\\udc`` and two digits."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def native(path: str | os.PathLike[str]) -> str | bytes:
    """Return a path as libraries in C take it: bytes where its name is not Unicode."""
    name = os.fspath(path)
    return name if printable(name) == name else os.fsencode(name)


def _temporary_name(
    path: str | os.PathLike[str], error: Error, within: Path | None = None
) -> tuple[Path, Path]:
    """Return the name of the temporary file, and the file that it becomes."""
    shown, target = Path(path), Path(os.path.realpath(path))
    if os.path.isdir(target):
        raise error(f"cannot write {shown}: it is a folder; give the name of a file in it")
    if os.path.exists(target) and not os.path.isfile(target):
        # Renaming over a device or a pipe (/dev/null, say) would replace it by a plain file.
        raise error(f"cannot write {shown}: it exists and is not a plain file; give another name")
    stem = printable(target.stem[:100])  # many writers take no name that is not Unicode
    name = f".{stem}.{secrets.token_hex(4)}.part{target.suffix}"
    return (within or target.parent) / name, target


def _remove(temporary: Path) -> None:
    # In a folder without permission, or in a file, it never was.
    with suppress(FileNotFoundError, PermissionError, NotADirectoryError):
        temporary.unlink()


def _make(temporary: Path) -> None:
    """Make the temporary file, before any work is done for it, with the permissions that the umask asks for."""
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
