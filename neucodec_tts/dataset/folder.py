"""The folder of a data set: the places of its files, and writing each whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neucodec_tts.dataset.folder_lock import locked
from neucodec_tts.errors import DatasetError
from neucodec_tts.files import atomic_path, cannot_write

MANIFEST = "manifest.json"
REJECTS = "rejects.parquet"
SOURCES = "sources.arrow"
DATA = "data"
_WORK = ".neucodec-tts"


@dataclass(frozen=True)
class DatasetFolder:
    """The files of a data set; `neucodec_tts.dataset` says what is in them."""

    path: Path

    @property
    def manifest(self) -> Path:
        """``manifest.json``; a folder that has it is a data set of ours."""
        return self.path / MANIFEST

    @property
    def rejects(self) -> Path:
        """The items that were left out."""
        return self.path / REJECTS

    @property
    def sources(self) -> Path:
        """The listing of the corpus, one record batch a shard."""
        return self.path / SOURCES

    @property
    def work(self) -> Path:
        """The folder that is there only while the data set is being made."""
        return self.path / _WORK

    @property
    def parts(self) -> Path:
        """The folder of half-written files."""
        return self.work / "parts"

    def shard_name(self, unit: int, units: int) -> str:
        """Return the path of a shard inside the folder; by it ``datasets`` takes the shard for a part of "train"."""
        return f"{DATA}/train-{unit:05d}-of-{units:05d}.parquet"

    def record(self, unit: int) -> Path:
        """The record of a unit of work, which is finished if this is there."""
        return self.work / "finished" / f"{unit:05d}.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder if it is not there, and keep others out while the block runs.

        Raises:
            DatasetError: the folder holds something else, cannot be written, or another run is at it.
        """
        self.check_ours()
        made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise cannot_write(self.path, problem, DatasetError) from problem
        try:
            with locked(self.work / "lock", self.path):
                self.check_ours()  # again, now that nobody else writes
                shutil.rmtree(self.parts, ignore_errors=True)  # of a run that was killed
                try:
                    yield
                finally:
                    shutil.rmtree(self.parts, ignore_errors=True)
        finally:
            for folder in (self.work / "finished", self.work, *([self.path] if made else [])):
                with suppress(OSError):
                    folder.rmdir()  # if it is empty

    def check_ours(self) -> None:
        """Refuse a folder that holds something else than a data set.

        Raises:
            DatasetError: it does, or it is no folder.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise DatasetError(f"{self.path} is a file; name a folder for the data set")
        try:
            names = sorted(set(os.listdir(self.path)) - {_WORK})
        except OSError as problem:
            raise DatasetError(
                f"{self.path}: cannot be read ({problem.strerror}); choose a folder you may write to"
            ) from problem
        if names and not self.manifest.is_file():
            raise DatasetError(
                f"{self.path} holds other files ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''}) and no data "
                "set; choose a new or an empty folder"
            )

    def write(self, target: Path, content: bytes) -> str:
        """Write a file so that it is whole or not there, even if the machine fails; returns its SHA-256.

        Raises:
            DatasetError: it cannot be written: no space, no permission.
        """
        with self.replacing(target) as part:
            part.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    @staticmethod
    def sha256(path: Path) -> str:
        """Return the SHA-256 of a file, in hexadecimal.

        Raises:
            DatasetError: it cannot be read.
        """
        digest = hashlib.sha256()
        try:
            with open(path, "rb") as opened:
                while block := opened.read(2**20):
                    digest.update(block)
        except OSError as problem:
            raise DatasetError(f"{path}: cannot be read ({problem.strerror or problem})") from problem
        return digest.hexdigest()

    def write_json(self, target: Path, values: Any) -> None:
        """Write JSON, equal bytes for equal values; see `write`."""
        text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        self.write(target, text.encode("utf-8", "backslashreplace"))

    @contextmanager
    def replacing(self, target: Path) -> Iterator[Path]:
        """Give a temporary path; what the block leaves there replaces `target`.

        Raises:
            DatasetError: it cannot be written: no space, no permission.
        """
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise cannot_write(target, problem, DatasetError) from problem
        try:
            with atomic_path(target, DatasetError, within=self.parts, sync=True) as part:
                yield part
        except DatasetError as problem:
            if isinstance(problem.__cause__, OSError):
                raise DatasetError(f"{problem}: finished shards are kept") from problem.__cause__
            raise
