"""Scores whose package is not installed, and recordings too long for one."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from neucodec_tts import NeuCodec
from neucodec_tts.errors import NeuCodecError
from neucodec_tts.metrics import scores
from neucodec_tts.metrics.scores import ScoreError, pesq, score, stoi
from neucodec_tts.metrics.speed import measure_speed

NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)


@pytest.mark.parametrize(("package", "extra"), [("pystoi", "evaluate"), ("pesq", "pesq")])
def test_what_is_missing_is_named_and_the_rest_is_scored(monkeypatch, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ScoreError, match=rf"pip install 'neucodec-tts\[{extra}\]'"):
        {"pystoi": stoi, "pesq": pesq}[package](NOISE, NOISE)
    found = score(NOISE, 16_000, NOISE, 16_000)
    name = package.removeprefix("py")
    assert getattr(found, name) is None
    assert f"neucodec-tts[{extra}]" in found.missing[name]
    assert found.log_mel_distance == 0


def test_the_mean_over_pieces():
    level = np.repeat([1.0, 3.0, 0.0, 5.0, 9.0], 100)  # the last 50 are less than half a piece

    def of_piece(x: np.ndarray, y: np.ndarray) -> float:
        if not x.any():
            raise ScoreError("silence")
        return float(x.mean())

    level = level[:440]
    assert scores._mean_over_pieces(of_piece, level, level, 100, 1.0) == 3.0
    assert scores._mean_over_pieces(of_piece, level[:150], level[:150], 100, 1.0) == level[:150].mean()
    with pytest.raises(ScoreError, match="silence"):
        scores._mean_over_pieces(of_piece, 0 * level, level, 100, 1.0)


def test_pesq_is_wide_band():
    pytest.importorskip("pesq", reason="pesq needs a C compiler to install")
    with pytest.raises(ScoreError, match="defined at 16 kHz, not at 8000 Hz"):
        pesq(NOISE, NOISE, 8000)


@pytest.mark.parametrize("numbers", [{"repeats": 0}, {"batch": 0}, {"seconds": 0.0}])
def test_timings_of_nothing(numbers):
    with pytest.raises(NeuCodecError, match="cannot time"):
        measure_speed(NeuCodec.from_pretrained("tiny"), "encode", **numbers)
