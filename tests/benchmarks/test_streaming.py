from __future__ import annotations

import pytest

from neucodec_tts import NeuCodec, StreamSettings
from neucodec_tts.audio import as_waveform
from streaming import compare_settings, measure_streaming
from tests.assets import ASSETS


def test_half_and_twice_the_context():
    grid = compare_settings(StreamSettings())
    assert {(each.lookback, each.lookahead) for each in grid if each.growth == 1.25} == {
        (back, ahead) for back in (25, 50, 100) for ahead in (2, 5, 10)
    }
    assert {each.growth for each in grid if (each.lookback, each.lookahead) == (50, 5)} == {
        1.0,
        1.25,
        1.5,
        2.0,
    }
    assert {each.slack for each in grid if each.growth == 1.25} == {0.0, 0.4, 0.8}


def test_streamed_sound_comes_close_to_the_whole_with_more_context():
    codec = NeuCodec.from_pretrained("tiny")
    speech = as_waveform(ASSETS / "demo.flac")[: 4 * 16_000]
    little = StreamSettings(lookback=5, chunk=5, lookahead=1, overlap=1)
    done: list[int] = []
    (poor, good), best = measure_streaming(codec, [speech], [little, StreamSettings()], done.append)
    assert done == [1, 1]
    assert poor.snr < good.snr
    assert 0.9 < good.stoi <= 1
    assert good.stoi_original == pytest.approx(best, abs=0.05)
    assert good.first_sound == 10
    assert good.work == pytest.approx(1.325)  # of 200 frames
    assert poor.work == pytest.approx(1.2, abs=0.01)
