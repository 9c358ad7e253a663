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

import platformdirs

from neucodec_tts.dataset.folder_lock import locked
from neucodec_tts.dataset.places import Place, forget_listings, list_folder, look, place, reaching
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

    path: Place

    @classmethod
    def at(cls, name: str | os.PathLike[str] | Place) -> DatasetFolder:
        """The folder that a path or a URL names; it need not be there.

        Raises:
            DatasetError: the package for such URLs is not installed.
        """
        return cls(place(name))

    @property
    def manifest(self) -> Place:
        """``manifest.json``; a folder that has it is a data set of ours."""
        return self.path / MANIFEST

    @property
    def rejects(self) -> Place:
        """The items that were left out."""
        return self.path / REJECTS

    @property
    def sources(self) -> Place:
        """The listing of the corpus, one record batch a shard."""
        return self.path / SOURCES

    @property
    def work(self) -> Place:
        """The folder that is there only while the data set is being made."""
        return self.path / _WORK

    @property
    def parts(self) -> Path:
        """The folder of half-written files, on this machine."""
        return self._here / "parts"

    @property
    def _here(self) -> Path:
        """The folder of this machine with the lock: the work folder, if that is one."""
        if isinstance(self.path, Path):
            return self.path / _WORK
        name = hashlib.sha256(str(self.path).encode()).hexdigest()[:16]
        return platformdirs.user_cache_path("neucodec-tts") / "datasets" / name

    def shard_name(self, unit: int, units: int) -> str:
        """Return the path of a shard inside the folder; by it ``datasets`` takes the shard for a part of "train"."""
        return f"{DATA}/train-{unit:05d}-of-{units:05d}.parquet"

    @property
    def records(self) -> Place:
        """The folder of the records."""
        return self.work / "finished"

    def record(self, unit: int) -> Place:
        """The record of a unit of work, which is finished if this is there."""
        return self.records / f"{unit:05d}.json"

    def remove_records(self) -> None:
        """Remove the records of all units, of a data set that is complete."""
        if isinstance(self.records, Path):
            shutil.rmtree(self.records, ignore_errors=True)
            return
        with reaching(self.records), suppress(FileNotFoundError):
            self.records.fs.rm(self.records.path, recursive=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder if it is not there, and keep others out while the block runs.

        Object stores have no locks: of them only runs of this machine are kept out.

        Raises:
            DatasetError: the folder holds something else, cannot be written, or another run is at it.
        """
        self.check_ours()
        made = isinstance(self.path, Path) and not self.path.exists()
        try:
            (self.path if isinstance(self.path, Path) else self._here).mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise cannot_write(self._here, problem, DatasetError) from problem
        try:
            with locked(self._here / "lock", self.path):
                self.check_ours()  # again, now that nobody else writes
                shutil.rmtree(self.parts, ignore_errors=True)  # of a run that was killed
                try:
                    yield
                finally:
                    shutil.rmtree(self.parts, ignore_errors=True)
        finally:
            left = [self.records, self.path] if made else [self.records]
            for folder in (left[0], self._here, *left[1:]):
                if isinstance(folder, Path):
                    with suppress(OSError):
                        folder.rmdir()  # if it is empty

    def check_ours(self) -> None:
        """Refuse a folder that holds something else than a data set.

        Raises:
            DatasetError: it does, or it is no folder.
        """
        found = look(self.path)
        if found is None:
            return
        if not found.is_dir:
            raise DatasetError(f"{self.path} is a file; name a folder for the data set")
        try:
            forget_listings()
            names = sorted({*list_folder(self.path)} - {_WORK})
        except OSError as problem:
            raise DatasetError(
                f"{self.path}: cannot be read ({problem.strerror}); choose a folder you may write to"
            ) from problem
        begun = [SOURCES]  # all that is there of a run that ended before it wrote its manifest
        if names and names != begun and MANIFEST not in names:
            raise DatasetError(
                f"{self.path} holds other files ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''}) and no data "
                "set; choose a new or an empty folder"
            )

    def write(self, target: Place, content: bytes) -> str:
        """Write a file so that it is whole or not there, even if the machine fails; returns its SHA-256.

        Raises:
            DatasetError: it cannot be written: no space, no permission.
        """
        if isinstance(target, Path):
            with self.replacing(target) as part:
                part.write_bytes(content)
        else:
            with _storing(target):
                target.fs.pipe_file(target.path, content)  # there as a whole, or not at all
        return hashlib.sha256(content).hexdigest()

    @staticmethod
    def sha256(path: Place) -> str:
        """Return the SHA-256 of a file, in hexadecimal.

        Raises:
            DatasetError: it cannot be read.
        """
        digest = hashlib.sha256()
        try:
            with reaching(path), path.open("rb") as opened:
                while block := opened.read(2**20):
                    digest.update(block)
        except OSError as problem:
            raise DatasetError(f"{path}: cannot be read ({problem.strerror or problem})") from problem
        return digest.hexdigest()

    def write_json(self, target: Place, values: Any) -> None:
        """Write JSON, equal bytes for equal values; see `write`."""
        text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        self.write(target, text.encode("utf-8", "backslashreplace"))

    @contextmanager
    def replacing(self, target: Place) -> Iterator[Path]:
        """Give a temporary path of this machine; what the block leaves there replaces `target`.

        Raises:
            DatasetError: it cannot be written: no space, no permission.
        """
        if not isinstance(target, Path):
            self.parts.mkdir(parents=True, exist_ok=True)
            local = self.parts / target.name
            yield local
            with _storing(target):
                target.fs.put_file(str(local), target.path)
            local.unlink()
            return
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


@contextmanager
def _storing(target: Place) -> Iterator[None]:
    """Write to an object store.

    Raises:
        StorageError: it cannot be reached, or forbids it.
        DatasetError: there is no such bucket.
    """
    try:
        with reaching(target):
            yield
    except FileNotFoundError as problem:
        raise DatasetError(f"{target}: cannot be written ({problem}); make the bucket first") from problem
