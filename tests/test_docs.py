"""The documentation: its examples run, its commands exist, its links lead somewhere. `make docs` builds the site."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import typer
from typer.core import TyperGroup

from neucodec_tts.cli.app import app
from tests.documentation import PAGES, ROOT, blocks, commands, prepare_folder, script, shell_lines

SITE = [page for page in PAGES if page.is_relative_to(ROOT / "docs")]
RUN = [page for page in SITE if blocks(page, "python", "bash")]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_examples(page, tmp_path, monkeypatch):
    prepare_folder(tmp_path)
    monkeypatch.setenv("NEUCODEC_TTS_VOICES", str(tmp_path / "voices"))
    done = subprocess.run(
        [sys.executable, "-c", script(page)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands(page):
    """Every command that a page names exists, with these options."""
    program = typer.main.get_command(app)
    assert isinstance(program, TyperGroup)
    for name, *arguments in commands(page):
        command = program.get_command(typer.Context(program), name)
        assert command is not None, f"no command {name!r}"
        command.make_parser(typer.Context(command, info_name=name)).parse_args(
            arguments
        )  # refuses unknown options


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_scripts(page):
    """Every script of this project that a page starts exists."""
    text = "\n".join(part for _, part in blocks(page, "bash", "sh"))
    text += "\n".join(re.findall(r"^    (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE))
    text += "\n".join(re.findall(r"`(.*?)`", page.read_text(encoding="utf-8")))
    named = re.findall(r"(?:benchmarks|examples|scripts)/[\w/]+\.py", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    """A link inside the project leads to a file."""
    made = ["reference/cli.md", "written-forms.md"]  # by docs/cli_reference.py and docs/written_forms.py
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    inside = [target for target in targets if not target.startswith(("http:", "https:"))]
    assert [
        target
        for target in inside
        if not (page.parent / target).exists() and not target.endswith(tuple(made))
    ] == []


def test_shell_lines():
    text = "pip install x  # a comment\nneucodec-tts say a \\\n  -o b.wav\n"
    assert shell_lines(text) == [["pip", "install", "x"], ["neucodec-tts", "say", "a", "-o", "b.wav"]]
