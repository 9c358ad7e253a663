"""The mark of synthetic speech, by Resemble's own package."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neucodec_tts.audio import load_audio
from neucodec_tts.errors import EngineError
from neucodec_tts.metrics.scores import snr
from neucodec_tts.speech.watermark import Watermarker, is_available
from tests.assets import ASSETS
from tests.speech.scripted import Stage


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


@pytest.mark.parametrize("step", [1, 700, 24_000, 10**6])
def test_any_split_of_a_stream_is_marked_alike(watermarker: Watermarker, step: int):
    samples, rate = load_audio(ASSETS / "demo.flac")
    samples = samples[: 2 * rate] if step == 1 else samples
    stream = watermarker.stream(rate)
    pieces = [stream.push(samples[at : at + step]) for at in range(0, samples.size, step)]
    marked = np.concatenate([*pieces, stream.flush()])
    assert marked.shape == samples.shape
    assert watermarker._perth.get_watermark(marked, sample_rate=rate) == 1
    at_once = watermarker.stream(rate)
    assert np.array_equal(marked, np.concatenate([at_once.push(samples), at_once.flush()]))
    if step != 1:
        assert snr(torch.from_numpy(watermarker.apply(samples, rate)), torch.from_numpy(marked)) > 60


def test_a_stream_is_marked_without_waiting_for_its_end(watermarker: Watermarker):
    stream = watermarker.stream(24_000)
    wave = np.random.default_rng(0).normal(0, 0.1, 24_000).astype(np.float32)
    assert stream.push(wave[: 24_000 * 26 // 100]).size == 2400, "0.1 s of it after 0.26 s"


@pytest.mark.usefixtures("watermarker")
def test_speech_is_marked_wherever_the_package_is_installed(
    stage: Stage, speech_codes: np.ndarray, capfd: pytest.CaptureFixture[str]
):
    text = "Alice was late indeed."
    tts, _ = stage.tts(stage.line(speech_codes[:200]), watermark=None)
    plain, marked = tts.speak(text, seed=1, watermark=False), tts.speak(text, seed=1)
    assert (plain.watermarked, marked.watermarked) == (False, True)
    assert marked.samples.size == plain.samples.size
    assert not np.array_equal(marked.samples, plain.samples)
    assert marked.segments == plain.segments
    with tts.stream(text, seed=1, watermark=False) as unmarked_stream, tts.stream(text, seed=1) as stream:
        heard, unmarked = np.concatenate(list(stream)), np.concatenate(list(unmarked_stream))
        assert (unmarked_stream.watermarked, stream.watermarked) == (False, True)
    assert heard.size == unmarked.size
    assert not np.array_equal(heard, unmarked)
    tts.watermark = False
    assert not tts.speak(text, seed=1).watermarked, "one setting for all calls"
    assert capfd.readouterr().out == "", "what perth prints would break our JSON"


def test_without_the_package(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "perth" else find(name, *rest)
    )
    assert not is_available()
    tts, engine = stage.tts(stage.line([1]), watermark=None)
    for speak in (tts.speak, tts.stream):
        with pytest.raises(EngineError, match=r'not installed: pip install "neucodec-tts\[watermark\]"'):
            speak("Alice was late", watermark=True)
    assert engine.asked == [], "it is found before any work"
    assert not tts.speak("Alice was late", seed=1).watermarked
