"""Each script once, at its smallest, and the names of their modules."""

from __future__ import annotations

import importlib.machinery
import json
import subprocess
import sys
from pathlib import Path

import pytest

import long_recordings
import onnx_decoder
import prepare
import say
import short_texts
import streaming
import tokens
from tests.benchmarks.scripts import invoke

FOLDER = Path(tokens.__file__).parent
NAMES = sorted(
    {path.stem for path in FOLDER.iterdir() if path.suffix == ".py" or path.is_dir()} - {"__pycache__"}
)


@pytest.mark.parametrize("name", NAMES)
def test_no_module_hides_another(name):
    elsewhere = [path for path in sys.path if path and Path(path).resolve() != FOLDER]
    assert importlib.machinery.PathFinder.find_spec(name, elsewhere) is None
    assert name not in sys.stdlib_module_names


@pytest.mark.parametrize("name", ["first_sound", "plugin", "prepare", "say", "serve", "streaming", "tokens"])
def test_a_script_says_what_it_does(name):
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), "--help"], capture_output=True, text=True, check=True
    )
    assert "--json" in done.stdout


def test_streaming(tmp_path):
    import soundfile

    from tests.assets import ASSETS

    samples, rate = soundfile.read(ASSETS / "demo.flac", frames=24_000)
    soundfile.write(tmp_path / "speech.wav", samples, rate)
    done = invoke(streaming.main, tmp_path / "speech.wav", "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) == 14
    assert all(0.5 < row["stoi"] <= 1 for row in rows)


def test_onnx_decoder():
    done = invoke(onnx_decoder.main, "--codec", "tiny", "--frames", 12, "--repeats", 1, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [row["work"] for row in found["rows"]] == ["window of 12 frames", "stream of 12 frames"]
    assert all(row[name] > 0 for row in found["rows"] for name in ("torch", "float32", "int8"))
    assert found["bytes"]["int8"] < 0.5 * found["bytes"]["float32"]


def test_tokens():
    done = invoke(tokens.main, "--text-tokens", 300, "--codes", 50, "--repeats", 1, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["codes"] == 50
    assert found["to_ids_ratio"] == pytest.approx(found["strings_to_ids"] / found["to_ids"])
    assert set(found["loading"]) == {"without_codes", "vocab", "added"}


def test_say():
    done = invoke(say.main, "--repeats", 1, "--text", "Alice was late.\n\nIndeed.", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["equal_codes"]
    assert found["equal_length"]
    assert (found["first"]["tokens"], found["first"]["decodes"]) == (10, 1)
    for way in ("speak", "stream"):
        times = found[way]
        assert times["tokens"] == 300
        assert times["seams"] > 0
        assert times["total"] > times["generation"] + times["decoding"] + times["seams"]
        assert found["overhead"][way] > 0


def test_prepare():
    done = invoke(prepare.main, "-c", "tiny", "--utterances", 2, "--repeats", 1, "--workers", 0, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert len(found["encode"]) == len(found["prepare"]) == 1
    assert found["ratio"] == pytest.approx(found["encode"][0] / found["prepare"][0])
    assert 0 <= found["padding"] <= 0.1


def test_short_texts(capsys):
    short_texts.main(["--texts", "2", "--voice", "michael", "--seed", "1"])
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first == "2 texts, seed 1, tiny"
    assert second.startswith("michael: median 0.")
    assert second.endswith("0 wrong")


@pytest.mark.slow
@pytest.mark.parametrize(("options", "unit"), [(["--repeats", "1"], "ratio"), (["--memory"], "MiB")])
def test_long_recordings(options, unit, capsys):
    long_recordings.main(["--seconds", "2", *options])
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("    2 s  ")
    assert unit in line
