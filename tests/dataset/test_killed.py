"""Runs that are killed with SIGKILL, at any moment, and run again: the same bytes, nothing lost, nothing twice."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from neucodec_tts.dataset import PrepareSettings, prepare
from tests.conftest import ROOT
from tests.dataset.conftest import files_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")

KILLS = 20


class Ended(NamedTuple):
    """The end of a run."""

    killed: bool
    code: int
    events: int


class Runs:
    """Runs of `prepare` in processes that can be killed."""

    def __init__(self) -> None:
        self._events, writing = os.pipe()
        os.set_inheritable(writing, True)
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.dataset.forking_runs", str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[writing],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        os.close(writing)

    def run(
        self, source: Path, out: Path, workers: int = 0, kill_after: int | None = None, more: float = 0.0
    ) -> Ended:
        """Prepare, and kill the process after it has done so many things and `more` seconds."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        wanted = {"source": str(source), "out": str(out), "workers": workers}
        self._program.stdin.write(json.dumps(wanted).encode() + b"\n")
        self._program.stdin.flush()
        process = int(self._program.stdout.readline())
        events = 0
        killed = False
        while True:
            if kill_after is not None and events >= kill_after and not killed:
                time.sleep(more)  # no waiting for anything: any moment will do
                with suppress(ProcessLookupError):  # it may have ended just now
                    os.kill(process, signal.SIGKILL)
                killed = True
            ready, _, _ = select.select([self._events, self._program.stdout.fileno()], [], [])
            if self._events in ready:
                events += len(os.read(self._events, 1 if not killed else 4096))
            else:
                code = int(self._program.stdout.readline())
                return Ended(code == -signal.SIGKILL, code, events)

    def close(self) -> None:
        self._program.communicate()
        os.close(self._events)


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    runs = Runs()
    yield runs
    runs.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory, write_clip) -> Path:
    """Thirty items: good ones, bad ones, a duplicate, and a shard of which nothing is kept."""
    folder = tmp_path_factory.mktemp("killed") / "corpus"
    lines = []
    for number in range(30):
        path = write_clip(
            folder / f"{number:02d}.wav", number, 0.05 if 8 <= number < 12 else 0.2 + 0.01 * (number % 7)
        )
        if number == 17:
            path.write_bytes(b"RIFF")
        id = "03" if number == 21 else f"{number:02d}"
        lines.append(json.dumps({"id": id, "audio": path.name, "text": f"Number {number}."}))
    (folder / "all.jsonl").write_text("\n".join(lines))
    return folder / "all.jsonl"


def finished_shards(out: Path) -> dict[str, tuple[int, int]]:
    """Shards that a run which was killed has finished: their inodes and times."""
    names = [
        json.loads(path.read_text())["shard"]["file"] for path in out.glob(".neucodec-tts/finished/*.json")
    ]
    found = {name: (out / name).stat() for name in names}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


@pytest.mark.slow
def test_twenty_kills_end_with_the_same_bytes(runs, source, tmp_path):
    undisturbed = runs.run(source, tmp_path / "whole")
    assert undisturbed.code == 0
    expected = files_of(tmp_path / "whole")
    assert sum(name.startswith("data/") for name in expected) == 8
    moments = random.Random(int(os.environ.get("NEUCODEC_TTS_SEED", "20")))
    kills = outs = inside = 0
    while kills < KILLS or outs == 0:
        out = tmp_path / f"out{outs}"
        before: dict[str, tuple[int, int]] = {}
        while True:
            # Any moment from the first to the last, the listing of the corpus and the last renaming included.
            moment = moments.randint(0, undisturbed.events // 3) if kills < KILLS else None
            workers = 1 if kills % 7 == 3 else 0
            ended = runs.run(source, out, workers, moment, moments.random() * 0.02)
            now = finished_shards(out) if out.exists() else {}
            for name, stat in before.items():
                found = (out / name).stat()
                assert stat == (found.st_ino, found.st_mtime_ns), f"{name} was finished and made again"
            if not ended.killed:
                assert ended.code == 0
                break
            kills += 1
            inside += 0 < len(now) < 8
            before = now
        assert files_of(out) == expected
        outs += 1
    assert kills == KILLS
    assert inside > 0, "no kill hit a run with some shards finished and others not"
    ids = [
        row
        for n in range(8)
        for row in pq.read_table(out / f"data/train-{n:05d}-of-00008.parquet")["id"].to_pylist()
    ]
    rejected = pq.read_table(out / "rejects.parquet").to_pylist()
    assert sorted([*ids, *(row["id"] for row in rejected)]) == sorted(
        [*(f"{n:02d}" for n in range(30) if n != 21), "03"]
    )
    assert len(ids) == len(set(ids)) == 24
    assert {row["reason"] for row in rejected} == {"too short", "unreadable", "duplicate id"}


@pytest.mark.slow
def test_the_command_line_goes_on_where_it_was_killed(tmp_path, codec, write_clip):
    """As users run it, reader process and all; that process ends, too, though nobody could tell it."""
    folder = tmp_path / "corpus"
    for number in range(40):
        write_clip(folder / f"{number:02d}.wav", number)
    command = [
        sys.executable,
        "-m",
        "neucodec_tts",
        "prepare",
        folder,
        "--min-seconds",
        "0.1",
        "--shard-items",
        "1",
        "--without-text",
    ]
    command += ["--batch-seconds", "4", "--workers", "1", "--quiet", "--output"]
    for attempt in range(10):
        out = tmp_path / f"out{attempt}"
        with subprocess.Popen([*command, out], cwd=ROOT) as process:
            while process.poll() is None and not list(out.glob(".neucodec-tts/finished/*.json")):
                time.sleep(0.001)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            readers = children.read_text().split() if children.exists() and process.poll() is None else []
            process.kill()
        if process.returncode == -signal.SIGKILL:
            break
    else:
        pytest.fail("ten runs finished before they could be killed")
    assert not (out / "manifest.json").read_text().count('"complete": true')
    while any(_runs(int(reader)) for reader in readers):
        time.sleep(0.01)  # for ever, and the test fails by its time limit
    subprocess.run([*command, out], cwd=ROOT, check=True)
    again = subprocess.run([*command, out, "--json"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert json.loads(again.stdout)["nothing_to_do"]
    prepare(folder, tmp_path / "whole", codec, PrepareSettings(0.1, 30.0, "any", 1, 4.0, True), workers=0)
    assert files_of(out) == files_of(tmp_path / "whole")


def test_killed_before_the_manifest(source, tmp_path, codec):
    """Of such a run the listing of the corpus is left."""
    settings = PrepareSettings(0.1, 30.0, "any", 4, 4.0, True)
    prepare(source, tmp_path / "whole", codec, settings, workers=0)
    out = tmp_path / "out"
    out.mkdir()
    (out / "sources.arrow").write_bytes(b"of another corpus")
    prepare(source, out, codec, settings, workers=0)
    assert files_of(out) == files_of(tmp_path / "whole")


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
