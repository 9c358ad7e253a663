"""``neucodec-tts evaluate``: the card's table at a reduced size, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neucodec_tts.errors import AudioError
from neucodec_tts.evaluation import codecs, corpora
from neucodec_tts.evaluation.codecs import load_codec
from neucodec_tts.evaluation.corpora import find_clips
from neucodec_tts.evaluation.measuring import Measures
from neucodec_tts.evaluation.run import Results, evaluate_codec
from tests.cli.conftest import call as call  # the fixture

QUICK = ("--measures", "stoi,si_sdr,mel_mse")
CARD = (
    *("token_rate", "tokens_per_second", "bit_rate", "codebook", "quantizers", "parameters"),
    *("autoencoding_rtf", "decoding_rtf", "wer", "cer", "wer_difference", "stoi", "si_sdr", "mel_mse"),
)
"""Columns of the card's table, and of the measures that it names, but PESQ, which needs a compiler."""


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "table.json").read_text("utf-8"))


def test_the_card_s_table(
    call: Callable, folders: dict[str, Path], recogniser: Path, recordings: Path, tmp_path: Path
):
    """Each row of the card's, with random weights, and an anchor."""
    opus = [] if shutil.which("ffmpeg") is None else ["opus@6k"]
    names = [*(str(folders[name]) for name in folders), "tiny", *opus]
    out = tmp_path / "out"
    said = call(
        "evaluate",
        recordings,
        "--codecs",
        ",".join(names),
        "-o",
        out,
        "--measures",
        "stoi,si_sdr,mel_mse,wer",
        "--recogniser",
        recogniser,
        "--published",
        "--json",
        "--quiet",
    )
    assert said.code == 0, said.err
    report = json.loads(said.out)
    rows = {row["codec"]: row for row in report["codecs"]}
    published = ["DAC", "Mimi", "NeuCodec", "NeuCodec", "Distill-NeuCodec"]
    assert [row["codec"] for row in report["codecs"]] == ["original", *names, *published]
    for name in names:
        row = rows[name]
        assert (row["files"], row["failed"]) == (3, 0)
        for figure in CARD:
            needless = name.startswith("opus") and figure in CARD[:6]  # which has no codes
            assert needless or row[figure] is not None, (name, figure)
        assert row["left_out"] == {"stoi": ["short.wav"]}
    assert rows["original"]["wer"] > 0, "one has a transcript, and the recogniser is a random one"
    assert rows[str(folders["neucodec"])]["bit_rate"] == 800
    assert rows[str(folders["neucodec"])]["token_rate"] == 50
    assert rows[str(folders["mimi"])]["bit_rate"] == 12.5 * 8 * 6
    assert rows[str(folders["mimi"])]["tokens_per_second"] == 100
    assert rows["tiny"]["codebook"] == 16384
    assert 0 < rows["tiny"]["codes_used"] < 0.2
    assert 2 < rows["tiny"]["entropy_bits"] < 12
    assert [row["source"][:10] for row in report["codecs"][-5:]] == ["model card"] * 3 + ["arXiv:2509"] * 2
    text = (out / "table.md").read_text("utf-8")
    assert "| NeuCodec (model card) | 50 | 50 | 800 | 65536 | 1 | 800 M |" in text
    assert "| Distill-NeuCodec (paper) | 50 | 50 | 800 | 65536 | 1 | - |" in text
    assert "- NeuCodec (paper), published: arXiv:2509.09550, table 2" in text
    assert "stoi is not defined for 1 of 3 files (short.wav)" in text
    assert (out / "table.png").stat().st_size > 10_000
    parquet = pytest.importorskip("pyarrow.parquet")
    by_file = parquet.read_table(out / "files.parquet").to_pylist()
    assert len(by_file) == 3 * (len(names) + 1)
    means = [row["si_sdr"] for row in by_file if row["codec"] == "tiny"]
    assert rows["tiny"]["si_sdr"] == pytest.approx(np.mean(means))


def test_a_run_that_was_stopped_goes_on(call: Callable, recordings: Path, tmp_path: Path):
    out = tmp_path / "out"
    asked = ("evaluate", recordings, "--codecs", "tiny", "-o", out, *QUICK)
    assert call(*asked).code == 0
    first = read(out)
    lines = (out / "rows.jsonl").read_text("utf-8").splitlines()
    (out / "rows.jsonl").write_text(
        "\n".join(lines[:4]) + "\n" + lines[4][:20], "utf-8"
    )  # killed within a line
    assert call(*asked).code == 0
    again = read(out)
    assert again["codecs"][1]["mel_mse"] == first["codecs"][1]["mel_mse"]
    assert (out / "rows.jsonl").read_text("utf-8").splitlines()[:4] == lines[:4], "they were not made again"
    refused = call("evaluate", recordings, "--codecs", "tiny", "-o", out, "--measures", "stoi")
    assert refused.code == 1
    assert "other settings (measures)" in refused.err


def test_limit_draws_by_seed(recordings: Path):
    assert [len(find_clips([recordings], n)) for n in (None, 1, 2, 9)] == [3, 1, 2, 3]
    assert find_clips([recordings], 2, seed=1) == find_clips([recordings], 2, seed=1)
    assert len({tuple(find_clips([recordings], 1, seed=seed)) for seed in range(20)}) > 1
    assert find_clips([recordings])[0].text == "All representatives of the household"
    assert find_clips([recordings, recordings / "a.wav"]) == find_clips([recordings])


class Broken:
    """A codec of another package that cannot even be made."""

    def __init__(self, setting, device):
        raise ImportError("it needs what nobody has")


class Fragile:
    """A codec that fails at its second recording."""

    input_sample_rate = output_sample_rate = 16_000
    frame_rate: float | None = 50.0
    codebooks: tuple[int, ...] = (16384,)
    parameters = None

    def __init__(self) -> None:
        self.inner, self.asked = load_codec("tiny", "cpu"), 0

    def encode(self, waveform):
        self.asked += 1
        if self.asked == 2:
            raise RuntimeError("the second is one too many")
        return self.inner.encode(waveform)

    def decode(self, codes):
        return self.inner.decode(codes)[::3].repeat_interleave(2)

    def bits(self, codes):
        return self.inner.bits(codes)


def test_a_codec_that_fails_in_the_middle(recordings: Path, tmp_path: Path):
    from neucodec_tts.evaluation.table import markdown, summarise

    results, codec = Results(tmp_path / "out", {}), Fragile()
    evaluate_codec("fragile", codec, find_clips([recordings]), Measures(["mel_mse"]), results, lambda _: None)
    row = summarise("fragile", codec, results)
    assert (row["files"], row["failed"]) == (2, 1)
    assert "1 of 3 files: RuntimeError('the second is one too many')" in row["error"]
    assert "mel_mse" in row
    assert "fragile failed: 1 of 3 files" in markdown([row])


def test_sound_that_is_no_number_fails_and_infinite_measures_are_named(recordings: Path, tmp_path: Path):
    from neucodec_tts.evaluation.table import markdown, summarise

    class Perfect(Fragile):
        codebooks, frame_rate = (), None

        def encode(self, waveform):
            self.asked += 1
            return waveform * float("nan") if self.asked == 2 else waveform

        def decode(self, codes):
            return codes

        def bits(self, codes):
            return 32.0 * codes.numel()

    results, codec = Results(tmp_path / "out", {}), Perfect()
    clips = find_clips([recordings])
    evaluate_codec("perfect", codec, clips, Measures(["si_sdr", "mel_mse"]), results, lambda _: None)
    row = summarise("perfect", codec, results)
    assert (row["files"], row["failed"], row["mel_mse"]) == (2, 1, 0)
    assert "no numbers" in row["error"]
    assert "si_sdr" not in row
    assert "perfect: si_sdr is not defined for 2 of 2 files (a.wav, short.wav)" in markdown([row])


def test_codecs_that_do_not_load_leave_the_others_going(call: Callable, recordings: Path, tmp_path: Path):
    said = call("evaluate", recordings, "--codecs", "mimi,tiny", "-o", tmp_path / "out", *QUICK)
    assert said.code == 0
    rows = {row["codec"]: row for row in read(tmp_path / "out")["codecs"]}
    assert "offline mode is on" in rows["mimi"]["error"]
    assert rows["tiny"]["files"] == 3
    assert call("evaluate", recordings, "--codecs", "mimi", "-o", tmp_path / "none", *QUICK).code == 1


def test_codecs_of_other_packages_may_fail_as_they_like(
    call: Callable, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(codecs.KNOWN, "broken", Broken)
    said = call("evaluate", recordings, "--codecs", "broken,tiny", "-o", tmp_path / "out", *QUICK)
    assert said.code == 0
    rows = {row["codec"]: row for row in read(tmp_path / "out")["codecs"]}
    assert "it needs what nobody has" in rows["broken"]["error"]
    assert rows["tiny"]["files"] == 3


def test_codes_that_cannot_agree_leave_the_table(
    call: Callable, folders: dict[str, Path], recordings: Path, tmp_path: Path
):
    names = f"tiny,{folders['neucodec']}"
    said = call(
        "evaluate", recordings, "--codecs", names, "--agreement", names, "-o", tmp_path / "out", *QUICK
    )
    assert said.code == 0
    assert "they cannot agree" in said.err
    assert "cannot agree" in (tmp_path / "out" / "table.md").read_text("utf-8")


def test_cmu_arctic_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In the layout of its archives; the downloads need a network."""
    monkeypatch.setattr(corpora.platformdirs, "user_cache_path", lambda name: tmp_path)
    folder = tmp_path / "corpora" / "ARCTIC" / "cmu_us_bdl_arctic"
    (folder / "etc").mkdir(parents=True)
    (folder / "wav").mkdir()
    lines = [
        '( arctic_a0001 "Author of the danger trail, Philip Steels, etc." )',
        '( arctic_a0002 "Not (at) all." )',
    ]
    (folder / "etc" / "txt.done.data").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = find_clips([Path("cmu-arctic:bdl")])
    assert [clip.text for clip in found] == [
        "Author of the danger trail, Philip Steels, etc.",
        "Not (at) all.",
    ]
    assert found[1].path == folder / "wav" / "arctic_a0002.wav"
    assert len(find_clips([Path("cmu-arctic:bdl")], 1, seed=3)) == 1
    with pytest.raises(AudioError, match="no speaker 'bob'; it has aew, ahw"):
        find_clips([Path("cmu-arctic:bdl,bob")])
    monkeypatch.setattr(corpora, "_SERVER", "http://arctic.invalid")
    with pytest.raises(AudioError, match=r"arctic\.invalid cannot be reached"):
        find_clips([Path("cmu-arctic")])


def test_a_recording_that_cannot_be_read(call: Callable, recordings: Path, tmp_path: Path):
    folder = tmp_path / "recordings"
    shutil.copytree(recordings, folder)
    (folder / "broken.wav").write_bytes(b"RIFF\x00\x00")
    assert call("evaluate", folder, "-o", tmp_path / "out", *QUICK).code == 0
    row = read(tmp_path / "out")["codecs"][1]
    assert (row["files"], row["failed"]) == (3, 1)
    assert "broken.wav" in row["error"]


def test_bit_errors_and_agreement(call: Callable, folders: dict[str, Path], recordings: Path, tmp_path: Path):
    names = f"{folders['neucodec']},{folders['distill-neucodec']}"
    out = tmp_path / "out"
    said = call(
        "evaluate",
        recordings,
        "--codecs",
        names,
        "-o",
        out,
        *QUICK,
        "--bit-errors",
        "0,0.1",
        "--agreement",
        names,
        "--published",
    )
    assert said.code == 0, said.err
    report = read(out)
    for curve in report["bit_errors"].values():
        assert [row["bit_errors"] for row in curve] == [0.0, 0.1]
        assert curve[0]["mel_mse"] != curve[1]["mel_mse"]
    assert report["agreement"]["frames"] > 200
    assert 0 <= report["agreement"]["codes"] < 0.05
    assert len(report["agreement"]["digits"]) == 8
    assert (out / "bit-errors.png").is_file()
    assert "| encoders | equal codes |" in said.out
    assert "| 2 % | 53 % | 93 % | 0.73 |" in (out / "table.md").read_text("utf-8")
    assert "up to 10 % of the bits flipped" in said.out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--codecs", "tinny"], 1, "known are tiny"),
        (["--codecs", "original"], 1, "the row of the recordings"),
        (["--codecs", ","], 2, "names nothing"),
        (["--measures", "wer"], 1, "need a recogniser"),
        (["--measures", "beauty"], 1, "no measure 'beauty'"),
        (["--bit-errors", "0,2"], 2, "shares from 0 to 1"),
        (["--bit-errors", "much"], 2, "shares from 0 to 1"),
        (["--agreement", "tiny"], 2, "two of the codecs"),
        (["--agreement", "tiny,neucodec"], 2, "two of the codecs"),
        (["--recogniser", "./nowhere", "--measures", "wer"], 1, "nowhere"),
    ],
)
def test_wrong_use(
    call: Callable, recordings: Path, tmp_path: Path, arguments: list[str], code: int, says: str
):
    said = call("evaluate", recordings, "-o", tmp_path / "out", *arguments)
    assert said.code == code
    assert says in said.err
    assert not (tmp_path / "out").exists()


def test_folders_that_hold_nothing(call: Callable, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for what, says in (("empty", "no recordings in the folder"), ("missing", "no such file or folder")):
        said = call("evaluate", tmp_path / what, "-o", tmp_path / "out")
        assert said.code == 1
        assert says in said.err
