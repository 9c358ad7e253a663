"""Kaldi's data folders: ``wav.scp``, and perhaps ``segments``, ``text`` and ``utt2spk``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.sources.base import FolderSource
from neucodec_tts.dataset.sources.files import file_item, lines
from neucodec_tts.errors import DatasetError


@dataclass(frozen=True)
class KaldiFolder(FolderSource):
    """A data folder. Its tables are held in memory.

    Paths in ``wav.scp`` are relative to the data folder. Commands (lines that end in ``|``) are not run.
    """

    kind: str = field(default="kaldi", init=False)

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        recordings = {name: self._path(rest, number) for number, name, rest in self._table("wav.scp")}
        texts = {name: rest for _, name, rest in self._table("text")}
        speakers = {name: rest.strip() for _, name, rest in self._table("utt2spk")}
        found = set()
        if (self.root / "segments").is_file():
            for number, name, rest in self._table("segments"):
                recording, start, end = self._segment(rest, number)
                found.add(name)
                if recording in recordings:
                    yield file_item(
                        self.root,
                        recordings[recording],
                        name,
                        texts.get(name),
                        speakers.get(name),
                        start,
                        end,
                    )
                else:
                    problem = f"its recording {recording} is not in wav.scp"
                    yield Item(name, recording, texts.get(name), speakers.get(name), problem=problem)
        else:
            for name, where in recordings.items():
                found.add(name)
                yield file_item(self.root, where, name, texts.get(name), speakers.get(name))
        for name in texts:
            if name not in found:
                yield Item(
                    name, "text", texts[name], speakers.get(name), problem="there is no recording of it"
                )

    def _table(self, name: str) -> Iterator[tuple[int, str, str]]:
        """Line number, first word, and the rest of each line; nothing if there is no such file."""
        path = self.root / name
        if name != "wav.scp" and not path.is_file():
            return
        for number, line in lines(path):
            words = line.strip().split(maxsplit=1)
            if len(words) == 2:
                yield number, words[0], words[1]
            elif words and name != "text":
                raise DatasetError(f"{path}, line {number}: nothing after {words[0]!r}; mend the line")
            elif words:
                yield number, words[0], ""

    def _path(self, rest: str, number: int) -> str:
        where = rest.strip()
        if where.endswith("|"):
            raise DatasetError(
                f"{self.root / 'wav.scp'}, line {number}: a command, {where[:60]!r}, which is not run; convert the "
                "recordings to files (wav-copy) and list those"
            )
        return where

    def _segment(self, rest: str, number: int) -> tuple[str, float, float | None]:
        words = rest.split()
        try:
            recording, start, end = words[0], float(words[1]), float(words[2])
            if not (math.isfinite(start) and math.isfinite(end)) or start < 0:
                raise ValueError
        except (IndexError, ValueError) as problem:
            raise DatasetError(
                f"{self.root / 'segments'}, line {number}: the recording, the start and the end in seconds are "
                f"expected after the utterance, not {rest[:60]!r}; mend the line"
            ) from problem
        return recording, start, None if end < 0 else end  # Kaldi's -1 is the end of the recording
