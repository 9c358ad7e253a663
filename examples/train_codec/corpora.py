"""The recordings of any corpus that `neucodec-tts prepare` reads, as the training packs them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from neucodec_tts.dataset.items import Item, Source
from neucodec_tts.dataset.sources import open_source
from neucodec_tts.errors import AudioError
from neucodec_tts.training.codec.packed_speech import Recording

LONGEST = 60.0  # seconds


def recordings(corpus: str) -> Iterator[Recording]:
    """List them, without looking at their audio.

    Raises:
        DatasetError: there is no such corpus.
    """
    source = open_source(corpus)
    for item in source.items():
        yield Recording(item.id, item.speaker or "", item.where, partial(_read, source, item))


def _read(source: Source, item: Item) -> tuple[np.ndarray, int]:
    if item.problem is not None:
        raise AudioError(item.problem)
    return source.read(item, LONGEST)
