"""A corpus on which encoders fail."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neucodec_tts.dataset import Item
from neucodec_tts.dataset.places import Place
from neucodec_tts.dataset.sources.folder import AudioFolder
from neucodec_tts.errors import DatasetError


@dataclass(frozen=True)
class Failing:
    """A folder of recordings whose reader is killed at one, and refuses another, the first time each is read."""

    like: AudioFolder
    deadly: str
    refused: str
    marks: Path
    """A folder with an empty file for everything that has happened."""

    @property
    def kind(self) -> str:
        return self.like.kind

    @property
    def root(self) -> Place:
        """Cut off from what is said of its files."""
        return self.like.root

    @property
    def name(self) -> str:
        return self.like.name

    @property
    def options(self) -> Mapping[str, object]:
        return self.like.options

    def items(self) -> Iterator[Item]:
        return self.like.items()

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        mark = self.marks / item.id
        if item.id in (self.deadly, self.refused) and not mark.exists():
            mark.touch()
            if item.id == self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            raise DatasetError("the tape is torn; glue it")
        return self.like.read(item, longest)
