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


def blocks(language: str) -> list[str]:
    """Fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


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


def test_python(folder):
    script = "\n".join(blocks("python"))
    assert script.count("NeuCodec.from_pretrained") >= 2
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "again.wav").stat().st_size > 100_000


def test_shell(folder):
    program = Path(sys.executable).with_name("neucodec-tts")
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    assert len(lines) >= 5
    for line in lines:
        name, *arguments = shlex.split(line, comments=True)
        assert name == "neucodec-tts", f"the README's shell examples are ours: {line}"
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert {"codes.safetensors", "again.wav", "picture.png"} <= {path.name for path in folder.iterdir()}
    assert len(list((folder / "coded").iterdir())) == 2


def test_links():
    """What the README links to inside the project is there."""
    targets = [t for t in re.findall(r"\]\(([^)#]+)\)", README) if not t.startswith("http")]
    assert targets
    assert [t for t in targets if not (Path(__file__).parent.parent / t).exists()] == []
