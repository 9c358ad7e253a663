"""Kaldi's data folders: ``wav.scp``, and perhaps ``segments``, ``text`` and ``utt2spk``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.sources.base import FolderSource
from neucodec_tts.dataset.sources.files import file_item, is_file
from neucodec_tts.dataset.sources.text_files import lines

_IN_ARCHIVE = re.compile(r"\.ark:\d+$")


@dataclass(frozen=True)
class KaldiFolder(FolderSource):
    """A data folder. Its tables are held in memory.

    Paths in ``wav.scp`` are relative to the data folder. Commands (lines that end in ``|``) are not run.
    """

    kind: str = field(default="kaldi", init=False)

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        recordings: dict[str, str] = {}
        found = set()
        for place, name, rest in self._table("wav.scp"):
            if name in recordings and recordings[name] != rest:
                yield self._bad(
                    place, name, f"{name!r} was listed before with another recording; mend the line"
                )
            elif not rest:
                found.add(name)
                yield self._bad(place, name, f"nothing after {name!r}; mend the line")
            elif rest.endswith("|") or _IN_ARCHIVE.search(rest):
                found.add(name)
                what = "a command, {}, which is not run" if rest.endswith("|") else "a part of an archive, {}"
                yield self._bad(
                    place,
                    name,
                    f"{what.format(repr(rest[:60]))}; convert the recordings to files (wav-copy) and list those",
                )
            else:
                recordings[name] = rest
        texts: dict[str, str] = {}
        unclear: set[str] = set()
        for _, name, rest in self._table("text"):
            if texts.setdefault(name, rest) != rest:
                unclear.add(name)
        speakers = {name: rest for _, name, rest in self._table("utt2spk") if rest}
        if is_file(self.root / "segments"):
            for place, name, rest in self._table("segments"):
                found.add(name)
                try:
                    recording, start, end = _segment(rest)
                except (IndexError, ValueError):
                    yield self._bad(
                        place,
                        name,
                        "the recording, the start and the end in seconds are expected after the utterance, not "
                        f"{rest[:60]!r}; mend the line",
                    )
                    continue
                text, speaker = texts.get(name), speakers.get(name)
                if name in unclear:
                    yield self._bad("text", name, f"{name!r} has two texts; leave one of them")
                elif recording in recordings:
                    yield file_item(self.root, recordings[recording], name, text, speaker, start, end)
                else:
                    problem = f"its recording {recording} is not in wav.scp, or cannot be read from there"
                    yield Item(name, recording, text, speaker, problem=problem)
        else:
            for name, where in recordings.items():
                found.add(name)
                if name in unclear:
                    yield self._bad("text", name, f"{name!r} has two texts; leave one of them")
                    continue
                yield file_item(self.root, where, name, texts.get(name), speakers.get(name))
        for name in texts:
            if name not in found:
                yield Item(
                    name, "text", texts[name], speakers.get(name), problem="there is no recording of it"
                )

    def _table(self, name: str) -> Iterator[tuple[str, str, str]]:
        """Place, first word, and the rest of each line; nothing if there is no such file."""
        path = self.root / name
        if name != "wav.scp" and not is_file(path):
            return
        for number, line in lines(path):
            words = line.strip().split(maxsplit=1)
            if words:
                yield f"{name}, line {number}", words[0], words[1].strip() if len(words) == 2 else ""

    def _bad(self, place: str, name: str, problem: str) -> Item:
        return Item(name, place, problem=f"{self.root / place}: {problem}")


def _segment(rest: str) -> tuple[str, float, float | None]:
    """Return a recording, and the beginning and the end of a part of it.

    Raises:
        ValueError, IndexError: they are not there.
    """
    words = rest.split()
    recording, start, end = words[0], float(words[1]), float(words[2])
    if not (math.isfinite(start) and math.isfinite(end)) or start < 0:
        raise ValueError
    return recording, start, None if end < 0 else end  # Kaldi's -1 is the end of the recording
