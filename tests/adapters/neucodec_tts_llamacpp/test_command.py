"""`convert`, and `say` with what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from neucodec_tts import TextToSpeech
from neucodec_tts.errors import VocabularyError
from tests.parity.ours import random_codec
from tests.parity.sizes import small_config


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "neucodec_tts", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_tiny_becomes_one_folder(tmp_path):
    done = run(tmp_path, "convert", "tiny", "--gguf", "q4_0", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["file"] == "tiny-q4_0-gguf/tiny-q4_0.gguf"
    assert told["voices"] == 4
    assert told["bytes"] == (tmp_path / told["file"]).stat().st_size < 9_500_000
    again = run(tmp_path, "convert", "tiny", "--gguf", "q4_0")
    assert (again.returncode, again.stdout) == (1, "")
    assert "tiny-q4_0-gguf exists already; give another folder, or --overwrite" in again.stderr
    assert run(tmp_path, "convert", "tiny", "--gguf", "q4_0", "--overwrite", "-q").returncode == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("keep me")
    kept = run(tmp_path, "convert", "tiny", "-o", "mine", "--overwrite")
    assert "mine exists and is no folder of this command" in kept.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["note.txt"]


def test_what_is_no_model(tmp_path):
    done = run(tmp_path, "convert", "nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no folder 'nowhere'")
    assert not list(tmp_path.iterdir())
    assert run(tmp_path, "convert", "tiny", "--gguf", "q3_k").returncode == 2


@pytest.mark.slow
@pytest.mark.llamacpp
def test_say_speaks_with_the_file_alone(tiny_gguf, tmp_path):
    done = run(tmp_path, "say", "Good morning. How do you do?", "-m", str(tiny_gguf), "--seed", "1", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["speech_tokens"] > 50
    sound, rate = soundfile.read(tmp_path / told["output"])
    assert len(sound) / rate == pytest.approx(told["audio_seconds"])
    assert abs(sound).max() > 0.05
    # The folder is the model, too.
    again = run(tmp_path, "say", "Good morning.", "-m", str(tiny_gguf.parent), "-o", "again.wav", "-q")
    assert (again.returncode, again.stderr) == (0, "")
    assert (tmp_path / "again.wav").is_file()


@pytest.mark.slow
@pytest.mark.llamacpp
def test_other_engines_say_what_the_file_is(tiny_gguf, tmp_path):
    done = run(tmp_path, "say", "Hi.", "-m", str(tiny_gguf), "--engine", "transformers")
    assert done.returncode == 1
    assert "is a GGUF file, which only llama.cpp runs" in done.stderr
    wrong = run(tmp_path, "say", "Hi.", "-m", "tiny", "--engine", "llama-cpp")
    assert wrong.returncode == 1
    assert "is not in GGUF; make it so: neucodec-tts convert" in wrong.stderr


@pytest.mark.llamacpp
def test_a_codec_that_does_not_fit(tiny_gguf, tmp_path):
    codec = random_codec(small_config())
    with pytest.raises(VocabularyError, match=r"speaks the codes of the codec"):
        TextToSpeech.from_pretrained(tiny_gguf, codec=codec, device="cpu")
