"""Commands of other packages, found by their entry points; one that is broken harms no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = """
import typer

def wave(hands: int = 2) -> None:
    '''Wave to the listeners.'''
    typer.echo(f"waving {hands} hands")
"""
POINTS = """[neucodec_tts.commands]
wave = stranger_commands:wave
broken = stranger_broken:wave
missing = stranger_commands:nothing
encode = stranger_commands:wave
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run ``neucodec-tts`` where a package of that kind is installed."""
    (tmp_path / "stranger_commands.py").write_text(PACKAGE)
    (tmp_path / "stranger_broken.py").write_text("import nothing_of_that_name\n")
    installed = tmp_path / "stranger-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(POINTS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "neucodec_tts", *arguments], capture_output=True, text=True, check=False
        )

    return run


def test_help_lists_all(run):
    done = run("--help")
    assert done.returncode == 0, done.stderr
    assert "Wave to the listeners." in done.stdout
    assert done.stdout.count("cannot be imported") == 2
    assert done.stdout.count("  encode ") == 1
    assert done.stderr == ""


def test_each_runs_as_any_other(run):
    assert run("wave", "--hands", "3").stdout == "waving 3 hands\n"
    assert "--hands" in run("wave", "--help").stdout
    assert run("wave", "--feet").returncode == 2
    assert "Turn recordings into codes" in run("encode", "--help").stdout, "ours comes first"


@pytest.mark.parametrize(
    ("name", "why"), [("broken", "nothing_of_that_name"), ("missing", "has no attribute 'nothing'")]
)
def test_a_broken_one_says_why(run, name, why):
    done = run(name, "--anything", "at all")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: the command '{name}' of stranger does not import: ")
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1
