from __future__ import annotations

import os
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from neucodec_tts.errors import NeuCodecError
from neucodec_tts.metrics.plot import LONGEST_SECONDS, plot_roundtrip, plot_voices
from neucodec_tts.metrics.scores import ScoreError


def draw(path: object, seconds: float = 1.0) -> None:
    random = np.random.default_rng(0)
    plot_roundtrip(
        str(path),
        random.normal(0, 0.1, round(16_000 * seconds)),
        16_000,
        random.normal(0, 0.1, round(24_000 * seconds)),
        24_000,
        random.integers(0, 4, (round(50 * seconds), 8)),
        4,
        50.0,
        title="what it is",
        subtitle="how it went",
    )


def test_voices_are_drawn_below_each_other(tmp_path):
    from matplotlib.image import imread

    random = np.random.default_rng(0)
    digits = random.integers(0, 4, (50, 6)).astype(float)
    digits[20:30] = np.nan  # a pause
    spoken = {"one": (random.normal(0, 0.1, 24_000), digits), "two": (random.normal(0, 0.1, 12_000), digits)}
    for count, voices in ((1, dict([*spoken.items()][:1])), (2, spoken)):
        plot_voices(tmp_path / f"{count}.png", voices, 24_000, 4, 50.0, title="what was said")
    one, two = (imread(tmp_path / f"{count}.png") for count in (1, 2))
    assert two.shape[0] > 1.5 * one.shape[0]
    assert one[..., :3].std() > 0.1


def test_a_picture_of_a_useful_size(tmp_path):
    from matplotlib.image import imread

    draw(tmp_path / "a.png")
    picture = imread(tmp_path / "a.png")
    assert picture.shape[0] >= 900
    assert picture.shape[1] >= 1200
    assert picture[..., :3].std() > 0.1
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("seconds", [0.02, 0.5, LONGEST_SECONDS + 5])
def test_any_length(tmp_path, seconds):
    draw(tmp_path / "a.svg", seconds)
    drawing = ElementTree.parse(tmp_path / "a.svg")
    assert drawing.getroot().tag.endswith("svg")
    # Of a long recording the beginning is shown, and the picture says so.
    comments = (tmp_path / "a.svg").read_text()
    assert ("the first 30 s of 35 s" in comments) == (seconds > LONGEST_SECONDS)


def test_silence(tmp_path):
    before, after, codes = np.zeros(16_000), np.zeros(24_000), np.zeros((50, 8))
    plot_roundtrip(tmp_path / "a.png", before, 16_000, after, 24_000, codes, 4, 50.0, "silence")
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["a.xyz", "none/a.png"])
def test_where_it_cannot_be_written(tmp_path, name):
    with pytest.raises(NeuCodecError, match=r"cannot (draw|write) .*; (end the name in \.png|make it first)"):
        draw(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_without_matplotlib_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ScoreError, match=r"pip install 'neucodec-tts\[evaluate\]'"):
        draw(tmp_path / "a.png")
