"""A plain folder of recordings, perhaps with a text file beside each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from neucodec_tts.audio import AUDIO_SUFFIXES
from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.places import is_dir
from neucodec_tts.dataset.sources.base import FolderSource
from neucodec_tts.dataset.sources.files import file_item, identifier, is_file, relative, text_beside, walk
from neucodec_tts.dataset.sources.text_files import read_text
from neucodec_tts.errors import DatasetError


@dataclass(frozen=True)
class AudioFolder(FolderSource):
    """All recordings in and below a folder. An item's id is its path without the suffix.

    Its text is that of ``NAME.txt``, ``NAME.normalized.txt`` (LibriTTS), ``NAME.original.txt`` or ``NAME.lab``
    beside it. Without one it is that of VCTK, in ``txt/SPEAKER/NAME.txt`` for ``wav48/SPEAKER/NAME.wav``.
    """

    kind: str = field(default="folder", init=False)

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        has_texts_apart = is_dir(self.root / "txt")
        for file in walk(self.root, AUDIO_SUFFIXES):
            text, speaker, problem = None, None, None
            where = relative(self.root, file)
            try:
                text = text_beside(file)
                if text is None and has_texts_apart:
                    text, speaker = self._apart(where)
            except DatasetError as error:
                problem = str(error)
            item = file_item(self.root, where, identifier(self.root, file), text, speaker)
            yield replace(item, problem=problem)

    def _apart(self, where: str) -> tuple[str | None, str | None]:
        """Text and speaker in the form of VCTK, whose recordings by two microphones share a text."""
        parts = where.split("/")
        if len(parts) != 3:
            return None, None
        name = re.sub(r"_mic\d$", "", parts[2].rpartition(".")[0])
        file = self.root / "txt" / parts[1] / f"{name}.txt"
        return (read_text(file), parts[1]) if is_file(file) else (None, None)
