"""The examples that clone a voice and stream speech, on a small model with random weights."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from neucodec_tts import NeuCodec, SpeakerPrompt
from tests.assets import ASSETS
from tests.speech.small_models import save_model

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TRANSCRIPT = (
    "All representatives of the household are currently assisting other telemarketers. Please hold and your call "
    "will be answered in the order it was received."
)
TEXT = "Alice was beginning to get very tired of it. Once or twice she had peeped into the book her sister was reading."


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("model"), NeuCodec.from_pretrained("tiny")))


def test_cloning_and_streaming(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """The voice that the one keeps is spoken in by the other: the same sound, as a stream."""
    monkeypatch.chdir(tmp_path)
    clone, stream = load("clone_voice"), load("stream_speech")
    common = ["--model", model, "--seed", "1", "--device", "cpu"]
    assert clone.main([str(ASSETS / "demo.flac"), TRANSCRIPT, TEXT, "--output", "whole.wav", *common]) == 0
    said = capsys.readouterr().out
    assert "could be better" not in said
    assert "voice: 8.8 s, 440 codes, kept in whole.voice.safetensors" in said
    assert (
        "  0.00 to   0.80 s  Alice was beginning to get very tired of it.  (did not end by itself: length)"
        in said
    )
    assert said.endswith(" a watermark, seed 1\n")
    assert SpeakerPrompt.load("whole.voice.safetensors").text == TRANSCRIPT

    assert stream.main([TEXT, "--voice", "whole.voice.safetensors", "--output", "streamed.wav", *common]) == 0
    said = capsys.readouterr().out
    assert said.startswith("first sound after ")
    assert "Once or twice she had peeped" in said
    whole, _ = soundfile.read("whole.wav")
    streamed, rate = soundfile.read("streamed.wav")
    assert rate == 24_000
    assert whole.size == streamed.size
    assert np.abs(streamed).max() > 0.01


def test_a_text_from_standard_input(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("From standard input."))
    assert load("stream_speech").main(["-", "--model", model]) == 0
    assert "From standard input." in capsys.readouterr().out
    assert soundfile.info("streamed.wav").frames == 40 * 480


def test_what_goes_wrong_is_one_line(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("short.wav", np.zeros(1000), 16_000)
    assert load("clone_voice").main(["short.wav", "Hi", "Hello", "--model", model]) == 1
    assert "error: short.wav is 0.06 s long" in capsys.readouterr().out
    assert load("stream_speech").main(["...", "--model", model]) == 1
    assert "error: there is nothing to pronounce" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["short.wav"]
