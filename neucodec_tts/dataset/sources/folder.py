"""A plain folder of recordings, perhaps with a text file beside each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from neucodec_tts.audio import AUDIO_SUFFIXES
from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.sources.base import FolderSource
from neucodec_tts.dataset.sources.files import file_item, identifier, relative, text_beside, walk
from neucodec_tts.errors import DatasetError


@dataclass(frozen=True)
class AudioFolder(FolderSource):
    """All recordings in and below a folder. An item's id is its path without the suffix.

    Its text is that of ``NAME.txt``, ``NAME.normalized.txt`` (LibriTTS), ``NAME.original.txt`` or ``NAME.lab``
    beside it.
    """

    kind: str = field(default="folder", init=False)

    def items(self) -> Iterator[Item]:
        """See `Source.items`."""
        for file in walk(self.root, AUDIO_SUFFIXES):
            text, problem = None, None
            try:
                text = text_beside(file)
            except DatasetError as error:
                problem = str(error)
            item = file_item(self.root, relative(self.root, file), identifier(self.root, file), text)
            yield replace(item, problem=problem)
