"""The common part of engines: settings, streams of tokens, the detector of loops, the registry."""

from __future__ import annotations

import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neucodec_tts import TextToSpeech
from neucodec_tts.errors import EngineError
from neucodec_tts.speech import Generated, Sampling, TokenStream
from neucodec_tts.speech.engine import RepetitionDetector
from neucodec_tts.speech.registry import engine_loader, engine_names
from tests.speech.scripted import Line, ScriptedEngine, Stage
from tests.speech.small_models import save_model

# -- loops --------------------------------------------------------------------------------------------------


def is_loop(codes: list[int], frames: int) -> bool:
    """By the words of the definition: the last `frames` go round at least four times with one period."""
    last = codes[-frames:]
    return len(last) == frames and any(
        last[period:] == last[:-period] for period in range(1, max(1, frames // 4) + 1)
    )


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(4, 16))
def test_loops_are_found_when_they_are_complete(codes: list[int], frames: int):
    detector = RepetitionDetector(frames)
    for number, code in enumerate(codes, start=1):
        assert detector.push(code) == is_loop(codes[:number], frames)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.lists(st.integers(6, 9), max_size=20))
def test_any_short_loop_after_anything(period: list[int], before: list[int]):
    detector = RepetitionDetector(20)
    found = [detector.push(code) for code in before + period * 20]
    assert found.index(True) <= len(before) + 19


def test_a_detector_that_is_off():
    detector = RepetitionDetector(0)
    assert not any(detector.push(1) for _ in range(1000))


# -- streams of tokens --------------------------------------------------------------------------------------


def test_a_stream_says_why_it_ended_at_its_end():
    engine = ScriptedEngine([Line([1, 2, 3], "length")])
    stream = engine.generate([0], Sampling())
    assert [next(stream), next(stream), next(stream)] == [1, 2, 3]
    assert stream.finish_reason is None
    assert list(stream) == []
    assert stream.finish_reason == "length"
    assert list(stream) == []
    assert stream.finish_reason == "length", "it is said once and kept"
    assert engine.generate([0], Sampling()).collect() == Generated([1, 2, 3], "length")


def test_a_closed_stream_gives_nothing_more():
    engine = ScriptedEngine([Line([1, 2, 3])])
    stream = engine.generate([0], Sampling())
    next(stream)
    stream.close()
    stream.close()
    assert list(stream) == []
    assert (engine.closed, stream.finish_reason) == (1, None)
    assert isinstance(stream, TokenStream)


# -- the registry -------------------------------------------------------------------------------------------

_PLUGIN = """
from tests.speech.scripted import Line, ScriptedEngine

class Loader:
    @classmethod
    def load(cls, model, tokens, *, loudness=None, **options):
        engine = ScriptedEngine([Line(tokens.vocabulary.to_ids([1, 2, 3] * 10))])
        engine.loaded = (model, tokens.stop_ids, loudness, sorted(options))
        return engine
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of someone else's that brings two engines, one of which does not import."""
    (tmp_path / "other_engine.py").write_text(_PLUGIN)
    metadata = tmp_path / "other_engine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other-engine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[neucodec_tts.engines]\nother = other_engine:Loader\nbroken = other_engine.gone:Loader\n"
    )
    assert PathDistribution(metadata).entry_points
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "other_engine", raising=False)


@pytest.mark.usefixtures("installed")
def test_a_package_brings_an_engine(stage: Stage, tmp_path: Path):
    assert {"other", "broken", "transformers"} <= set(engine_names())
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(folder, stage.codec)
    tts = TextToSpeech.from_pretrained(folder, codec=stage.codec, engine="other", loudness=11)
    model, stop_ids, loudness, options = tts.engine.loaded  # type: ignore[attr-defined]
    assert (model, stop_ids, loudness) == (str(folder), tts.prompt_format.stop_ids, 11)
    assert options == ["device", "dtype", "hub"]
    assert tts.speak("Hello there.", seed=1).codes.tolist() == [1, 2, 3] * 10


@pytest.mark.usefixtures("installed")
def test_an_engine_that_does_not_import_is_named():
    with pytest.raises(
        EngineError, match=r"'broken' \(other_engine.gone:Loader\) cannot be imported: .*install"
    ):
        engine_loader("broken")


def test_engines_that_are_not_there():
    with pytest.raises(EngineError, match=r"no engine 'vllm-x' here; installed: .*transformers.*entry point"):
        engine_loader("vllm-x")
