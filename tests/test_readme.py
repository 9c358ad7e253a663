"""The README's examples, as they stand there, one after the other in one folder, as a reader would run them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
ASSETS = Path(__file__).parent.parent / "neucodec_tts" / "assets"


# In one process: starting the program takes longer than most of what the examples do; tests of commands start it.
_SHELL = """
def _shell(*arguments):
    from neucodec_tts.cli import main
    try:
        main(arguments)
    except SystemExit as left:
        if left.code:
            raise RuntimeError(f"neucodec-tts {' '.join(arguments)} left with {left.code}") from left
"""


def examples() -> str:
    """All examples as one Python script, in their order."""
    parts = [_SHELL]
    for language, block in re.findall(r"^```(python|bash)\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        if language == "python":
            parts.append(block)
            continue
        for line in filter(str.strip, block.splitlines()):
            name, *arguments = shlex.split(line, comments=True)
            assert name == "neucodec-tts", f"the README's shell examples are ours: {line}"
            parts.append(f"_shell(*{arguments!r})")
    return "\n".join(parts)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in which a reader has a recording and a folder of recordings."""
    import soundfile

    samples, rate = soundfile.read(ASSETS / "demo.flac")
    soundfile.write(tmp_path / "speech.wav", samples, rate)
    (tmp_path / "recordings").mkdir()
    for name in ("a.wav", "b.wav"):
        shutil.copy(tmp_path / "speech.wav", tmp_path / "recordings" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_examples(folder, monkeypatch):
    monkeypatch.setenv("NEUCODEC_TTS_VOICES", str(folder / "voices"))
    script = examples()
    assert script.count("NeuCodec.from_pretrained") >= 2
    assert script.count("\n_shell(") >= 8
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"codes.safetensors", "picture.png"} <= {path.name for path in folder.iterdir()}
    assert (folder / "again.wav").stat().st_size > 100_000
    for name in ("said", "cloned", "gone"):
        assert (folder / f"{name}.wav").stat().st_size > 10_000
    assert len(list((folder / "coded").iterdir())) == 2


def test_links():
    """What the README links to inside the project is there."""
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", README) if not t.startswith("http")]
    assert targets
    assert [t for t in targets if not (Path(__file__).parent.parent / t).exists()] == []
