"""WebDataset's tar shards: files of one name and different endings, one after the other, are an utterance."""

from __future__ import annotations

import glob
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from neucodec_tts.audio import AUDIO_SUFFIXES
from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.places import Place, is_dir, list_folder, look, place, reaching, read_bytes
from neucodec_tts.dataset.sources.columns import Columns
from neucodec_tts.dataset.sources.files import read_audio, stat
from neucodec_tts.dataset.sources.text_files import cannot_read, decode
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
    def root(self) -> Place:
        """The folder of the tars."""
        path = place(self.pattern)
        return path if is_dir(path) else path.parent

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
        try:
            data = read_bytes(self._folder / item.where.partition(":")[0], offset, offset + size)
        except OSError as problem:
            raise AudioError(f"{item.where}: cannot be read ({problem.strerror or problem})") from problem
        if len(data) < size:
            raise AudioError(f"{item.where}: the tar is cut short; copy or download it again")
        return read_audio(data, item, longest)

    @cached_property
    def _folder(self) -> Place:
        return self.root  # an object store is asked once

    def _items_of(self, path: Place) -> Iterator[Item]:
        last: str | None = None
        lost = (
            "not a tar, a damaged or a compressed one ({}). WebDataset's tars are read where the audio lies, so they "
            "must not be compressed: gunzip them first"
        )
        held: list[Item] = []  # the last utterance: where the tar ends within it, it lacks files
        expected: set[str] = set()
        try:
            with reaching(path), path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                lost, complete = "damaged or cut short ({})", True
                for key, members in _groups(tar):
                    yield from held
                    held, complete = [], members.keys() >= expected
                    held = [self._item(tar, path, key + part, own) for part, own in _utterances(members)]
                    last, expected = key, set(members)
                lost = _behind_the_end(file, tar.offset)
                if lost and not complete:
                    problem = f"files of it are missing: {path.name} is {lost}"
                    held = [replace(item, problem=item.problem or problem) for item in held]
        except tarfile.ReadError as error:
            lost = lost.format(error)
        except OSError as error:
            raise cannot_read(path, error) from error
        yield from held
        if lost:
            mend = (
                "" if last is None else f"; what follows {last!r} is not read: mend it or download it again"
            )
            yield Item(path.name, path.name, problem=f"{path}: {lost}{mend}")

    def _item(
        self, tar: tarfile.TarFile, path: Place, key: str, members: Mapping[str, tarfile.TarInfo]
    ) -> Item:
        size, modified = stat(path)
        item = Item(f"{path.stem}/{key}", f"{path.name}:{key}", size=size, modified=modified)
        audio = next((members[each] for each in members if Path(f"x{each}").suffix in AUDIO_SUFFIXES), None)
        if audio is None:
            return replace(item, problem=f"no audio among its files ({', '.join(sorted(members))})")
        item = replace(item, where=f"{path.name}:{audio.name}", locator=f"{audio.offset_data}+{audio.size}")
        text, fields = None, dict[str, Any]()
        try:
            ending = next((each for each in _TEXT if each in members), None)
            if ending is not None:
                text = decode(_content(tar, members[ending]), f"{path.name}:{members[ending].name}")
            if ".json" in members:
                fields = json.loads(_content(tar, members[".json"]))
                if not isinstance(fields, dict):
                    raise ValueError("not an object")
            _, said, speaker = self.columns.find({**fields, "audio": None}, f"{path}, {key}").said(fields)
        except DatasetError as problem:
            return replace(item, text=text, problem=str(problem))
        except ValueError as problem:
            return replace(item, text=text, problem=f"its JSON cannot be read: {problem}")
        return replace(item, text=said if text is None else text, speaker=speaker)


def expand(pattern: str) -> list[Place]:
    """Return the tars that a pattern means: ranges in braces, wildcards, a folder."""
    found = _RANGE.search(pattern)
    if found:
        first, last, width = int(found[1]), int(found[2]), len(found[1])
        names = (
            f"{pattern[: found.start()]}{n:0{width}d}{pattern[found.end() :]}" for n in range(first, last + 1)
        )
        return [path for name in names for path in expand(name)]
    path = place(pattern)
    if is_dir(path):
        return [path / name for name in list_folder(path) if name.endswith(".tar")]
    if look(path) is not None:
        return [path]
    if isinstance(path, Path):
        return sorted(map(Path, glob.glob(pattern)))
    with reaching(path):
        return sorted(path.parent.glob(path.name), key=str)


def _groups(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """Yield each key, and its files by ending. A second file of one ending begins another utterance of that key."""
    key, members = "", dict[str, tarfile.TarInfo]()
    for member in tar:
        its_key, ending = _split(member)
        if not member.isfile() or not its_key:
            continue
        if members and (its_key != key or ending in members):
            yield key, members
            members = {}
        key = its_key
        members[ending] = member
    if members:
        yield key, members


def _behind_the_end(file: IO[bytes], end: int) -> str:
    """Look at what lies where a tar's end mark should be, a block of zeros: tarfile takes anything for the end.

    Returns:
        What is wrong with the tar; empty if nothing is.
    """
    file.seek(end)
    mark = file.read(tarfile.BLOCKSIZE)
    if not mark:
        return "without an end mark: its writer was interrupted, or it is cut short"
    if len(mark) % tarfile.BLOCKSIZE or any(mark):
        return "damaged or cut short"
    while block := file.read(tarfile.RECORDSIZE):
        if any(block):
            return "damaged, or joined by cat; join tars with tar --concatenate"
    return ""


def _utterances(
    members: Mapping[str, tarfile.TarInfo],
) -> Iterator[tuple[str, Mapping[str, tarfile.TarInfo]]]:
    """Divide the files of a key at which several utterances stand, since their names have dots: ``a.1.wav, a.2.wav``.

    Yields:
        What stands between the key and the endings, and the files by ending.
    """
    recordings = [ending for ending in members if Path(f"x{ending}").suffix in AUDIO_SUFFIXES]
    if not recordings or any(ending.count(".") == 1 for ending in recordings):
        yield "", members
        return
    for ending in recordings:
        part = ending[: ending.rindex(".")]
        own = {each[len(part) :]: member for each, member in members.items() if each.startswith(f"{part}.")}
        # What belongs to the key, where there is one recording only.
        yield part, {**members, **own} if len(recordings) == 1 else own


def _split(member: tarfile.TarInfo) -> tuple[str, str]:
    """Return the key of a file and its ending; no key for hidden files, as macOS' ``._`` ones."""
    folder, slash, file = member.name.rpartition("/")
    base, dot, ending = file.partition(".")
    return f"{folder}{slash}{base}" if base else "", f"{dot}{ending}".lower()


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = tar.extractfile(member)
    return opened.read() if opened is not None else b""
