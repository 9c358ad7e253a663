"""Items: what a corpus consists of, and what of it is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Item:
    """One utterance of a corpus, before anybody has looked at its audio."""

    id: str
    """Unique in the corpus; any characters. No file is ever named after it."""
    where: str
    """The place of its audio, for people and for `Source.read`: a path relative to the corpus, a member of a tar ..."""
    text: str | None = None
    """The words; None if the corpus does not say."""
    speaker: str | None = None
    start: float = 0.0
    """Its beginning in its file, in seconds."""
    end: float | None = None
    """Its end, in seconds; None is the end of the file."""
    locator: str = ""
    """Anything else that `Source.read` needs to find the audio."""
    size: int = -1
    """Bytes of the file that holds it; -1 if there is none. With `modified` it tells that the file changed."""
    modified: int = -1
    """Time of that file's last change, in ns since the epoch."""
    problem: str | None = None
    """The reason why it cannot be used, if that is known without looking at the audio."""


@dataclass(frozen=True)
class Reject:
    """An item that was left out, as ``rejects.parquet`` has it."""

    id: str
    where: str
    reason: str
    """One of a few, so that they can be counted: "too short", "unreadable" ..."""
    detail: str
    """The reason in full, for this one."""


@runtime_checkable
class Source(Protocol):
    """A corpus.

    A source is small, immutable and can be pickled: reader processes and machines elsewhere get a copy. It must
    list the same items in the same order each time, as long as the corpus has not changed. It lists them lazily, so
    that a corpus of any size fits into memory, and looks at no audio while it does. Its class may be defined anywhere,
    in a script or a notebook too.
    """

    @property
    def kind(self) -> str:
        """Name of the kind of corpus: "ljspeech", "kaldi" ..."""
        ...

    @property
    def name(self) -> str:
        """The user's name for it: a path or a hub id."""
        ...

    @property
    def options(self) -> Mapping[str, object]:
        """Choices in reading the corpus: names of columns, a split. JSON values."""
        ...

    def items(self) -> Iterator[Item]:
        """List the utterances.

        Raises:
            DatasetError: the corpus is not what it should be; the message has the file and the line.
        """
        ...

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        """Read the audio of one of its items.

        Args:
            item: one that `items` gave.
            longest: in seconds; longer audio is not wanted.

        Returns:
            Samples, floats (samples,) nominally in [-1, 1] or anything else that `audio.as_waveform` takes, and their
            rate in Hz.

        Raises:
            AudioTooLongError: it is longer than `longest`.
            AudioError: it cannot be read.
        """
        ...
