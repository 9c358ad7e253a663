"""A small codec and small corpora of real speech, shared by all tests here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from neucodec_tts import NeuCodec
from neucodec_tts.dataset import PrepareSettings
from neucodec_tts.dataset.places import Place
from tests.assets import ASSETS

SMALL = PrepareSettings(min_seconds=0.1, shard_items=4, batch_seconds=4.0, without_text=True)
"""Shards and batches so small that a corpus of seconds has several of each."""


@pytest.fixture(scope="session")
def codec() -> NeuCodec:
    return NeuCodec.from_pretrained("tiny")


@pytest.fixture(scope="session")
def speech() -> tuple[np.ndarray, int]:
    """The recording that comes with the package: (samples,), and its rate in Hz."""
    samples, rate = soundfile.read(ASSETS / "demo.flac", dtype="float32")
    return samples, rate


@pytest.fixture(scope="session")
def clip(speech) -> Callable[..., np.ndarray]:
    """Cut a piece out of it, another for each number."""
    samples, rate = speech

    def cut(number: int, seconds: float = 0.3) -> np.ndarray:
        size = round(seconds * rate)
        start = (number * 1237) % max(1, samples.size - size)
        return (
            np.resize(samples[start:], size) if samples.size - start < size else samples[start : start + size]
        )

    return cut


@pytest.fixture(scope="session")
def write_clip(clip, speech) -> Callable[..., Path]:
    """Write such a piece to a file."""

    def write(path: Path, number: int = 0, seconds: float = 0.3) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, clip(number, seconds), speech[1])
        return path

    return write


@pytest.fixture
def corpus(tmp_path, write_clip) -> Path:
    """A folder of ten recordings of different lengths with their texts."""
    folder = tmp_path / "corpus"
    for number in range(10):
        path = write_clip(
            folder / f"part{number % 2}" / f"clip {number}.wav", number, 0.2 + 0.07 * ((number * 7) % 10)
        )
        path.with_suffix(".txt").write_text(f"This is sentence\n number {'x' * number}.", encoding="utf-8")
    return folder


def files_of(folder: Place) -> dict[str, bytes]:
    """All files of a folder of this machine, hidden ones too, and what is in them."""
    assert isinstance(folder, Path)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
