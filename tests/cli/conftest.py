"""Commands as a user types them, run in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from neucodec_tts.cli import main
from tests.assets import ASSETS


class Said(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run ``neucodec-tts ARGUMENTS``."""

    def run(*arguments: object) -> Said:
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        code = left.value.code
        return Said(code if isinstance(code, int) else 0, out, err)

    return run


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A second and a half of the shipped recording, alone in a folder that is the current one."""
    import soundfile

    samples, rate = soundfile.read(ASSETS / "demo.flac", frames=24_000)
    soundfile.write(tmp_path / "speech.wav", samples, rate)
    monkeypatch.chdir(tmp_path)
    return Path("speech.wav")


@pytest.fixture
def other_codec(tmp_path: Path) -> Path:
    """A folder with a codec of another codebook."""
    from neucodec_tts import NeuCodec

    codec = NeuCodec.from_pretrained("tiny")
    codec.quantizer.project_out.weight.neg_()
    codec._codec_id = codec.config.codec_id = None
    codec.save_pretrained(tmp_path / "other")
    return shutil.copytree(tmp_path / "other", tmp_path / "another")
