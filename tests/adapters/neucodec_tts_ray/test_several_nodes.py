"""Three nodes on one machine, of which one dies amid the run, and another joins: the bytes of one machine alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from neucodec_tts import NeuCodec
from neucodec_tts.dataset import prepare
from tests.adapters.neucodec_tts_ray.three_nodes import SMALL
from tests.conftest import ROOT
from tests.dataset.conftest import files_of
from tests.dataset.s3_server import s3_server

pytestmark = pytest.mark.slow


def run(corpus: Path | str, out: Path | str, marks: Path, environment: dict[str, str]) -> str:
    marks.mkdir()
    # A folder of its own: who starts a Ray on this machine would find this one. Names of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.adapters.neucodec_tts_ray.three_nodes", corpus, out, marks],
            cwd=ROOT,
            # The memory of the machine is others' affair: Ray would end encoders when they take it.
            env={**os.environ, "RAY_TMPDIR": folder, "RAY_memory_monitor_refresh_ms": "0", **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=500,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_to_a_folder(corpus: Path, tmp_path: Path):
    prepare(corpus, tmp_path / "alone", NeuCodec.from_pretrained("tiny"), SMALL, workers=0)
    said = run(corpus, tmp_path / "out", tmp_path / "marks", {})
    assert "nodes: 4 dead: 1 joined: 1" in said
    assert files_of(tmp_path / "out") == files_of(tmp_path / "alone")


def test_to_an_object_store(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("moto.server", reason="moto is not installed")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    with s3_server() as way:
        environment = {
            "AWS_ENDPOINT_URL": way.url,
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        store = s3fs.S3FileSystem(use_listings_cache=False)
        store.mkdir("cluster")
        store.put(f"{corpus}/", "cluster/corpus/", recursive=True)
        url = "s3://cluster/corpus"
        prepare(url, "s3://cluster/alone", NeuCodec.from_pretrained("tiny"), SMALL, workers=0)
        said = run(url, "s3://cluster/out", tmp_path / "marks", environment)
        assert "dead: 1 joined: 1" in said
        found = {name: store.cat_file(name) for name in store.find("cluster")}
        made, alone = (
            {name.removeprefix(root): content for name, content in found.items() if name.startswith(root)}
            for root in ("cluster/out/", "cluster/alone/")
        )
        assert made == alone
        assert len(made) > 12
