"""Corpora with things in common: folders of audio files, and tables that list utterances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.places import Place, below, is_dir
from neucodec_tts.dataset.sources.columns import Columns
from neucodec_tts.dataset.sources.files import read_audio


@dataclass(frozen=True)
class FolderSource:
    """A corpus whose items are audio files, or parts of them, in and below one folder."""

    root: Place

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    @property
    def options(self) -> Mapping[str, object]:
        """None."""
        return {}

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        """See `Source.read`."""
        return read_audio(below(self.root, item.where), item, longest)


@dataclass(frozen=True)
class ListedSource:
    """A corpus listed in a file, or in the files of a folder, with columns. Paths there are relative to `root`."""

    path: Place
    columns: Columns = field(default_factory=Columns)
    audio_root: Place | None = None

    @property
    def name(self) -> str:
        """The file or folder."""
        return str(self.path)

    @property
    def options(self) -> Mapping[str, object]:
        """Columns that were named, and the folder that paths are relative to, if it was named."""
        moved = {} if self.audio_root is None else {"audio_root": str(self.audio_root)}
        return {**self.columns.options(), **moved}

    @property
    def folder(self) -> Place:
        """The folder of the files."""
        return self.path if is_dir(self.path) else self.path.parent

    @property
    def root(self) -> Place:
        """The folder that paths are relative to: that of the files, if no other was named."""
        return self.folder if self.audio_root is None else self.audio_root

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        """See `Source.read`."""
        return read_audio(below(self.root, item.where), item, longest)
