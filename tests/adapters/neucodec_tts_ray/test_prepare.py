"""A data set made by Ray is the one that this machine makes alone, byte for byte."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from neucodec_tts import NeuCodec
from neucodec_tts.cli import main
from neucodec_tts.dataset import CodecInfo, Prepared, PrepareSettings, open_source, prepare, preparing
from neucodec_tts.dataset.engines import engine_names, prepare_engine
from neucodec_tts.dataset.sources.folder import AudioFolder
from neucodec_tts.errors import DatasetError, NeuCodecError
from neucodec_tts_ray.actor import UnitActor
from tests.adapters.neucodec_tts_ray.sources import Failing
from tests.dataset.conftest import files_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

SMALL = PrepareSettings(min_seconds=0.1, shard_items=3, batch_seconds=4.0)


@pytest.fixture(scope="module")
def alone(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The data set that this process makes of the corpus."""
    out = tmp_path_factory.mktemp("alone") / "out"
    return prepare(corpus, out, NeuCodec.from_pretrained("tiny"), SMALL, workers=0)


def test_same_bytes(
    corpus: Path,
    alone: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """From the command line, with paths relative to a folder that Ray's processes do not start in."""
    monkeypatch.chdir(corpus.parent)
    options = ["--engine", "ray", "--concurrency", "2", "--workers", "0", "--json"]
    options += ["--min-seconds", "0.1", "--shard-items", "3", "--batch-seconds", "4"]
    with pytest.raises(SystemExit) as ended:
        main(["prepare", corpus.name, "--output", str(tmp_path / "out"), *options])
    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert files_of(tmp_path / "out") == files_of(alone.folder)
    assert said["content"] == alone.manifest.content
    assert said["rejects"] == {"unreadable": 2}
    assert said["run"]["audio_seconds"] == pytest.approx(alone.progress.audio_seconds)
    assert said["run"]["stage_seconds"]["encoding"] > 0

    again = prepare_engine("ray")(corpus, tmp_path / "out", "tiny", SMALL)
    assert again.was_complete
    assert (again.shards_before, again.manifest) == (4, alone.manifest)
    with pytest.raises(DatasetError, match=r"min_seconds was 0\.1 and is now 0\.5"):
        prepare_engine("ray")(
            corpus, tmp_path / "out", "tiny", PrepareSettings(shard_items=3, batch_seconds=4.0)
        )


def test_encoders_fail(corpus: Path, alone: Prepared, tmp_path: Path):
    """One is killed, and another takes its place; an error is told as it is; what is finished is kept."""
    folder = open_source(corpus)
    assert isinstance(folder, AudioFolder)
    (tmp_path / "marks").mkdir()
    source = Failing(folder, "4", "9", tmp_path / "marks")
    run = prepare_engine("ray")
    with pytest.raises(DatasetError, match=r"^the tape is torn; glue it$"):
        run(source, tmp_path / "out", "tiny", SMALL, workers=0, concurrency=1)
    assert {mark.name for mark in (tmp_path / "marks").iterdir()} == {"4", "9"}
    finished = list((tmp_path / "out" / ".neucodec-tts" / "finished").iterdir())

    said: list[int] = []
    result = run(
        source,
        tmp_path / "out",
        "tiny",
        SMALL,
        workers=1,
        on_progress=lambda progress: said.append(progress.items_done),
    )
    assert result.shards_before == len(finished) > 0
    assert len(said) == 4 - len(finished)
    assert said[-1] == result.progress.items_total == 12
    assert result.manifest == alone.manifest
    assert files_of(tmp_path / "out") == files_of(alone.folder)


@pytest.mark.parametrize("lost", ["codec", "corpus"])
def test_a_machine_that_is_not_like_the_others(corpus: Path, tmp_path: Path, lost: str):
    """It has another codec under the same name, or does not see the corpus: it does nothing, and says so."""
    info = CodecInfo.of(NeuCodec.from_pretrained("tiny"))
    if lost == "codec":
        info = replace(info, encoder="another")
    shutil.copytree(corpus, tmp_path / "corpus")
    with preparing(tmp_path / "corpus", tmp_path / "out", info, SMALL) as preparation:
        if lost == "corpus":
            shutil.rmtree(tmp_path / "corpus")
        encoder = UnitActor(preparation.recipe, "tiny", "cpu", 0, torch.get_num_threads(), os.getcwd())
        report = encoder.do(0)
        assert len(preparation.pending) == 4
    assert report["kind"] == "DatasetError"
    expected = {"codec": "another codec on this machine", "corpus": f"does not see {tmp_path / 'corpus'}"}
    assert expected[lost] in report["error"]


def test_engines_by_name():
    assert engine_names() == ["local", "ray"]
    with pytest.raises(NeuCodecError, match="there is no engine 'spark'; installed are local, ray"):
        prepare_engine("spark")
