"""Corpora and data sets in an object store: a real S3 server, cut off, killed and without rights."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neucodec_tts.cli import main
from neucodec_tts.dataset import Source, TokenSettings, describe, open_source, prepare, tokenize
from neucodec_tts.dataset.listing import write_listing
from neucodec_tts.errors import AudioError, DatasetError, StorageError
from tests.conftest import ROOT
from tests.dataset.conftest import SMALL, files_of
from tests.dataset.s3_server import Way, s3_server
from tests.dataset.test_killed import Runs

pytest.importorskip("moto.server", reason="moto is not installed")
s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")

KILLS = 6


@pytest.fixture(scope="module")
def way() -> Iterator[Way]:
    with s3_server() as way:
        yield way


@pytest.fixture
def bucket(way, monkeypatch, request) -> str:
    """An empty bucket's URL, in an environment in which it can be reached."""
    way.mend()
    monkeypatch.setenv("AWS_ENDPOINT_URL", way.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"b{abs(hash(request.node.nodeid)):x}"[:20]
    s3fs.S3FileSystem(use_listings_cache=False).mkdir(name)
    return f"s3://{name}"


def upload(folder: Path, url: str) -> str:
    s3fs.S3FileSystem(use_listings_cache=False).put(f"{folder}/", f"{url}/", recursive=True)
    return url


def objects_of(url: str) -> dict[str, bytes]:
    """All objects below a URL, hidden ones too."""
    store = s3fs.S3FileSystem(use_listings_cache=False)
    root = url.removeprefix("s3://") + "/"
    return {name.removeprefix(root): store.cat_file(name) for name in store.find(root)}


def without_times(files: dict[str, bytes]) -> dict[str, bytes]:
    """All but the listing of the corpus, which holds times of modification."""
    return {name: content for name, content in files.items() if name != "sources.arrow"}


def table(folder: Path) -> str:
    lines = [
        {
            "audio": str(path.relative_to(folder)),
            "text": path.with_suffix(".txt").read_text(),
            "speaker": "ann",
        }
        for path in sorted(folder.rglob("*.wav"))
    ]
    (folder / "all.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return "all.jsonl"


def tars(folder: Path) -> str:
    for part in ("part0", "part1"):
        with tarfile.open(folder / f"{part}.tar", "w") as tar:
            for path in sorted((folder / part).iterdir()):
                tar.add(path, path.name)
        shutil.rmtree(folder / part)
    return "part{0..1}.tar"


def parquet(folder: Path) -> str:
    rows = [
        {"audio": {"bytes": path.read_bytes(), "path": path.name}, "text": "So.", "id": path.stem}
        for path in sorted(folder.rglob("*.wav"))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "all.parquet")
    return "all.parquet"


def kaldi(folder: Path) -> str:
    names = sorted(folder.rglob("*.wav"))
    (folder / "wav.scp").write_text(
        "".join(f"u{n} {path.relative_to(folder)}\n" for n, path in enumerate(names))
    )
    (folder / "text").write_text("".join(f"u{n} Sentence {n}.\n" for n in range(len(names))))
    return ""


def common_voice(folder: Path) -> str:
    (folder / "clips").mkdir()
    lines = ["client_id\tpath\tsentence"]
    for number, path in enumerate(sorted(folder.rglob("*.wav"))):
        shutil.move(path, folder / "clips" / f"{number}.wav")
        lines.append(f"ann\t{number}.wav\tSentence {number}.")
    (folder / "validated.tsv").write_text("\n".join(lines))
    return ""


def listed(source: Source, tmp_path: Path) -> list[object]:
    """What a corpus consists of, and its audio."""
    write_listing(source, tmp_path / "listing.arrow", 4)
    return [
        (replace(item, modified=0), source.read(item, None)[0].tolist() if item.problem is None else None)
        for item in source.items()
    ]


@pytest.mark.parametrize("make", [lambda folder: "", table, tars, parquet, kaldi, common_voice])
def test_corpora_are_read_as_on_a_disk(bucket, corpus, tmp_path, make):
    """Plain folders, tables, tars, Parquet, Kaldi's and Common Voice's folders."""
    name = make(corpus)
    here = open_source(f"{corpus}/{name}".rstrip("/"))
    there = open_source(f"{upload(corpus, f'{bucket}/corpus')}/{name}".rstrip("/"))
    assert there.kind == here.kind
    found = listed(there, tmp_path)
    assert len(found) == 10
    assert found == listed(here, tmp_path)


def test_a_table_here_names_recordings_there(bucket, corpus, tmp_path, codec):
    table(corpus)
    upload(corpus, f"{bucket}/corpus")
    rows = [json.loads(line) for line in (corpus / "all.jsonl").read_text().splitlines()]
    for row in rows:
        row["audio"] = f"{bucket}/corpus/{row['audio']}"
        row["id"] = Path(row["audio"]).stem
    rows.append({"audio": f"{bucket}/corpus/gone.wav", "text": "Gone.", "id": "gone"})
    (tmp_path / "urls.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = prepare(tmp_path / "urls.jsonl", tmp_path / "out", codec, SMALL, workers=1)
    assert (result.manifest.rows, dict(result.manifest.rejects)) == (10, {"missing": 1})


@pytest.mark.slow
def test_a_data_set_there_has_the_bytes_of_one_here(bucket, corpus, tmp_path, codec, capsys):
    """Made by the command line and reader processes, described, given tokens, and read by training."""
    url = upload(corpus, f"{bucket}/corpus")
    options = [
        "--min-seconds",
        "0.1",
        "--shard-items",
        "4",
        "--batch-seconds",
        "4",
        "--workers",
        "1",
        "--json",
    ]
    for nothing_to_do in (False, True):
        with pytest.raises(SystemExit) as ended:
            main(["prepare", url, "-o", f"{bucket}/out", *options])
        assert ended.value.code == 0
        assert json.loads(capsys.readouterr().out)["nothing_to_do"] is nothing_to_do
    settings = replace(SMALL, without_text=False)
    prepare(corpus, tmp_path / "out", codec, settings, workers=0)
    expected = files_of(tmp_path / "out")
    assert without_times(objects_of(f"{bucket}/out")) == without_times(expected)
    with pytest.raises(SystemExit) as ended:
        main(["info", f"{bucket}/out", "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 10
    tokenize(f"{bucket}/out", TokenSettings("tiny"))
    tokenize(tmp_path / "out", TokenSettings("tiny"))
    assert without_times(objects_of(f"{bucket}/out")) == without_times(files_of(tmp_path / "out"))
    assert describe(f"{bucket}/out").tokens == describe(tmp_path / "out").tokens > 0
    # In a program of its own: `datasets` reads nothing that is not here where the hub is off.
    program = (
        "import sys; from speech_examples import load_data; print(*load_data(sys.argv[1])['id'], sep='\\n')"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "cache")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "examples" / "finetune")])
    command = [sys.executable, "-c", program, f"{bucket}/out"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert len(done.stdout.split("\n")) == 11


def test_long_recordings_there(bucket, tmp_path, clip, codec):
    import soundfile

    (tmp_path / "corpus").mkdir()
    soundfile.write(tmp_path / "corpus/book.flac", np.concatenate([clip(n, 2.0) for n in range(4)]), 16_000)
    (tmp_path / "corpus/book.srt").write_text(
        "1\n00:00:00,000 --> 00:00:02,000\nOne.\n\n2\n00:00:02,000 --> 00:00:08,000\nTwo.\n"
    )
    url = upload(tmp_path / "corpus", f"{bucket}/corpus")
    prepare(open_source(url, split_seconds=6.0), f"{bucket}/out", codec, SMALL, workers=0)
    prepare(open_source(tmp_path / "corpus", split_seconds=6.0), tmp_path / "out", codec, SMALL, workers=0)
    assert without_times(objects_of(f"{bucket}/out")) == without_times(files_of(tmp_path / "out"))
    single = open_source(f"{url}/book.flac", split_seconds=6.0)
    assert [item.text for item in single.items()] == ["One.", "Two."]


@pytest.mark.slow
def test_killed_runs_end_with_the_same_bytes(bucket, way, corpus, tmp_path, codec):
    """Killed at any moment and run again; what is there meanwhile is whole."""
    url = upload(corpus, f"{bucket}/corpus")
    prepare(url, f"{bucket}/whole", codec, SMALL, workers=0)
    expected = objects_of(f"{bucket}/whole")
    runs, moments, kills, outs = Runs(), random.Random(4), 0, 0
    try:
        while kills < KILLS or outs == 0:
            out = f"{bucket}/out{outs}"
            while True:
                moment = moments.randint(0, 12) if kills < KILLS else None
                ended = runs.run(url, out, 0, moment, moments.random() * 0.3)  # type: ignore[arg-type]
                way.settle()
                there = objects_of(out)
                for name, content in there.items():
                    assert (
                        name.startswith(".neucodec-tts/")
                        or content == expected[name]
                        or name == "manifest.json"
                    )
                if not ended.killed:
                    assert ended.code == 0
                    break
                kills += 1
            assert objects_of(out) == expected
            outs += 1
    finally:
        runs.close()


def test_damaged_files_there_cost_their_own_rows(bucket, tmp_path):
    rows = pa.table({"audio": ["a.wav"] * 4, "text": ["a", "b", "c", "d"]})
    pq.write_table(rows, tmp_path / "b.parquet", row_group_size=2, use_dictionary=False)
    content = bytearray((tmp_path / "b.parquet").read_bytes())
    (tmp_path / "a.parquet").write_bytes(content[: len(content) // 2])
    column = pq.ParquetFile(tmp_path / "b.parquet").metadata.row_group(0).column(0)
    start, size = column.data_page_offset, column.total_compressed_size
    content[start : start + size] = b"\xff" * size
    (tmp_path / "b.parquet").write_bytes(content)
    items = list(open_source(upload(tmp_path, f"{bucket}/corpus")).items())
    assert [item.text for item in items] == [None, None, "c", "d"]
    assert "a.parquet: not a Parquet file, or a damaged one" in (items[0].problem or "")
    assert "2 rows of group 0 are damaged" in (items[1].problem or "")


@pytest.mark.slow
def test_the_network_goes_away(bucket, way, corpus, tmp_path, codec):
    """It is an error and no reject, whatever is at work; what is finished is kept, and the next run goes on."""
    url = upload(corpus, f"{bucket}/corpus")
    prepare(corpus, tmp_path / "whole", codec, SMALL, workers=0)
    before = way.passed
    prepare(url, f"{bucket}/undisturbed", codec, SMALL, workers=0)
    all_of_it = way.passed - before
    kept = []
    for share in (0.1, 0.5, 0.9):
        out = f"{bucket}/out{share}"
        way.cut_after = way.passed + share * all_of_it
        with pytest.raises(
            StorageError, match=r"cannot be reached .*the same command again: finished shards"
        ) as error:
            prepare(url, out, codec, SMALL, workers=0)
        assert str(error.value).startswith(bucket)
        way.mend()
        kept.append(sum(name.startswith("data/") for name in objects_of(out)))
        result = prepare(url, out, codec, SMALL, workers=0)
        assert result.manifest.rejects == {}
        assert without_times(objects_of(out)) == without_times(files_of(tmp_path / "whole"))
    assert kept[0] == 0 < kept[-1]


def test_a_reader_process_loses_the_network(bucket, way, corpus, tmp_path, codec):
    url = upload(corpus, f"{bucket}/corpus")
    source = open_source(url)
    list(source.items())
    item = next(iter(source.items()))
    way.cut()
    with pytest.raises(StorageError, match="cannot be reached"):
        source.read(item, None)
    way.mend()
    with pytest.raises(AudioError, match="there is no such object"):
        source.read(replace(item, where="part0/gone.wav"), None)


@pytest.mark.parametrize(
    ("source", "out", "said"),
    [
        ("s3://nobody-has-this/corpus", "out", "no such file or folder; check the bucket and the path"),
        ("{bucket}/gone", "out", "no such file or folder; check the bucket and the path"),
        ("{bucket}/gone.jsonl", "out", "no such file or folder"),
        ("{bucket}/corpus", "s3://nobody-has-this/out", "make the bucket first"),
        ("{bucket}/corpus", "{bucket}/corpus", "holds other files (part0, part1) and no data set"),
        ("s4://bucket/corpus", "out", "such a URL cannot be opened"),
        ("gs://bucket/corpus", "out", "this needs gcsfs: pip install 'neucodec-tts[gcs]'"),
        ("{bucket}/corpus/cuts.jsonl.gz", "out", "Lhotse reads cuts of this machine only"),
    ],
)
def test_what_is_not_there(bucket, corpus, tmp_path, codec, monkeypatch, source, out, said):
    monkeypatch.chdir(tmp_path)
    if "gcsfs" in said:
        monkeypatch.setitem(sys.modules, "gcsfs", None)
    (corpus / "cuts.jsonl.gz").write_bytes(gzip.compress(b'{"type": "MonoCut"}\n'))
    if "other files" in said:
        (corpus / "cuts.jsonl.gz").unlink()
    upload(corpus, f"{bucket}/corpus")
    with pytest.raises(DatasetError) as error:
        prepare(source.format(bucket=bucket), out.format(bucket=bucket), codec, SMALL, workers=0)
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lost", ["keys", "rights"])
def test_no_rights(bucket, way, corpus, codec, tmp_path, monkeypatch, lost):
    url = upload(corpus, f"{bucket}/corpus")

    def authorize_after(requests: str) -> None:
        urllib.request.urlopen(
            urllib.request.Request(
                f"{way.url}/moto-api/reset-auth", requests.encode(), {"Content-Type": "text/plain"}
            )
        ).close()

    if lost == "keys":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        s3fs.S3FileSystem.clear_instance_cache()
    else:
        authorize_after("0")
    try:
        with pytest.raises(StorageError, match=r"no right to do this .*set AWS_ACCESS_KEY_ID"):
            prepare(url, tmp_path / "out", codec, SMALL, workers=0)
        with pytest.raises(StorageError, match=r"no right to do this .*set AWS_ACCESS_KEY_ID"):
            prepare(corpus, f"{bucket}/out", codec, SMALL, workers=0)
    finally:
        authorize_after("inf")


def test_s3fs_is_missing(tmp_path):
    program = (
        "import sys; sys.modules['s3fs'] = None; from neucodec_tts.cli import main;"
        f"main(['prepare', 's3://bucket/corpus', '-o', {str(tmp_path / 'out')!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 1
    assert "error: s3://bucket/corpus: this needs s3fs: pip install 'neucodec-tts[s3]'" in done.stderr


def test_two_runs_of_one_machine(bucket, corpus, codec):
    """The second is refused, as on a disk."""
    from neucodec_tts.dataset import CodecInfo, preparing

    url = upload(corpus, f"{bucket}/corpus")
    with (
        preparing(url, f"{bucket}/out", CodecInfo.of(codec), SMALL),
        pytest.raises(DatasetError, match="is being written by another run"),
    ):
        prepare(url, f"{bucket}/out", codec, SMALL, workers=0)
