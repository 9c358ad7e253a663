"""Corpora of every kind: the same utterances come out of each, and each reads its audio."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from neucodec_tts.audio import AudioTooLongError
from neucodec_tts.dataset import Columns, Item, Source, open_source, prepare
from neucodec_tts.errors import AudioError, DatasetError
from tests.dataset.conftest import SMALL

TEXTS = {"a": "The first, with a comma.", "b": "Второе предложение.", "c": "“Third” | said she"}


@pytest.fixture(scope="module")
def speech_files(tmp_path_factory, write_clip) -> Path:
    """Three recordings in a folder."""
    folder = tmp_path_factory.mktemp("files")
    for number, name in enumerate(TEXTS):
        write_clip(folder / f"{name}.flac", number, 0.3 + 0.1 * number)
    return folder


def check(source: Source, speech_files: Path, ids: list[str], texts: bool = True) -> list[Item]:
    """Check that a corpus consists of those three."""
    source = pickle.loads(pickle.dumps(source))
    items = list(source.items())
    assert isinstance(source, Source)
    assert items == list(source.items())
    assert [item.id for item in items] == ids
    assert [item.problem for item in items] == [None] * 3
    if texts:
        assert [item.text for item in items] == list(TEXTS.values())
    for item, name in zip(items, TEXTS, strict=True):
        samples, rate = source.read(item, 30)
        expected, expected_rate = soundfile.read(speech_files / f"{name}.flac", dtype="float32")
        assert rate == expected_rate
        assert np.array_equal(np.ravel(samples), expected)
        with pytest.raises(AudioTooLongError):
            source.read(item, 0.1)
    return items


def test_a_plain_folder(tmp_path, speech_files):
    for name, ending in zip(TEXTS, (".txt", ".normalized.txt", ".lab"), strict=True):
        (tmp_path / "x").mkdir(exist_ok=True)
        (tmp_path / "x" / f"{name}.flac").write_bytes((speech_files / f"{name}.flac").read_bytes())
        (tmp_path / "x" / f"{name}{ending}").write_text(TEXTS[name], encoding="utf-8")
    (tmp_path / ".hidden.wav").touch()
    (tmp_path / "x" / "around").symlink_to(tmp_path)  # and around, and around
    source = open_source(tmp_path)
    assert source.kind == "folder"
    check(source, speech_files, ["x/a", "x/b", "x/c"])


def test_ljspeech(tmp_path, speech_files):
    (tmp_path / "wavs").symlink_to(speech_files)
    lines = [f"a|Not this|{TEXTS['a']}", f"b|{TEXTS['b']}|", "c|“Third” ¦ said she"]
    (tmp_path / "metadata.csv").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    source = open_source(tmp_path)
    assert source.kind == "ljspeech"
    items = check(source, speech_files, ["a", "b", "c"], texts=False)
    assert [item.text for item in items] == [TEXTS["a"], TEXTS["b"], "“Third” ¦ said she"]
    (tmp_path / "metadata.csv").write_text("a|One.\n\nb\n", encoding="utf-8")
    first, bad = source.items()
    assert first.problem is None
    assert "metadata.csv, line 3: id|text" in (bad.problem or "")


def test_librispeech(tmp_path, speech_files):
    for name in TEXTS:
        folder = tmp_path / "84" / {"a": "1", "b": "1", "c": "2"}[name]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"84-{name}.flac").write_bytes((speech_files / f"{name}.flac").read_bytes())
        with open(folder / "84-x.trans.txt", "a", encoding="utf-8") as opened:
            opened.write(f"84-{name} {TEXTS[name]}\n")
    source = open_source(tmp_path)
    assert source.kind == "librispeech"
    items = check(source, speech_files, ["84-a", "84-b", "84-c"])
    assert {item.speaker for item in items} == {"84"}
    (tmp_path / "84" / "1" / "84-a.flac").unlink()
    lost = next(item for item in source.items() if item.id == "84-a")
    assert lost.problem == "there is a transcript and no recording"


def test_kaldi(tmp_path, speech_files):
    (tmp_path / "wav.scp").write_text("".join(f"{n} {speech_files / n}.flac\n" for n in TEXTS))
    (tmp_path / "text").write_text("".join(f"{n} {text}\n" for n, text in TEXTS.items()), encoding="utf-8")
    (tmp_path / "utt2spk").write_text("a one\nb one\nc two\n")
    source = open_source(tmp_path)
    assert source.kind == "kaldi"
    items = check(source, speech_files, ["a", "b", "c"])
    assert [item.speaker for item in items] == ["one", "one", "two"]

    (tmp_path / "segments").write_text("a a 0.1 0.25\nb b 0.2 -1\nc gone 0 1\n")
    whole, rate = soundfile.read(speech_files / "a.flac", dtype="float32")
    first, second, third = source.items()
    assert np.array_equal(source.read(first, None)[0], whole[round(0.1 * rate) : round(0.25 * rate)])
    assert source.read(second, None)[0].size == soundfile.info(speech_files / "b.flac").frames - round(
        0.2 * rate
    )
    assert third.problem == "its recording gone is not in wav.scp, or cannot be read from there"
    (tmp_path / "segments").write_text("a a 0.1 0.25\nb b later\n")
    good, bad, _ = source.items()
    assert good.problem is None
    assert "segments, line 2: the recording, the start and the end" in (bad.problem or "")
    (tmp_path / "wav.scp").write_text("a sph2pipe -f wav a.sph |\n")
    assert "wav.scp, line 1: a command" in (next(iter(source.items())).problem or "")


def test_parts_beyond_the_end(tmp_path, speech_files):
    (tmp_path / "wav.scp").write_text(f"a {speech_files / 'a.flac'}\n")
    (tmp_path / "segments").write_text("x a 0.1 0.35\ny a 0.2 0.6\nz a 0.5 0.7\n")
    source = open_source(tmp_path)
    rounded, beyond, outside = source.items()
    rate = soundfile.info(speech_files / "a.flac").samplerate
    assert source.read(rounded, None)[0].size == round(0.3 * rate) - round(0.1 * rate)
    for item in (beyond, outside):
        with pytest.raises(AudioError, match=r"there is no part from .* in a recording of 0\.30 s"):
            source.read(item, None)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_manifests(tmp_path, speech_files, kind):
    (tmp_path / "clips").symlink_to(speech_files)
    rows = [{"audio_filepath": f"clips/{n}.flac", "text": text, "speaker": "s"} for n, text in TEXTS.items()]
    path = tmp_path / f"train.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    else:
        delimiter, quote = ("\t", "") if kind == "tsv" else (",", '"')
        lines = [["audio_filepath", "text", "speaker"], *([*row.values()] for row in rows)]
        written = [delimiter.join(f"{quote}{cell}{quote}" for cell in line) for line in lines]
        path.write_text("\n".join(written), encoding="utf-8")
    source = open_source(path)
    assert source.kind == "table"
    items = check(source, speech_files, ["clips/a", "clips/b", "clips/c"])
    assert {item.speaker for item in items} == {"s"}
    assert items[0].size == (speech_files / "a.flac").stat().st_size


def test_a_manifest_of_parts_and_of_ones_own_columns(tmp_path, speech_files):
    row = {"recording": "a.flac", "words": "One.", "offset": 0.1, "duration": 0.1, "name": "first", "who": 7}
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(row))
    columns = Columns(audio="recording", text="words", id="name", speaker="who")
    source = open_source(path, columns=columns, audio_root=speech_files)
    (item,) = source.items()
    assert (item.id, item.text, item.speaker, item.start, item.end) == ("first", "One.", "7", 0.1, 0.2)
    assert source.read(item, None)[0].size == round(0.1 * source.read(item, None)[1])
    assert source.options == {
        "audio_column": "recording",
        "text_column": "words",
        "id_column": "name",
        "speaker_column": "who",
        "audio_root": str(speech_files),
    }


def test_audio_folders_of_datasets(tmp_path, speech_files):
    for name in TEXTS:
        (tmp_path / f"{name}.flac").write_bytes((speech_files / f"{name}.flac").read_bytes())
    lines = ["file_name,transcription", *(f'{n}.flac,"{text}"' for n, text in TEXTS.items())]
    (tmp_path / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    source = open_source(tmp_path)
    assert source.kind == "table"
    check(source, speech_files, ["a", "b", "c"])


@pytest.mark.parametrize("inside", [True, False])
def test_parquet(tmp_path, speech_files, inside):
    audio = [
        {"bytes": (speech_files / f"{n}.flac").read_bytes(), "path": f"{n}.flac"} if inside else f"{n}.flac"
        for n in TEXTS
    ]
    table = pa.table({"audio": audio, "sentence": list(TEXTS.values()), "id": list(TEXTS)})
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "train.parquet", row_group_size=2)
    root = None if inside else speech_files
    source = open_source(tmp_path, audio_root=root)
    assert source.kind == "parquet"
    check(source, speech_files, ["a", "b", "c"])
    check(open_source(tmp_path / "data" / "train.parquet", audio_root=root), speech_files, ["a", "b", "c"])


@pytest.mark.parametrize("saved", ["to disk", "as files"])
def test_hugging_face_data_sets(tmp_path, speech_files, saved, monkeypatch):
    import datasets

    rows = {
        "audio": [{"bytes": (speech_files / f"{n}.flac").read_bytes(), "path": None} for n in TEXTS],
        "text": list(TEXTS.values()),
        "speaker_id": [1, 1, 2],
    }
    table = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())
    if saved == "to disk":
        datasets.DatasetDict({"train": table}).save_to_disk(str(tmp_path / "corpus"))
        source = open_source(tmp_path / "corpus")
        with pytest.raises(DatasetError, match="there is no split 'test'; there are train"):
            list(open_source(tmp_path / "corpus", split="test").items())
    else:
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
        (tmp_path / "corpus").mkdir()
        table.to_parquet(str(tmp_path / "corpus" / "train.parquet"))
        source = open_source(tmp_path / "corpus", "huggingface")
    assert source.kind == "huggingface"
    items = check(source, speech_files, [f"train-{n:08d}" for n in range(3)])
    assert [item.speaker for item in items] == ["1", "1", "2"]
    assert source.options["fingerprint"]


def test_webdataset(tmp_path, speech_files):
    def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))

    for shard, names in enumerate(("ab", "c")):
        with tarfile.open(tmp_path / f"train-{shard:03d}.tar", "w") as tar:
            for name in names:
                add(tar, f"./dir/{name}.flac", (speech_files / f"{name}.flac").read_bytes())
                if name == "a":
                    add(tar, f"./dir/{name}.txt", TEXTS[name].encode())
                else:
                    add(tar, f"./dir/{name}.json", json.dumps({"text": TEXTS[name], "speaker": "x"}).encode())
    for pattern in (tmp_path, tmp_path / "train-{000..001}.tar", tmp_path / "*.tar"):
        source = open_source(pattern)
        assert source.kind == "webdataset"
        ids = ["train-000/./dir/a", "train-000/./dir/b", "train-001/./dir/c"]
        items = check(source, speech_files, ids)
        assert [item.speaker for item in items] == [None, "x", "x"]

    with tarfile.open(tmp_path / "train-000.tar", "w") as tar:
        add(tar, "only.txt", b"Words.")
        add(tar, "bad.flac", b"")
        add(tar, "bad.json", b"{")
    only, bad, _ = source.items()
    assert only.problem == "no audio among its files (.txt)"
    assert (bad.problem or "").startswith("its JSON cannot be read")
    (tmp_path / "train-000.tar").write_bytes(gzip.compress(b"x" * 2000))
    compressed, other = source.items()
    assert "train-000.tar: not a tar, a damaged or a compressed one" in (compressed.problem or "")
    assert other.problem is None


ENDS = ("flac", "txt")


def tar_of(path: Path, files: list[tuple[str, bytes]]) -> bytes:
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path.read_bytes()


def test_tars_that_are_cut_damaged_or_joined(tmp_path, speech_files):
    sound = (speech_files / "a.flac").read_bytes()
    path = tmp_path / "m.tar"
    files = [(f"{name}.{end}", sound if end == "flac" else name.encode()) for name in "abc" for end in ENDS]
    whole = tar_of(path, files)
    source = open_source(path)

    def found(content: bytes) -> tuple[list[str | None], list[str]]:
        path.write_bytes(content)
        items = list(source.items())
        problems = [item.problem for item in items if item.problem is not None]
        return [item.text for item in items if item.problem is None], problems

    def damaged(position: int, change: bytes) -> bytes:
        return whole[:position] + change + whole[position + len(change) :]

    assert found(whole) == (["a", "b", "c"], [])
    sounds, text = whole.index(b"b.flac"), whole.index(b"b.txt")
    for cut in range(sounds + 1, sounds + 1024, 100):
        texts, (problem,) = found(whole[:cut])
        assert texts == ["a"], cut
        assert "m.tar: damaged or cut short" in problem
        assert "what follows 'a' is not read" in problem
    # In the checksum of a header; a header that became zeros, which end a tar; a cut before a header.
    broken = {
        "damaged or cut short": lambda at: damaged(at + 150, bytes([whole[at + 150] ^ 1])),
        "damaged, or joined by cat": lambda at: damaged(at, bytes(512)),
        "without an end mark": lambda at: whole[:at],
    }
    for says, change in broken.items():
        texts, (problem,) = found(change(sounds))
        assert texts == ["a"]
        assert f"m.tar: {says}" in problem
        texts, (incomplete, problem) = found(change(text))
        assert texts == ["a"]
        assert f"files of it are missing: m.tar is {says}" in incomplete
        assert f"m.tar: {says}" in problem
    texts, (problem,) = found(whole + whole)
    assert texts == ["a", "b", "c"]
    assert "join tars with tar --concatenate" in problem
    texts, (problem,) = found(whole[: whole.index(b"c.txt") + 1024])
    assert texts == ["a", "b", "c"]
    assert "without an end mark: its writer was interrupted, or it is cut short" in problem
    assert "gunzip" not in found(whole[:700])[1][0]


def test_a_key_that_comes_twice_in_a_tar_is_not_lost(tmp_path, speech_files):
    sound = (speech_files / "a.flac").read_bytes()
    tar_of(tmp_path / "m.tar", [("a.flac", sound), ("a.txt", b"one"), ("a.flac", sound), ("a.txt", b"two")])
    assert [item.text for item in open_source(tmp_path / "m.tar").items()] == ["one", "two"]


def test_texts_in_tars_are_in_the_encodings_of_other_texts(tmp_path, speech_files):
    sound = (speech_files / "a.flac").read_bytes()
    texts = [("a", "für".encode("utf-16")), ("b", "für".encode()), ("c", "für".encode("latin-1"))]
    tar_of(
        tmp_path / "m.tar",
        [each for name, text in texts for each in ((f"{name}.flac", sound), (f"{name}.txt", text))],
    )
    first, second, third = open_source(tmp_path / "m.tar").items()
    assert first.text == second.text == "für"
    assert "m.tar:c.txt: not in utf-8" in (third.problem or "")


def test_a_damaged_parquet_file_costs_its_own_rows(tmp_path, speech_files):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"audio": [str(speech_files / "a.flac")] * 4, "text": ["a", "b", "c", "d"]})
    pq.write_table(table, tmp_path / "b.parquet", row_group_size=2, use_dictionary=False)
    whole = bytearray((tmp_path / "b.parquet").read_bytes())
    (tmp_path / "a.parquet").write_bytes(whole[:100])
    column = pq.ParquetFile(tmp_path / "b.parquet").metadata.row_group(0).column(0)
    start, size = column.data_page_offset, column.total_compressed_size
    whole[start : start + size] = b"\xff" * size
    (tmp_path / "b.parquet").write_bytes(whole)
    *lost, third, fourth = open_source(tmp_path).items()
    assert [item.text for item in (third, fourth)] == ["c", "d"]
    assert ["not a Parquet file" in (item.problem or "") for item in lost] == [True, False]
    assert "2 rows of group 0 are damaged" in (lost[1].problem or "")


def test_commands_and_archives_of_kaldi_are_left_out_once(tmp_path, speech_files):
    (tmp_path / "wav.scp").write_text(f"a {speech_files / 'a.flac'}\nb sox b.wav - |\nc data.ark:123\n")
    (tmp_path / "text").write_text("a One\nb Two\nc Three\n")
    command, archive, good = open_source(tmp_path).items()
    assert "a command, 'sox b.wav - |', which is not run" in (command.problem or "")
    assert "a part of an archive, 'data.ark:123'" in (archive.problem or "")
    assert (good.text, good.problem) == ("One", None)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc for open files")
def test_no_file_is_opened_twice(tmp_path, speech_files, monkeypatch):
    """Windows refuses to open a temporary file again that is still open."""
    opened = soundfile.SoundFile.__init__

    def refuse(self, file, *arguments, **named):
        descriptors = Path("/proc/self/fd")
        links = [os.readlink(link) for link in descriptors.iterdir() if link.is_symlink()]
        if isinstance(file, str) and os.path.realpath(file) in links:
            raise PermissionError(13, "it is used by another process", file)
        opened(self, file, *arguments, **named)

    with tarfile.open(tmp_path / "m.tar", "w") as tar:
        tar.add(speech_files / "a.flac", "a.flac")
    source = open_source(tmp_path / "m.tar")
    (item,) = source.items()
    monkeypatch.setattr(soundfile.SoundFile, "__init__", refuse)
    assert source.read(item, None)[0].size > 0


def test_lhotse(tmp_path, speech_files):
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    cuts = []
    for name, text in TEXTS.items():
        recording = Recording.from_file(speech_files / f"{name}.flac", recording_id=name)
        said = SupervisionSegment(f"s{name}", name, 0, recording.duration, text=text, speaker="one")
        cuts.append(MonoCut(f"cut-{name}", 0, recording.duration, 0, [said], recording=recording))
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    CutSet.from_cuts(cuts).to_file(tmp_path / "some.jsonl")
    for name in ("cuts.jsonl.gz", "some.jsonl"):
        source = open_source(tmp_path / name)
        assert source.kind == "lhotse"
        items = check(source, speech_files, ["cut-a", "cut-b", "cut-c"])
        assert {item.speaker for item in items} == {"one"}


@pytest.mark.parametrize("kind", ["jsonl", "tar"])
def test_reader_processes_read_other_sources_too(tmp_path, speech_files, codec, kind):
    if kind == "jsonl":
        source = tmp_path / "m.jsonl"
        source.write_text("\n".join(json.dumps({"path": str(speech_files / f"{n}.flac")}) for n in TEXTS))
    else:
        source = tmp_path / "m.tar"
        with tarfile.open(source, "w") as tar:
            for name in TEXTS:
                tar.add(speech_files / f"{name}.flac", f"{name}.flac")
    result = prepare(source, tmp_path / "out", codec, SMALL, workers=1)
    assert result.manifest.rows == 3
    assert result.manifest.source["kind"] == ("table" if kind == "jsonl" else "webdataset")


def test_what_is_no_corpus(tmp_path, codec):
    with pytest.raises(DatasetError, match="no such file or folder"):
        open_source(tmp_path / "none")
    (tmp_path / "notes.docx").touch()
    with pytest.raises(DatasetError, match="not a kind of table that is known"):
        open_source(tmp_path / "notes.docx")
    with pytest.raises(DatasetError, match="unknown kind of corpus 'mp3'"):
        open_source(tmp_path, "mp3")
    with pytest.raises(DatasetError, match="is read as folder, which columns do not go with"):
        open_source(tmp_path, columns=Columns(text="x"))
    with pytest.raises(DatasetError, match="cannot be loaded as a data set"):
        list(open_source("nobody/nothing-of-that-name").items())
