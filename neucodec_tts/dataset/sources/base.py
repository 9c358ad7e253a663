"""What corpora that are folders of audio files have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neucodec_tts.dataset.items import Item
from neucodec_tts.dataset.sources.files import read_file


@dataclass(frozen=True)
class FolderSource:
    """A corpus whose items are audio files, or parts of them, in and below one folder."""

    root: Path

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
        return read_file(self.root / item.where, item, longest)
