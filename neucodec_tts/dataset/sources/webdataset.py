"""WebDataset's tar shards: files of one name and different endings, one after the other, are an utterance."""

from __future__ import annotations

import glob
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neucodec_tts.audio import AUDIO_SUFFIXES
from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.sources.columns import Columns
from neucodec_tts.dataset.sources.files import read_audio, stat
from neucodec_tts.errors import AudioError, DatasetError

_TEXT = (".txt", ".text", ".lab", ".normalized.txt", ".transcript")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


@dataclass(frozen=True)
class WebDataset:
    """Uncompressed tars. An utterance is called ``TAR/KEY``: keys alone may begin anew in each tar.

    Its text is that of ``KEY.txt``, or of a field of ``KEY.json`` that is called as columns of tables are; so is the
    speaker.
    """

    pattern: str
    """A tar, a folder of tars, or a pattern such as ``shards/train-{0000..0123}.tar`` or ``shards/*.tar``."""
    columns: Columns = field(default_factory=Columns)
    kind: str = field(default="webdataset", init=False)

    @property
    def name(self) -> str:
        """The pattern."""
        return self.pattern

    @property
    def options(self) -> Mapping[str, object]:
        """Fields of the JSON files that were named."""
        return self.columns.options()

    @property
    def root(self) -> Path:
        """The folder of the tars."""
        path = Path(self.pattern)
        return path if path.is_dir() else path.parent

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        paths = expand(self.pattern)
        if not paths:
            raise DatasetError(f"{self.pattern}: there are no such tars; check the path")
        for path in paths:
            yield from self._items_of(path)

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        """See `Source.read`."""
        offset, size = map(int, item.locator.split("+"))
        path = self.root / item.where.partition(":")[0]
        try:
            with open(path, "rb") as opened:
                opened.seek(offset)
                data = opened.read(size)
        except OSError as problem:
            raise AudioError(f"{item.where}: cannot be read ({problem.strerror or problem})") from problem
        if len(data) < size:
            raise AudioError(f"{item.where}: the tar is cut short; copy or download it again")
        return read_audio(data, item, longest)

    def _items_of(self, path: Path) -> Iterator[Item]:
        key, members = "", dict[str, tarfile.TarInfo]()
        size, modified = stat(path)
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if not member.isfile():
                        continue
                    folder, slash, file = member.name.rpartition("/")
                    base, dot, ending = file.partition(".")
                    if not base:  # macOS' ._files, and other hidden ones
                        continue
                    name = f"{folder}{slash}{base}"
                    if name != key:
                        yield from self._item(tar, path, key, members, (size, modified))
                        key, members = name, {}
                    members[f"{dot}{ending}".lower()] = member
                yield from self._item(tar, path, key, members, (size, modified))
        except tarfile.ReadError as problem:
            hint = "WebDataset's tars are read where the audio lies, so they must not be compressed: gunzip them first"
            raise DatasetError(
                f"{path}: not a tar, a damaged or a compressed one ({problem}). {hint}"
            ) from problem
        except OSError as problem:
            raise DatasetError(f"{path}: cannot be read ({problem.strerror or problem})") from problem

    def _item(
        self,
        tar: tarfile.TarFile,
        path: Path,
        key: str,
        members: Mapping[str, tarfile.TarInfo],
        found: tuple[int, int],
    ) -> Iterator[Item]:
        audio = next(
            (m for ending, m in members.items() if Path(f"x{ending}").suffix in AUDIO_SUFFIXES), None
        )
        if not members:
            return
        id = f"{path.stem}/{key}"
        size, modified = found
        if audio is None:
            problem = f"no audio among its files ({', '.join(sorted(members))})"
            yield Item(id, f"{path.name}:{key}", size=size, modified=modified, problem=problem)
            return
        text, fields, problem_found = None, dict[str, Any](), None
        try:
            for ending in _TEXT:
                if ending in members:
                    text = _content(tar, members[ending]).decode("utf-8-sig")
                    break
            if ".json" in members:
                fields = json.loads(_content(tar, members[".json"]))
                if not isinstance(fields, dict):
                    raise ValueError("not an object")
        except ValueError as problem:
            problem_found = f"its text or its JSON cannot be read: {problem}"
            fields = {}
        _, said, speaker = self.columns.find({**fields, "audio": None}, f"{path}, {key}").said(fields)
        yield Item(
            id,
            f"{path.name}:{audio.name}",
            said if text is None else text,
            speaker,
            locator=f"{audio.offset_data}+{audio.size}",
            size=size,
            modified=modified,
            problem=problem_found,
        )


def expand(pattern: str) -> list[Path]:
    """Return the tars that a pattern means: ranges in braces, wildcards, a folder."""
    found = _RANGE.search(pattern)
    if found:
        first, last, width = int(found[1]), int(found[2]), len(found[1])
        names = (
            f"{pattern[: found.start()]}{n:0{width}d}{pattern[found.end() :]}" for n in range(first, last + 1)
        )
        return [path for name in names for path in expand(name)]
    path = Path(pattern)
    if path.is_dir():
        return sorted(path.glob("*.tar"))
    return [path] if path.exists() else sorted(map(Path, glob.glob(pattern)))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = tar.extractfile(member)
    return opened.read() if opened is not None else b""
