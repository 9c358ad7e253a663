"""One run at a time on one data set."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from neucodec_tts.dataset.packages import needed
from neucodec_tts.dataset.places import Place
from neucodec_tts.errors import DatasetError
from neucodec_tts.files import cannot_write


@contextmanager
def locked(path: Path, shown: Place) -> Iterator[None]:
    """Hold the lock file `path` while the block runs. The file is removed afterwards.

    The lock is the operating system's and ends with the process, however that ends: the file that a killed run leaves
    behind blocks nobody.

    Args:
        path: the lock file; its folder is made.
        shown: the data set's folder, for the message.

    Raises:
        DatasetError: another process holds it, or the file cannot be made.
    """
    filelock = needed("filelock", "dataset")
    holder = path.with_name("running.json")
    lock = filelock.FileLock(path, timeout=0)
    while not lock.is_locked:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except FileNotFoundError:
            continue  # another run has just finished and removed the folder
        except filelock.Timeout as problem:
            raise DatasetError(
                f"{shown} is being written by another run{_describe(holder)}; wait until it has finished, or stop it"
            ) from problem
        except OSError as problem:
            raise cannot_write(path, problem, DatasetError) from problem
    try:
        with suppress(OSError):  # a full disk shows when there is something to lose
            holder.write_text(json.dumps({"process": os.getpid(), "host": socket.gethostname()}))
        yield
    finally:
        for file in (holder, path):  # before it is released: whoever waits for it sees that its name is gone
            with suppress(OSError):
                file.unlink(missing_ok=True)
        lock.release()


def _describe(holder: Path) -> str:
    try:
        values = json.loads(holder.read_text())
        return f" (process {values['process']} on {values['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
