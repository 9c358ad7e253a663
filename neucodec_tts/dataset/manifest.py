"""``manifest.json``: the description of a data set, with a checksum of each of its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from neucodec_tts.dataset.folder import DatasetFolder
from neucodec_tts.dataset.places import read_bytes
from neucodec_tts.errors import DatasetError

FORMAT, VERSION = "neucodec-tts-dataset", 1


@dataclass(frozen=True)
class ShardEntry:
    """The description of one shard."""

    file: str
    """Path inside the data set."""
    bytes: int
    sha256: str
    rows: int
    frames: int
    seconds: float
    content: str
    """`shards.content_sum` of its rows, in hexadecimal."""
    untokenized: int | None = None
    """Rows whose text makes no training example; None if the data set has no token ids."""


@dataclass(frozen=True)
class DatasetManifest:
    """The description of a data set. It is written when the data set is begun, and again when it is complete."""

    complete: bool
    codec: Mapping[str, Any]
    settings: Mapping[str, Any]
    source: Mapping[str, Any]
    """kind, options, items, units, and the digest of the listing."""
    tokens: Mapping[str, Any] | None = None
    rows: int = 0
    frames: int = 0
    seconds: float = 0.0
    content: str = ""
    """`shards.content_sum` of all rows, in hexadecimal."""
    rejects: Mapping[str, int] = field(default_factory=dict)
    """Items left out, by reason."""
    rejects_sha256: str = ""
    shards: tuple[ShardEntry, ...] = ()

    @property
    def tokens_pending(self) -> bool:
        """True if adding tokens was interrupted: some shards have them and others do not."""
        return self.tokens is not None and any(shard.untokenized is None for shard in self.shards)

    @property
    def hours(self) -> float:
        """Hours of speech."""
        return self.seconds / 3600

    def write(self, folder: DatasetFolder) -> None:
        """Write ``manifest.json``.

        Raises:
            DatasetError: it cannot be written.
        """
        values = {"format": FORMAT, "version": VERSION, **asdict(self)}
        folder.write_json(folder.manifest, values)


def read_manifest(folder: DatasetFolder) -> DatasetManifest:
    """Read ``manifest.json``.

    Raises:
        DatasetError: the folder holds no data set of ours, or one of another version.
    """
    path = folder.manifest
    try:
        values = json.loads(read_bytes(path))
    except FileNotFoundError as problem:
        raise DatasetError(
            f"{folder.path} holds no data set ({path.name} is missing); `neucodec-tts prepare` makes one"
        ) from problem
    except (OSError, ValueError) as problem:
        raise DatasetError(f"{path}: cannot be read ({problem})") from problem
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise DatasetError(f"{path}: not the manifest of a data set of neucodec-tts; choose another folder")
    version = values.pop("version", None)
    if version != VERSION:
        raise DatasetError(
            f"{path}: in version {version} of the format, and this release reads version {VERSION}; install a newer "
            "neucodec-tts"
        )
    try:
        shards = tuple(ShardEntry(**entry) for entry in values.pop("shards"))
        return DatasetManifest(**values, shards=shards)
    except (TypeError, KeyError) as problem:
        raise DatasetError(f"{path}: damaged ({problem})") from problem
