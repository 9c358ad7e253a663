"""The README's examples, one after the other in one folder, as a reader runs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.documentation import ROOT, prepare_folder, script

README = ROOT / "README.md"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_examples(tmp_path, monkeypatch):
    prepare_folder(tmp_path)
    monkeypatch.setenv("NEUCODEC_TTS_VOICES", str(tmp_path / "voices"))
    examples = script(README)
    assert examples.count(".from_pretrained") >= 2
    assert examples.count("\n_shell(") >= 5
    done = subprocess.run(
        [sys.executable, "-c", examples], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again.wav").stat().st_size > 100_000
    for name in ("hello", "gone"):
        assert (tmp_path / f"{name}.wav").stat().st_size > 10_000
    assert len(list((tmp_path / "prepared" / "data").iterdir())) == 1


def test_length():
    """A page that is read in two minutes: at most 150 lines of fewer than 100 columns."""
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert [line for line in lines if len(line) >= 100] == []
