"""One run at a time on one data set."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from neucodec_tts.errors import DatasetError


@contextmanager
def locked(path: Path, shown: Path) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; its folder must exist. The file is removed afterwards.

    The lock is the operating system's and ends with the process, however that ends: the file that a killed run leaves
    behind blocks nobody.

    Args:
        path: the lock file.
        shown: what is locked, for the message.

    Raises:
        DatasetError: another process holds it, or the file cannot be made.
    """
    file = _acquire(path, shown)
    try:
        file.seek(0)
        file.truncate()
        file.write(json.dumps({"process": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        yield
    finally:
        path.unlink(missing_ok=True)  # before it is unlocked: whoever gets it then sees that the name is gone
        file.close()


def _acquire(path: Path, shown: Path) -> IO[str]:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - it stays open
        except FileNotFoundError:
            continue  # another run has just finished and removed the folder
        except OSError as problem:
            raise DatasetError(
                f"cannot write into {shown}: {problem.strerror or problem}; choose a folder you may write to"
            ) from problem
        if not _try_lock(file):
            file.seek(0)
            holder = file.read()
            file.close()
            raise DatasetError(
                f"{shown} is being written by another run{_describe(holder)}; wait until it has finished, or stop it"
            )
        try:
            if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:
                return file
        except FileNotFoundError:
            pass
        file.close()  # locked, but the file was removed meanwhile: another run has just finished


def _describe(holder: str) -> str:
    try:
        values = json.loads(holder)
        return f" (process {values['process']} on {values['host']})"
    except (ValueError, KeyError, TypeError):
        return ""


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[str]) -> bool:
        try:
            file.seek(2**20)  # far beyond the content, which others may then still read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(file: IO[str]) -> bool:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
