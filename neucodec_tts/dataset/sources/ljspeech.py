"""Folders in the form of LJSpeech: ``metadata.csv`` with lines ``id|text|normalised text``, and ``wavs/id.wav``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from neucodec_tts.audio import AUDIO_SUFFIXES
from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.sources.base import FolderSource
from neucodec_tts.dataset.sources.files import file_item, lines
from neucodec_tts.errors import DatasetError

_AUDIO_FOLDERS = ("wavs", "wav", "audio", "clips", "")


@dataclass(frozen=True)
class LJSpeech(FolderSource):
    """A folder with ``metadata.csv``. The last of the one or two texts in a line counts, which is the normalised one.

    The audio of ``id`` is ``wavs/id.wav``, or what else soundfile reads under that name; ``wav``, ``audio``, ``clips``
    and the folder itself are looked in, too. The id may carry the suffix.
    """

    file: str = "metadata.csv"
    kind: str = field(default="ljspeech", init=False)

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        metadata = self.root / self.file
        for number, line in lines(metadata):
            if not line.strip():
                continue
            columns = line.split("|")
            if not 2 <= len(columns) <= 3 or not columns[0].strip():
                raise DatasetError(
                    f"{metadata}, line {number}: id|text or id|text|normalised text is expected, not {line[:60]!r}; "
                    "mend the line"
                )
            id = columns[0].strip()
            yield file_item(self.root, self._audio(id), id, columns[-1] or columns[1])

    def _audio(self, id: str) -> str:
        with_suffix = Path(id).suffix.lower() in AUDIO_SUFFIXES
        names = [id] if with_suffix else [f"{id}{suffix}" for suffix in (".wav", ".flac", ".mp3", ".ogg")]
        for folder in _AUDIO_FOLDERS:
            for name in names:
                where = f"{folder}/{name}" if folder else name
                if (self.root / where).is_file():
                    return where
        return f"{_AUDIO_FOLDERS[0]}/{names[0]}"  # is not there, which whoever reads it will say
