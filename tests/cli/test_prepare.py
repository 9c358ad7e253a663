"""Preparing and describing data sets from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neucodec_tts.cli.dataset_info import histogram
from neucodec_tts.dataset import CodecInfo, PrepareSettings, preparing


@pytest.fixture
def corpus(recording) -> Path:
    """A folder of three recordings; the current folder is the one it is in."""
    folder = Path("corpus")
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.wav").write_bytes(recording.read_bytes())
        (folder / f"{name}.txt").write_text(f"This is {name}.\n")
    (folder / "bad.wav").write_bytes(b"RIFF rubbish")
    return folder


def test_prepare_and_info(call, corpus):
    arguments = ["prepare", corpus, "--output", "data", "--workers", "0"]
    done = call(*arguments)
    assert done.code == 0
    assert "prepared data: 3.0 s of speech, 2 utterances in 1 shards" in done.out
    assert "left out 1: unreadable 1; data/rejects.parquet says which" in done.out
    assert "of encoded frames were padding" in done.out
    assert "neuphonic/neucodec" in done.err

    again = call(*arguments, "--json")
    assert again.code == 0
    found = json.loads(again.out)
    assert found["nothing_to_do"]
    assert (found["rows"], found["rejected"], found["rejects"]) == (2, 1, {"unreadable": 1})
    assert (
        set(found["run"]["stage_seconds"]) == set(found["run"]["waits"]) == {"reading", "encoding", "writing"}
    )

    other = call(*arguments, "--max-seconds", "0")
    assert other.code == 1
    assert "max_seconds was 30 and is now not set" in other.err

    done = call("info", "data")
    assert done.code == 0
    assert "data set   data: 3.0 s of speech, 2 utterances, 1 shards" in done.out
    assert "150 frames; entropy" in done.out
    assert "1 to   2 s  2  ████" in done.out
    assert Path("data/statistics.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(call("info", "data", "--json", "--plot", "here.png").out)
    assert found["picture"] == "here.png"
    assert found["lengths"] == {"bin_seconds": 1.0, "utterances": [0, 2]}
    assert found["seconds"]["median"] == pytest.approx(1.5, abs=0.06)
    assert 0 < found["codes"]["entropy_bits"] <= found["codes"]["most_bits"]
    assert call(*arguments).code == 0  # the picture is no stranger's file


def test_nothing_kept_is_a_failure(call, corpus):
    done = call(
        "prepare",
        corpus,
        "--output",
        "data",
        "--workers",
        "0",
        "--text-rule",
        "neutts",
        "--min-seconds",
        "20",
    )
    assert done.code == 1
    assert "error: nothing was kept of corpus: too short 2, no text 1; the first: " in done.err


def test_a_second_run_is_refused(call, corpus):
    from neucodec_tts import NeuCodec

    info = CodecInfo.of(NeuCodec.from_pretrained("tiny"))
    with preparing(corpus, "data", info, PrepareSettings()):
        done = call("prepare", corpus, "--output", "data", "-c", "tiny")
    assert done.code == 1
    assert "data is being written by another run" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["prepare", "corpus"], 2, "Missing option '--output'"),
        (["prepare", "--output", "data"], 2, "name the corpus"),
        (["prepare", "--output", "data", "--tokens-only"], 2, "--tokens-only needs --model"),
        (["prepare", "corpus", "--output", "data", "--format", "neutts"], 2, "name the --model"),
        (["prepare", "corpus", "--output", "data", "--text-rule", "nice"], 2, "'nice' is not one of"),
        (["prepare", "corpse", "--output", "data"], 1, "error: corpse: no such file or folder"),
        (["prepare", "corpus", "--output", "."], 1, "holds other files (corpus, speech.wav)"),
        (["prepare", "speech.wav", "--output", "data"], 1, "one recording; --split SECONDS"),
        (
            ["info", "corpus"],
            1,
            "error: corpus is neither a data set (manifest.json was looked for) nor a codec",
        ),
        (["prepare", "--output", "data", "--tokens-only", "--model", "x"], 1, "data holds no data set"),
        (["info", "corpus", "--plot", "a.png"], 2, "--plot draws a data set"),
    ],
)
def test_wrong_use(call, corpus, arguments, code, says):
    done = call(*arguments)
    assert done.code == code
    assert says in done.err
    assert not Path("data").exists()


def test_info_of_what_is_not_complete(call, corpus):
    from neucodec_tts import NeuCodec

    with preparing(corpus, "data", CodecInfo.of(NeuCodec.from_pretrained("tiny")), PrepareSettings()):
        pass
    done = call("info", "data")
    assert done.code == 1
    assert "data is not complete; run the command that it was begun with again" in done.err


def test_the_histogram():
    assert histogram([], 1.0) == []
    assert histogram([0, 0, 3, 6], 1.0) == [
        "      2 to   3 s  3  " + "█" * 20,
        "      3 to   4 s  6  " + "█" * 40,
    ]
    lines = histogram([1] * 31, 1.0)
    assert len(lines) == 11
    assert lines[0].startswith("      0 to   3 s  3  ")
    assert lines[-1].endswith("1  " + "█" * 14)
