"""Standard input and output in place of files, files of codes, and names that are no text."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from neucodec_tts.cli import main
from tests.conftest import ROOT

ODD = os.fsdecode(b"caf\xe9")


def piped(*arguments: object, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command with pipes for its streams."""
    command = [sys.executable, "-m", "neucodec_tts", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    return subprocess.run(command, input=given, capture_output=True, check=False, env=environment)


@pytest.mark.slow
def test_a_recording_through_pipes(call, recording):
    """The codes and the sound are those that files give."""
    assert call("encode", recording, "-o", "file.npy").code == 0
    assert piped("encode", "-", "-o", "piped.npy", given=recording.read_bytes()).returncode == 0
    assert np.array_equal(np.load("file.npy"), np.load("piped.npy"))
    assert piped("encode", "-", "-o", "folder", given=recording.read_bytes()).returncode == 0
    assert [path.name for path in Path("folder").iterdir()] == ["standard-input.safetensors"]

    assert call("decode", "file.npy", "-o", "file.wav").code == 0
    done = piped("decode", "file.npy", "-o", "-")
    assert done.returncode == 0
    assert done.stdout == Path("file.wav").read_bytes()
    assert b"decoded file.npy to standard output" in done.stderr
    assert not Path("-").exists()


@pytest.mark.slow
def test_speech_to_standard_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = piped("say", "Good morning.", "-o", "-", "--seed", "1")
    assert done.returncode == 0
    samples, rate = soundfile.read(io.BytesIO(done.stdout))
    assert rate == 24_000
    assert samples.size > 1000
    assert b"to standard output" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["say", "Hello.", "-o", "-", "--json"], "both want standard output"),
        (["decode", "x.npy", "-o", "-", "--json"], "both want standard output"),
        (["decode", "x.npy", "y.npy", "-o", "-"], "takes one file of codes"),
        (["decode", "x.npy", "-o", "-", "--format", "mp3"], "takes one file of codes"),
        (["encode", "speech.wav", "-o", "-"], "codes go to a file or a folder"),
    ],
)
def test_streams_that_cannot_be(call, recording, arguments, says):
    done = call(*arguments)
    assert (done.code, says in done.err) == (2, True), done.err
    assert not Path("-").exists()


@pytest.mark.slow
def test_no_recording_on_standard_input(recording):
    done = piped("encode", "-", "-o", "x.npy")
    assert done.returncode == 1
    assert b"standard input: the file is empty" in done.stderr


@pytest.mark.parametrize("suffix", [".safetensors", ".npy"])
def test_info_of_codes(call, recording, suffix):
    assert call("encode", recording, "-o", f"x{suffix}").code == 0
    done = call("info", f"x{suffix}")
    assert done.code == 0
    assert f"x{suffix}: 75 frames, 1.50 s" in done.out
    found = json.loads(call("info", f"x{suffix}", "--json").out)
    assert (found["frames"], found["seconds"]) == (75, 1.5)
    assert (found["codec_id"] is None) == (suffix == ".npy")


def test_info_of_a_voice(call, recording):
    assert call("voice", recording, "--text", "These are the words.", "-o", "me.safetensors").code == 0
    done = call("info", "me.safetensors")
    assert "voice      me.safetensors: " in done.out
    assert "text       These are the words." in done.out
    assert json.loads(call("info", "me.safetensors", "--json").out)["text"] == "These are the words."


def test_info_of_rubbish(call, recording):
    Path("x.npy").write_bytes(b"rubbish")
    done = call("info", "x.npy")
    assert (done.code, "not a .npy file of codes" in done.err) == (1, True)
    assert "no such file" in call("info", "gone.safetensors").err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
def test_names_that_are_no_text(call, recording):
    Path("in").mkdir()
    for name in (ODD, "good", "new\nline", "-dash", "a|b;c"):
        Path("in", f"{name}.wav").write_bytes(recording.read_bytes())
    Path("in", f"{ODD} too.wav").write_bytes(b"rubbish")
    done = call("encode", "in", "-o", "out", "--json")
    assert done.code == 1
    found = json.loads(done.out)
    assert len(found["files"]) == 5
    assert f"in/{ODD}.wav" in [each["input"] for each in found["files"]]
    assert "error: in/caf\\udce9 too.wav: " in done.err
    assert "not a recording" in done.err
    assert Path("out", f"{ODD}.safetensors").is_file()

    done = call("decode", "out", "-o", "back")
    assert done.code == 0, done.err
    assert Path("back", f"{ODD}.wav").is_file()
    done = call("decode", f"out/{ODD}.safetensors", "-o", f"{ODD}.flac")
    assert "to caf\\udce9.flac" in done.out
    done = call("info", f"out/{ODD}.safetensors")
    assert "out/caf\\udce9.safetensors: 75 frames" in done.out
    assert call("info", f"in/{ODD}.wav").code == 1
    assert call("roundtrip", f"in/{ODD}.wav").code == 0
    done = call("prepare", "in", "-o", "data", "--workers", "0", "--without-text")
    assert done.code == 0, done.err
    assert "4 utterances" in done.out
    done = call("prepare", "in", "-o", f"data {ODD}", "--without-text")
    assert (done.code, "the name of a data set must be UTF-8" in done.err) == (1, True)


def test_one_target_that_cannot_be_written_costs_itself(call, recording):
    Path("in").mkdir()
    for name in "ab":
        Path("in", f"{name}.wav").write_bytes(recording.read_bytes())
    Path("out", "a.npy").mkdir(parents=True)
    done = call("encode", "in", "-o", "out", "--format", "npy")
    assert done.code == 1
    assert "error: cannot write out/a.npy: it is a folder" in done.err
    assert Path("out", "b.npy").is_file()


def test_main_takes_names_that_are_no_text(recording):
    with pytest.raises(SystemExit) as left:
        main(["info", f"{ODD}.npy"])
    assert left.value.code == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize(
    "write",
    [
        "sinks.write_stdout(np.zeros(24_000, np.float32), 24_000)",
        "sinks.stdout_sink()([np.zeros(24_000, np.float32)], 24_000, Terminal(False, True))",
    ],
)
def test_sound_that_standard_output_cannot_hold_is_an_error_of_one_line(write):
    code = f"""
import numpy as np
from neucodec_tts.cli import sinks
from neucodec_tts.cli.terminal import Terminal
from neucodec_tts.errors import AudioError
try:
    {write}
except AudioError as problem:
    raise SystemExit(f"said: {{problem}}")
"""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
            cwd=ROOT,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("said: standard output cannot be written (No space left on device)")
