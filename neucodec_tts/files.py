"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from neucodec_tts.errors import NeuCodecError


@contextmanager
def atomic_path(path: str | os.PathLike[str], error: type[NeuCodecError] = NeuCodecError) -> Iterator[Path]:
    """Give a temporary name in the folder of `path`; rename it to `path` when the block ends well.

    The temporary name ends like `path`, because many writers choose their format by the suffix. Whatever
    ends the block early (an error, Ctrl-C) removes the temporary file and leaves an older `path` as it was.
    A symbolic link is followed, so the file it points to is replaced and not the link.

    Args:
        path: the file to write.
        error: the class of error to raise when it cannot be written there.

    Raises:
        error: the folder is missing or not writable, or `path` is something other than a plain file.
    """
    temporary, target = _temporary_name(path, error)
    try:  # from before there is a file: Ctrl-C may come right after it is made
        _make(temporary, path, error)
        yield temporary
        try:
            os.replace(temporary, target)
        except OSError as problem:
            raise error(f"cannot write {Path(path)}: {problem.strerror or problem}") from problem
    finally:
        _remove(temporary)


def check_writable(path: str | os.PathLike[str], error: type[NeuCodecError] = NeuCodecError) -> None:
    """Check that `atomic_path` can write `path`, before long work is done for it. Nothing is left behind.

    Raises:
        error: as for `atomic_path`.
    """
    temporary, _ = _temporary_name(path, error)
    try:
        _make(temporary, path, error)
    finally:
        _remove(temporary)


def _temporary_name(path: str | os.PathLike[str], error: type[NeuCodecError]) -> tuple[Path, Path]:
    """The name of the temporary file of `atomic_path`, and the file that it will become."""
    shown, target = Path(path), Path(os.path.realpath(path))
    if os.path.isdir(target):
        raise error(f"cannot write {shown}: it is a folder; give the name of a file in it")
    if os.path.exists(target) and not os.path.isfile(target):
        # Renaming over a device or a pipe (/dev/null, say) would replace it by a plain file.
        raise error(f"cannot write {shown}: it exists and is not a plain file; give another name")
    name = f".{target.stem[:100]}.{secrets.token_hex(4)}.part{target.suffix}"
    return target.parent / name, target


def _remove(temporary: Path) -> None:
    """Remove the temporary file, if it is there: in a folder without permission it never was."""
    with suppress(FileNotFoundError, PermissionError):
        temporary.unlink()


def _make(temporary: Path, path: str | os.PathLike[str], error: type[NeuCodecError]) -> None:
    """Make the temporary file of `atomic_path`.

    Made before anything is written, so that a folder without permission is found before any work, and so that the
    file gets the permissions the user's umask asks for.
    """
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileNotFoundError as problem:
        raise error(
            f"cannot write {Path(path)}: the folder {temporary.parent} does not exist; make it first (mkdir -p)"
        ) from problem
    except OSError as problem:
        raise error(
            f"cannot write {Path(path)}: {problem.strerror or problem}; choose a folder you may write to"
        ) from problem
