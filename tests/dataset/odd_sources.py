"""Corpora that do what they must not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neucodec_tts.dataset import Item
from neucodec_tts.dataset.sources.folder import AudioFolder


@dataclass(frozen=True)
class DeadlyFolder(AudioFolder):
    """While a file called ``poison`` lies beside it, whoever reads its fifth recording dies."""

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        if item.id == "04" and (self.root.parent / "poison").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(item, longest)


@dataclass(frozen=True)
class BrokenFolder(AudioFolder):
    """Has a bug."""

    error: type[Exception] = ZeroDivisionError

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        raise self.error("a bug in somebody's source")


@dataclass(frozen=True)
class ItemList:
    """Items as given."""

    root: Path
    listed: tuple[Item, ...]
    kind: str = "list"
    name: str = "a list"

    @property
    def options(self) -> dict[str, object]:
        return {}

    def items(self) -> Iterator[Item]:
        return iter(self.listed)

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        return AudioFolder(self.root).read(item, longest)
