"""One Ray for all tests here: a start takes half a minute on a busy machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from neucodec_tts_ray.engine import cluster
from tests.assets import ASSETS


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A Ray on this machine, started as the engine starts one."""
    with cluster():
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten recordings with their texts, and two files that are none."""
    samples, rate = soundfile.read(ASSETS / "demo.flac", dtype="float32")
    folder = tmp_path_factory.mktemp("ray") / "corpus"
    folder.mkdir()
    for number in range(10):
        size = round((0.2 + 0.07 * ((number * 7) % 10)) * rate)
        soundfile.write(folder / f"{number}.wav", samples[number * 1237 :][:size], rate)
        (folder / f"{number}.txt").write_text(f"Sentence number {'x' * number}.")
    (folder / "3b.wav").write_bytes(b"RIFF, but no more")
    (folder / "7b.wav").write_bytes(b"")
    return folder
