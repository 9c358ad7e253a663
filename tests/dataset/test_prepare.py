"""From a corpus to a data set: what is in it, and that others can read it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from neucodec_tts.dataset import CodecInfo, ReaderPool, prepare, preparing, run_units
from neucodec_tts.dataset.folder import DatasetFolder
from neucodec_tts.dataset.manifest import read_manifest
from neucodec_tts.dataset.shards import content_sum, hexadecimal, read_shard
from neucodec_tts.errors import DatasetError
from tests.dataset.conftest import SMALL, files_of


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, write_clip, codec):
    """A data set of ten utterances in three shards, and the corpus it is of."""
    root = tmp_path_factory.mktemp("prepared")
    for number in range(10):
        path = write_clip(root / "corpus" / f"{number}.wav", number, 0.2 + 0.07 * ((number * 7) % 10))
        path.with_suffix(".txt").write_text(f"Sentence\n number {'x' * number}.", encoding="utf-8")
    result = prepare(root / "corpus", root / "out", codec, SMALL, workers=1)
    return root, result


def test_each_row_is_what_its_recording_says(prepared, codec):
    root, result = prepared
    assert result.manifest.complete
    assert result.manifest.rows == 10
    rows = [row for shard in result.manifest.shards for row in read_shard(root / "out" / shard.file)[0]]
    assert [row.id for row in rows] == [str(number) for number in range(10)]
    for row in rows:
        assert row.codes.dtype == np.uint16
        assert row.codes.tolist() == codec.encode(root / "corpus" / f"{row.id}.wav").tolist()
        assert row.text == f"Sentence number {'x' * int(row.id)}."
        assert row.duration == pytest.approx(0.2 + 0.07 * ((int(row.id) * 7) % 10), abs=1e-3)
        assert row.speaker is None


def test_the_manifest_describes_the_files(prepared, codec):
    root, result = prepared
    folder = DatasetFolder(root / "out")
    manifest = read_manifest(folder)
    assert manifest == result.manifest
    assert manifest.codec["codec_id"] == codec.codec_id
    assert [shard.rows for shard in manifest.shards] == [4, 4, 2]
    everything = []
    for shard in manifest.shards:
        path = root / "out" / shard.file
        assert (shard.sha256, shard.bytes) == (folder.sha256(path), path.stat().st_size)
        rows, about = read_shard(path)
        assert (shard.frames, shard.content) == (
            sum(r.codes.size for r in rows),
            hexadecimal(content_sum(rows)),
        )
        assert about["codec_id"] == codec.codec_id
        everything += rows
    assert manifest.frames == sum(row.codes.size for row in everything)
    assert manifest.content == hexadecimal(content_sum(reversed(everything)))
    assert manifest.rejects_sha256 == folder.sha256(folder.rejects)
    assert sorted(files_of(root / "out")) == [
        *(f"data/train-0000{number}-of-00003.parquet" for number in range(3)),
        "manifest.json",
        "rejects.parquet",
        "sources.arrow",
    ]


def test_a_code_takes_two_bytes(codec):
    """100 bytes a second of audio, whatever the codes are."""
    from neucodec_tts.dataset.shards import Row, shard_bytes

    generator = np.random.default_rng(0)
    rows = [
        Row(f"utterance-{n}", "Some words.", generator.integers(0, 2**16, 500).astype(np.uint16), 10.0, "a")
        for n in range(500)
    ]
    assert len(shard_bytes(rows, False, {})) / (500 * 500) < 2.1


def test_datasets_reads_it(prepared, monkeypatch, tmp_path):
    """As `datasets` does: the folder, and the files; and as NeuTTS' script reads Emilia-YODAS."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    import datasets

    root, _ = prepared
    whole = datasets.load_dataset(str(root / "out"), split="train", cache_dir=str(tmp_path / "a"))
    assert whole.num_rows == 10
    assert whole.column_names == ["id", "text", "codes", "duration", "speaker"]
    assert whole.features["codes"].feature.dtype == "uint16"
    named = datasets.load_dataset(
        "parquet",
        data_files=str(root / "out" / "data" / "*.parquet"),
        split="train[:2]",
        cache_dir=str(tmp_path / "b"),
    )
    first = named[0]
    codes = read_shard(root / "out" / "data" / "train-00000-of-00003.parquet")[0][0].codes
    assert "".join(f"<|speech_{code}|>" for code in first["codes"]) == "".join(
        f"<|speech_{c}|>" for c in codes
    )
    assert first["text"][-1] == "."


def test_how_it_is_read_changes_nothing(prepared, codec, tmp_path):
    root, _ = prepared
    prepare(root / "corpus", tmp_path / "alone", codec, SMALL, workers=0)
    prepare(root / "corpus", tmp_path / "by three", codec, SMALL, workers=3)
    assert files_of(tmp_path / "alone") == files_of(root / "out") == files_of(tmp_path / "by three")


def test_units_can_be_done_by_others_in_any_order(prepared, codec, tmp_path):
    """An engine on many machines does units one by one, anywhere, and the results are put together here."""
    import pickle

    root, _ = prepared
    with preparing(root / "corpus", tmp_path / "out", CodecInfo.of(codec), SMALL) as preparation:
        assert preparation.pending == [0, 1, 2]
        with pytest.raises(DatasetError, match="shard 0 of 3 is not finished"):
            preparation.finish()
        for unit in (2, 0, 1):
            recipe = pickle.loads(pickle.dumps(preparation.recipe))
            with ReaderPool(0) as readers:
                (finished,) = run_units(recipe, [unit], codec, readers)
            assert finished.unit == unit
        preparation.finish()
    assert files_of(tmp_path / "out") == files_of(root / "out")


def test_a_second_run_does_nothing(prepared, codec):
    root, _ = prepared
    before = {path: path.stat().st_mtime_ns for path in (root / "out").rglob("*")}
    again = prepare(root / "corpus", root / "out", codec, SMALL, workers=1)
    assert again.was_complete
    assert again.progress.encode_seconds == 0
    after = {path: path.stat().st_mtime_ns for path in (root / "out").rglob("*")}
    assert before.keys() == after.keys()
    assert {p for p in before if before[p] != after[p] and p.is_file()} == set()


def test_batches_waste_little(prepared):
    _, result = prepared
    assert result.progress.padded_frames >= result.progress.encoded_frames > 0
    assert result.progress.padding <= 0.1


def test_changed_settings_are_refused_with_the_difference(prepared, codec):
    root, _ = prepared
    for changed, says in (
        (replace(SMALL, max_seconds=20.0), "max_seconds was 30 and is now 20"),
        (replace(SMALL, shard_items=5), "shard_items was 4 and is now 5"),
        (replace(SMALL, text_rule="neutts"), "text_rule was any and is now neutts"),
    ):
        with pytest.raises(DatasetError, match=says):
            prepare(root / "corpus", root / "out", codec, changed, workers=0)
    assert json.loads((root / "out" / "manifest.json").read_text())["settings"]["max_seconds"] == 30


def test_rejects_are_named_and_counted(corpus, codec, tmp_path, write_clip):
    (corpus / "empty.wav").touch()
    write_clip(corpus / "short.wav", 0, 0.05)
    write_clip(corpus / "long.wav", 0, 31)
    result = prepare(corpus, tmp_path / "out", codec, SMALL, workers=1)
    assert dict(result.manifest.rejects) == {"too long": 1, "too short": 1, "unreadable": 1}
    assert result.manifest.rows == 10
    found = {row["id"]: row for row in pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()}
    assert found["short"]["reason"] == "too short"
    assert found["empty"]["detail"].startswith("empty.wav: the file is empty (0 bytes)")
    assert found["long"]["detail"] == "long.wav: 31.000 s, more than 30 s"
