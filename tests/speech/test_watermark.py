"""The mark of synthetic speech, by Resemble's own package."""

from __future__ import annotations

import numpy as np
import pytest

from neucodec_tts.audio import load_audio
from neucodec_tts.errors import EngineError
from neucodec_tts.speech.watermark import Watermarker, is_available
from tests.speech.scripted import Stage
from tests.test_readme import ASSETS


@pytest.fixture(scope="module")
def watermarker() -> Watermarker:
    pytest.importorskip("perth", reason='needs pip install "neucodec-tts[watermark]"')
    return Watermarker()


def test_marked_speech_is_recognised(watermarker: Watermarker):
    samples, rate = load_audio(ASSETS / "demo.flac")
    marked = watermarker.apply(samples, rate)
    assert marked.dtype == np.float32
    assert marked.shape == samples.shape
    assert watermarker._perth.get_watermark(samples, sample_rate=rate) == 0
    assert watermarker._perth.get_watermark(marked, sample_rate=rate) == 1
    # Inaudible is for ears to say; it changes less than a tenth of the power.
    assert ((marked - samples) ** 2).sum() < 0.1 * (samples**2).sum()


@pytest.mark.parametrize("samples", [1, 100, 24_001])
def test_any_length_is_kept(watermarker: Watermarker, samples: int):
    wave = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    marked = watermarker.apply(wave, 24_000)
    assert marked.shape == wave.shape
    assert np.isfinite(marked).all()


@pytest.mark.usefixtures("watermarker")
def test_speaking_with_a_mark(stage: Stage, speech_codes: np.ndarray, capfd: pytest.CaptureFixture[str]):
    tts, _ = stage.tts(stage.line(speech_codes[:200]))
    plain, marked = (
        tts.speak("Alice was late indeed.", seed=1, watermark=wanted) for wanted in (False, True)
    )
    assert not plain.watermarked
    assert marked.watermarked
    assert marked.samples.size == plain.samples.size
    assert not np.array_equal(marked.samples, plain.samples)
    assert marked.segments == plain.segments
    assert capfd.readouterr().out == "", "what perth prints would break our JSON"


def test_without_the_package(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "perth" else find(name, *rest)
    )
    assert not is_available()
    tts, engine = stage.tts(stage.line([1]))
    with pytest.raises(EngineError, match=r'not installed: pip install "neucodec-tts\[watermark\]"'):
        tts.speak("Alice was late", watermark=True)
    assert engine.asked == [], "it is found before any work"
