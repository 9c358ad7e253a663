"""A plain folder of recordings, perhaps with a text file beside each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.sources.files import (
    AUDIO_SUFFIXES,
    file_item,
    identifier,
    read_file,
    relative,
    text_beside,
    walk,
)
from neucodec_tts.errors import DatasetError


@dataclass(frozen=True)
class AudioFolder:
    """All recordings in and below a folder. An item's id is its path without the suffix.

    Its text is that of ``NAME.txt``, ``NAME.normalized.txt`` (LibriTTS), ``NAME.original.txt`` or ``NAME.lab``
    beside it.
    """

    root: Path
    kind: str = field(default="folder", init=False)

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    @property
    def options(self) -> Mapping[str, object]:
        """None."""
        return {}

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

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        """See `Source.read`."""
        return read_file(self.root / item.where, item, longest)
