"""Corpora of one's own: classes of a script, a notebook or a module, read in reader processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import types
from dataclasses import dataclass, field

import pytest

from neucodec_tts.dataset import prepare
from neucodec_tts.dataset.sources.folder import AudioFolder
from neucodec_tts.errors import DatasetError
from tests.conftest import ROOT
from tests.dataset.conftest import SMALL

DEFINITIONS = """
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from neucodec_tts import NeuCodec
from neucodec_tts.dataset import PrepareSettings, prepare
from neucodec_tts.dataset.sources.folder import AudioFolder


class TornTape(Exception):
    pass


@dataclass(frozen=True)
class Mine(AudioFolder):
    torn: str = ""

    def read(self, item, longest):
        if item.id == self.torn:
            raise TornTape(item.id)
        return super().read(item, longest)


def run():
    corpus, out, codec = Mine(Path(sys.argv[1])), sys.argv[2], NeuCodec.from_pretrained("tiny")
    settings = PrepareSettings(min_seconds=0.1, without_text=True)
    print(prepare(corpus, out, codec, settings, workers=1).manifest.rows)
    try:
        prepare(replace(corpus, torn="b"), out + "2", codec, settings, workers=1)
    except TornTape as problem:
        print("torn at", problem)

"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["guarded", "unguarded", "from standard input"])
def test_a_class_of_a_script(tmp_path, write_clip, kind):
    for name in ("a", "b"):
        write_clip(tmp_path / "corpus" / f"{name}.wav")
    script = DEFINITIONS + ("if __name__ == '__main__':\n    run()\n" if kind == "guarded" else "run()\n")
    (tmp_path / "script.py").write_text(script)
    stdin = kind == "from standard input"
    done = subprocess.run(
        [sys.executable, "-" if stdin else tmp_path / "script.py", tmp_path / "corpus", tmp_path / "out"],
        input=script if stdin else None,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2\ntorn at b\n"


@dataclass(frozen=True)
class WithLock(AudioFolder):
    lock: object = field(default_factory=threading.Lock, compare=False)


def test_what_cannot_be_sent_is_named(tmp_path, codec, write_clip):
    write_clip(tmp_path / "corpus" / "a.wav")
    with pytest.raises(DatasetError, match=r"cannot be sent to reader processes .*lock.*workers=0"):
        prepare(WithLock(tmp_path / "corpus"), tmp_path / "out", codec, SMALL, workers=1)
    assert (
        prepare(WithLock(tmp_path / "corpus"), tmp_path / "out", codec, SMALL, workers=0).manifest.rows == 1
    )


def test_a_module_that_only_this_process_has_is_named(tmp_path, codec, write_clip, monkeypatch):
    write_clip(tmp_path / "corpus" / "a.wav")
    module = types.ModuleType("only_here")
    mine = type("Mine", (AudioFolder,), {"__module__": "only_here"})
    monkeypatch.setattr(module, "Mine", mine, raising=False)
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(
        DatasetError, match=r"cannot load the corpus .*No module named 'only_here'.*PYTHONPATH"
    ):
        prepare(mine(tmp_path / "corpus"), tmp_path / "out", codec, SMALL, workers=1)
