"""``neucodec-tts voice``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from neucodec_tts.audio import load_audio, write_audio
from neucodec_tts.cli.voice import voice
from neucodec_tts.voices import SpeakerPrompt, VoiceLibrary
from tests.parity.ours import random_codec
from tests.parity.sizes import small_config
from tests.voices.test_recording import DEMO, RATE
from tests.voices.test_speaker import TEXT

Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture(scope="module")
def codec_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codec")
    random_codec(small_config()).save_pretrained(folder)
    return folder


@pytest.fixture
def run(codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command: exit code, stdout, stderr."""
    monkeypatch.setenv("NEUCODEC_TTS_VOICES", str(tmp_path / "voices"))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(voice)

    def call(*arguments: object) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [*map(str, arguments), "--codec", str(codec_folder)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


def test_into_the_library(run: Run, tmp_path: Path):
    code, out, err = run(DEMO, "--text", TEXT, "-o", "allison", "-l", "en-us")
    assert code == 0, err
    assert out.count("\n") == 1
    assert "made the voice 'allison' from" in out
    assert err == ""
    made = VoiceLibrary(tmp_path / "voices").load("allison")
    assert (made.text, made.language) == (TEXT, "en-us")

    code, _, err = run(DEMO, "--text", "Other words", "-o", "allison")
    assert code == 1
    assert err.startswith("error: there is a voice 'allison'")
    assert "--overwrite" in err
    assert run(DEMO, "--text", "Other words", "-o", "allison", "--overwrite")[0] == 0
    assert VoiceLibrary(tmp_path / "voices").load("allison").text == "Other words"
    assert run(DEMO, "--text", TEXT, "-o", "allison", "--voices", tmp_path / "others")[0] == 0
    assert VoiceLibrary(tmp_path / "others").names() == ["allison"]


def test_into_a_file_as_json(run: Run, tmp_path: Path):
    target = tmp_path / "allison.safetensors"
    code, out, err = run(DEMO, "--text", TEXT, "-o", target, "--json")
    assert code == 0, err
    result = json.loads(out)
    made = SpeakerPrompt.load(target)
    assert result["file"] == str(target)
    assert result["codes"] == len(made)
    assert result["codec_id"] == made.codec_id
    assert result["advice"] == []


def test_transcript_beside_the_recording(run: Run, tmp_path: Path):
    shutil.copy(DEMO, tmp_path / "ref.flac")
    code, _, err = run(tmp_path / "ref.flac", "-o", "ref")
    assert code == 2
    assert "--text is missing" in err
    (tmp_path / "ref.txt").write_text(TEXT)
    assert run(tmp_path / "ref.flac", "-o", "ref")[0] == 0
    assert VoiceLibrary(tmp_path / "voices").load("ref").text == TEXT


def test_codes_of_neutts(run: Run, tmp_path: Path):
    torch.save(torch.arange(100, dtype=torch.int32), tmp_path / "dave.pt")
    assert run(tmp_path / "dave.pt", "--text", "My name is Dave.", "-o", "dave")[0] == 0
    assert len(VoiceLibrary(tmp_path / "voices").load("dave")) == 100


def test_warnings_and_cutting(run: Run, tmp_path: Path):
    samples, _ = load_audio(DEMO)
    write_audio(tmp_path / "long.wav", torch.from_numpy(samples).repeat(4) * 0.05, RATE)
    code, _, err = run(tmp_path / "long.wav", "-t", TEXT, "-o", "long")
    assert code == 1
    assert "error:" in err
    assert "--cut" in err
    code, out, err = run(
        tmp_path / "long.wav", "-t", f"{TEXT} All representatives", "-o", "long", "--cut", "--json"
    )
    assert code == 0
    kinds = [advice["kind"] for advice in json.loads(out)["advice"]]
    assert kinds == ["cut", "quiet"]
    assert err.count("WARNING") == 2
    assert "record closer" in err


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ([DEMO, "--text", TEXT, "-o", "../evil"], 2, "cannot be called"),
        ([DEMO, "--text", " ", "-o", "a"], 2, "--text is missing"),
        (["nowhere.wav", "-o", "a"], 1, "nowhere.wav: no such file; check the path (now in "),
        (["nowhere.wav", "--text", TEXT, "-o", "a"], 1, "no such file"),
        ([DEMO, "--text", TEXT, "-o", "nowhere/a.safetensors"], 1, "does not exist"),
    ],
)
def test_wrong_use_and_failures(run: Run, tmp_path: Path, arguments: list, exit_code: int, message: str):
    code, out, err = run(*arguments)
    assert code == exit_code
    assert message in " ".join(err.replace("│", " ").split())
    assert out == ""
    assert not (tmp_path / "voices").exists()


def test_a_file_that_cannot_be_written_is_found_before_the_work(run: Run, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(SpeakerPrompt, "from_audio", None)  # the work
    target = tmp_path / "missing" / "dave.safetensors"
    code, _, err = run(DEMO, "--text", TEXT, "-o", target)
    assert code == 1
    assert str(target.parent) in err
