"""Tables, lists and folders in the forms that other programs write, and with lines that are wrong."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neucodec_tts.dataset import open_source, prepare
from neucodec_tts.errors import DatasetError
from tests.dataset.conftest import SMALL

ASKING = replace(SMALL, without_text=False)
TEXTS = ("One, two; three.", "Four “five”?", "Six")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, write_clip) -> Path:
    """The folder of a, b and c, which are WAV files."""
    folder = tmp_path_factory.mktemp("recordings")
    for number, name in enumerate("abc"):
        write_clip(folder / f"{name}.wav", number)
    return folder


@pytest.fixture
def folder(tmp_path, recordings) -> Path:
    """A folder for a table, with the recordings in ``wavs``."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "wavs").symlink_to(recordings)
    return tmp_path / "corpus"


def listed(path: Path) -> list[tuple[str | None, str | None]]:
    """Text and speaker of each item, all of whose recordings are there."""
    items = list(open_source(path).items())
    assert [item.problem for item in items] == [None] * len(items)
    assert all(item.size > 0 for item in items)
    return [(item.text, item.speaker) for item in items]


@pytest.mark.parametrize("delimiter", ["|", ";", "\t", ","])
@pytest.mark.parametrize("name", ["metadata.csv", "train.csv", "train.tsv", "train.txt"])
def test_a_header_counts_whatever_separates_the_columns(folder, delimiter, name):
    quote = '"' if delimiter in ";," else ""
    rows = [
        f"wavs/{n}.wav{delimiter}{quote}{text}{quote}{delimiter}ann"
        for n, text in zip("abc", TEXTS, strict=True)
    ]
    (folder / name).write_text("\n".join([delimiter.join(("audio_file", "text", "speaker_name")), *rows]))
    path = folder if name == "metadata.csv" else folder / name
    assert listed(path) == [(text, "ann") for text in TEXTS]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("metadata.csv", "a|ann|One.\nb|ann|Two.\nc|bob|Three."),  # Piper
        ("metadata.csv", "id|speaker|text\na|ann|One.\nb|ann|Two.\nc|bob|Three."),
        ("metadata.csv", "Audio_File|Text|Speaker\nwavs/a.wav|One.|ann\na|Two.|ann\nwavs/c|Three.|bob"),
        ("corpus.list", "wavs/a.wav|ann|EN|One.\nwavs/b.wav|ann|EN|Two.\nwavs/c.wav|bob|EN|Three."),  # GPT-SoVITS
        ("corpus.list", "wavs\\a.wav|ann|en|One.\nwavs\\b.wav|ann|en|Two.\nwavs\\c.wav|bob|ja|Three."),
        ("esd.list", "wavs/a.wav|ann|EN|One.|w ah n|0 1|1 2\nwavs/b.wav|ann|EN|Two.|t uw|0 1|1 2\n"
         "wavs/c.wav|bob|EN|Three.|th r iy|0 1|1 2"),  # Bert-VITS2
        ("train.txt", "wavs/a.wav|ann|One.\nwavs/b.wav|ann|Two.\nwavs/c.wav|bob|Three."),  # VITS
        ("train.txt", "wavs/a.wav|One.|ann\nwavs/b.wav|Two.|ann\nwavs/c.wav|Three.|bob"),  # StyleTTS
        ("train.txt", "wavs/a.wav|p/a.pt|One.|ann\nwavs/b.wav|p/b.pt|Two.|ann\nwavs/c.wav|p/c.pt|Three.|bob"),
        ("train.tsv", "wavs/a.wav\tann\tOne.\nwavs/b.wav\tann\tTwo.\nwavs/c.wav\tbob\tThree."),
    ],
)  # fmt: skip
def test_speakers_and_texts_are_told_apart(folder, name, lines):
    (folder / name).write_text(lines)
    expected = [("One.", "ann"), ("Two.", "ann"), ("Three.", "bob")]
    assert listed(folder if name != "train.tsv" else folder / name) == expected


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("train.txt", "wavs/a.wav|One.\nwavs/b.wav|Two.\nwavs/c.wav|Three."),
        (
            "train.txt",
            "wavs/a.wav|p/a.pt|One.\nwavs/b.wav|p/b.pt|Two.\nwavs/c.wav|p/c.pt|Three.",
        ),  # FastPitch
        ("metadata.csv", "a|One.\nb|Two.\nc|Three."),  # LJSpeech
        ("metadata.csv", "a|1.|One.\nb|2.|Two.\nc|3.|Three."),
        ("metadata.csv", "a|No 1|One.\nb|Two.|\nc|Three."),
    ],
)
def test_lists_without_speakers(folder, name, lines):
    (folder / name).write_text(lines)
    assert listed(folder) == [("One.", None), ("Two.", None), ("Three.", None)]


@pytest.mark.parametrize("name", ["validated.tsv", "train.tsv"])
def test_common_voice(tmp_path, recordings, name):
    (tmp_path / "clips").symlink_to(recordings)
    rows = ["client_id\tpath\tsentence\tup_votes", *(f"s{n}\t{n}.wav\t'{n}' said \"she\t2" for n in "abc")]
    (tmp_path / name).write_text("\n".join(rows))
    (tmp_path / "other.tsv").write_text("client_id\tpath\tsentence\nx\tz.wav\tNo.\n")
    for path in (tmp_path, tmp_path / name):
        assert listed(path) == [(f"'{n}' said \"she", f"s{n}") for n in "abc"]


def test_two_lists_are_a_question(folder):
    for name in ("train.txt", "val.txt"):
        (folder / name).write_text("wavs/a.wav|One.\n")
    with pytest.raises(DatasetError, match=r"train\.txt, val\.txt are lists of recordings; name one of them"):
        open_source(folder)


@pytest.mark.parametrize("kind", ["folder", "table", "parquet", "own text column"])
def test_a_corpus_without_texts_is_a_question(tmp_path, codec, recordings, kind):
    source = recordings
    if kind == "table":
        source = tmp_path / "all.jsonl"
        source.write_text("\n".join(json.dumps({"audio": str(recordings / f"{n}.wav")}) for n in "abc"))
    elif kind == "own text column":
        source = tmp_path / "all.csv"
        source.write_text("audio,words\n" + "\n".join(f"{recordings / n}.wav,Hello." for n in "abc"))
    elif kind == "parquet":
        source = tmp_path / "all.parquet"
        pq.write_table(pa.table({"audio": [str(recordings / f"{n}.wav") for n in "abc"]}), source)
    with pytest.raises(DatasetError, match=r"no texts found in .*go on with --without-text"):
        prepare(source, tmp_path / "out", codec, ASKING, workers=0)
    assert not (tmp_path / "out").exists()
    assert prepare(source, tmp_path / "out", codec, SMALL, workers=0).manifest.rows == 3
    assert prepare(source, tmp_path / "out", codec, ASKING, workers=0).was_complete


def test_some_texts_suffice(tmp_path, codec, recordings):
    shutil.copytree(recordings, tmp_path / "corpus")
    (tmp_path / "corpus" / "b.txt").write_text("Words.")
    assert prepare(tmp_path / "corpus", tmp_path / "out", codec, ASKING, workers=0).manifest.rows == 3


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.list", b"wavs/a.wav|x|EN|One.\nwavs/b.wav|x|EN|One|two.\nwavs/c.wav|x|EN|Three.", "5 cells"),
        ("m.csv", b'path,text\nwavs/a.wav,One.\nwavs/b.wav,"Open\nwavs/c.wav,Three.', "quotation mark is not closed"),
        ("m.csv", b'path,text\nwavs/a.wav,"One."\nwavs/b.wav,"Two" x\nwavs/c.wav,"Three."', "expected after"),
        ("m.csv", b"path,text\nwavs/a.wav,One.\n,Two.\nwavs/c.wav,Three.", "path must be the path of a recording"),
        ("m.tsv", b"path\ttext\nwavs/a.wav\tOne.\nwavs/b.wav\nwavs/c.wav\tThree.", "1 cells, and there are 2"),
        ("m.tsv", b"path\ttext\nwavs/a.wav\tOne.\nwavs/b.wav\t\xe9t\xe9.\nwavs/c.wav\tThree.", "windows-1252"),
        ("m.jsonl", b'{"path": "wavs/a.wav", "text": "One."}\n{"path":\n{"path": "wavs/c.wav", "text": "Three."}',
         "not JSON"),
        ("m.jsonl", b'{"path": "wavs/a.wav", "text": "One."}\n[1]\n{"path": "wavs/c.wav", "text": "Three."}', "[1]"),
        ("m.jsonl", b'{"path": "wavs/a.wav", "text": "One."}\n{"text": "x"}\n{"path": "wavs/c.wav", "text": "Three."}',
         "no column with the audio"),
        ("m.json", b'[{"path": "wavs/a.wav", "text": "One."}, {"path": ""}, {"path": "wavs/c.wav", "text": "Three."}]',
         "entry 2"),
        ("m.json", b'[{"path": "wavs/a.wav", "text": "One."}, 7, {"path": "wavs/c.wav", "text": "Three."}]', "entry 2"),
        ("m.jsonl", b'{"path": "wavs/a.wav", "text": "One."}\n{"path": "wavs/b.wav", "offset": "soon"}\n'
         b'{"path": "wavs/c.wav", "text": "Three."}', "no time in seconds"),
        ("metadata.csv", b"a|One.\nb|Two|too|many.\nc|Three.", "id|text|normalised text"),
        ("wav.scp", b"a wavs/a.wav\nb sox b.wav -t wav - |\nc wavs/c.wav", "a command"),
    ],
)  # fmt: skip
def test_one_bad_line_costs_itself(tmp_path, codec, folder, name, content, says):
    (folder / name).write_bytes(content)
    if name == "wav.scp":
        (folder / "text").write_text("a One.\nb Two.\nc Three.\n")
    source = folder if name in ("metadata.csv", "wav.scp") else folder / name
    result = prepare(source, tmp_path / "out", codec, ASKING, workers=0)
    rows = pq.read_table(tmp_path / "out" / "data").to_pylist()
    assert [row["text"] for row in rows] == ["One.", "Three."]
    assert dict(result.manifest.rejects)["unusable"] >= 1
    details = [row["detail"] for row in pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()]
    assert any(says in detail for detail in details), details


def test_a_quoted_cell_may_hold_line_ends(folder):
    (folder / "m.csv").write_text('path,text\nwavs/a.wav,"One\ntwo, ""three"""\nwavs/b.wav,Four.\n')
    assert listed(folder / "m.csv") == [('One\ntwo, "three"', None), ("Four.", None)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32", "utf-16-le"])
@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.json", "a.txt"])
def test_encodings_with_a_mark(folder, recordings, encoding, name):
    content = {
        "m.csv": "path,text\r\nwavs/a.wav,Été ċ\r\n",
        "m.jsonl": '{"path": "wavs/a.wav", "text": "Été ċ"}\n',
        "m.json": '[\n{"path": "wavs/a.wav",\n "text": "Été ċ"}]',
        "a.txt": "Été ċ\r\n",
    }[name]
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    path = folder / name
    path.write_bytes(mark + content.encode(encoding))
    if name == "a.txt":
        shutil.copy(recordings / "a.wav", folder)
        (folder / "wavs").unlink()
        assert [((text or "").strip(), speaker) for text, speaker in listed(folder)] == [("Été ċ", None)]
    else:
        assert listed(path) == [("Été ċ", None)]


def test_advice_for_other_encodings(folder):
    (folder / "m.csv").write_bytes("path,text\nwavs/a.wav,Été\n".encode("utf-16-le"))
    with pytest.raises(DatasetError, match="iconv -f utf-16le"):
        list(open_source(folder / "m.csv").items())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
@pytest.mark.parametrize("kind", ["folder", "table", "kaldi"])
def test_names_that_are_no_text(tmp_path, codec, recordings, kind):
    odd = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    shutil.copy(recordings / "a.wav", odd)
    shutil.copy(recordings / "b.wav", tmp_path / "good.wav")
    (tmp_path / "good.txt").write_text("Good.")
    source = tmp_path
    if kind == "table":
        source = tmp_path / "m.csv"
        source.write_bytes(b"path,text\ncaf\xe9.wav,One.\ngood.wav,Good.\n")
    elif kind == "kaldi":
        (tmp_path / "wav.scp").write_bytes(b"x caf\xe9.wav\ngood good.wav\n")
        (tmp_path / "text").write_bytes(b"x One.\ngood Good.\n")
    result = prepare(source, tmp_path / "out", codec, ASKING, workers=1)
    assert result.manifest.rows == 1
    (reject,) = pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()
    assert "caf\\udce9" in reject["where"]
    assert "rename" in reject["detail"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", b"a|One.\rb|Two.\r"),
        ("m.csv", b"path,text\rwavs/a.wav,One.\rwavs/b.wav,Two.\r"),
        ("train.txt", b"wavs/a.wav|One.\rwavs/b.wav|Two."),
    ],
)
def test_lines_of_old_macs(folder, name, content):
    (folder / name).write_bytes(content)
    assert listed(folder if name != "m.csv" else folder / name) == [("One.", None), ("Two.", None)]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.csv", "path,text,text\nwavs/a.wav,One.,Two.\n", "2 columns are called 'text'"),
        (
            "m.csv",
            "wavs/a.wav,Well, one.\nwavs/b.wav,So, two.\n",
            "which of its 3 columns has the text is not clear",
        ),
        ("m.csv.gz", "path,text\nwavs/a.wav,One.\n", "it is compressed"),
        ("m.jsonl.gz", "path,text\nwavs/a.wav,One.\n", "not a file of cuts, or a damaged one"),
    ],
)
def test_tables_that_can_be_misread_are_refused(folder, name, content, says):
    (folder / name).write_text(content)
    with pytest.raises(DatasetError, match=says):
        list(open_source(folder / name).items())


def problems(path: Path) -> list[str | None]:
    return [item.problem for item in open_source(path).items()]


def test_a_pipe_within_a_text_is_no_second_text(folder):
    (folder / "metadata.csv").write_text("a|One.\nb|Two|three.\nc|Four.\n")
    good, bad, also_good = problems(folder)
    assert good is also_good is None
    assert "line 2" in str(bad)


@pytest.mark.parametrize("text", ['["One.", "Two."]', '{"en": "One."}', "true"])
def test_a_text_that_is_none_is_left_out(folder, text):
    (folder / "m.jsonl").write_text(f'{{"path": "wavs/a.wav", "text": {text}}}\n')
    (problem,) = problems(folder / "m.jsonl")
    assert "a text or a number is expected" in str(problem)


def test_kaldi_names_with_two_texts_or_recordings_are_left_out(folder):
    (folder / "wav.scp").write_text("a wavs/a.wav\nb wavs/b.wav\nc wavs/c.wav\nc wavs/a.wav\n")
    (folder / "text").write_text("a One.\nb Two.\nb Three.\nc Four.\n")
    found = {item.id: item for item in open_source(folder).items() if item.problem is None}
    assert {id: item.text for id, item in found.items()} == {"a": "One.", "c": "Four."}
    assert any("listed before with another recording" in str(each) for each in problems(folder))
    assert any("'b' has two texts" in str(each) for each in problems(folder))


def test_librispeech_with_tabs(tmp_path, recordings):
    (tmp_path / "1" / "2").mkdir(parents=True)
    shutil.copy(recordings / "a.wav", tmp_path / "1" / "2" / "1-2-0.wav")
    (tmp_path / "1" / "2" / "1-2.trans.txt").write_text("1-2-0\tONE TWO\n")
    assert listed(tmp_path) == [("ONE TWO", "1")]


def test_vctk(tmp_path, recordings):
    for kind in ("wav48_silence_trimmed", "txt"):
        (tmp_path / kind / "p225").mkdir(parents=True)
    for microphone in (1, 2):
        shutil.copy(
            recordings / "a.wav",
            tmp_path / "wav48_silence_trimmed" / "p225" / f"p225_001_mic{microphone}.wav",
        )
    (tmp_path / "txt" / "p225" / "p225_001.txt").write_text("Please call Stella.\n")
    assert [((text or "").strip(), speaker) for text, speaker in listed(tmp_path)] == 2 * [
        ("Please call Stella.", "p225")
    ]


def test_webdataset_keys_with_dots(tmp_path, recordings):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, name in enumerate("abc"):
            tar.add(recordings / f"{name}.wav", f"talk_{number}.50-{number + 1}.25.wav")
            (tmp_path / "text").write_text(name)
            tar.add(tmp_path / "text", f"talk_{number}.50-{number + 1}.25.txt")
        for number, name in enumerate("abc"):
            tar.add(recordings / f"{name}.wav", f"show.{number}.wav")
            tar.add(tmp_path / "text", f"show.{number}.txt")
    items = list(open_source(tmp_path / "a.tar").items())
    assert [item.text for item in items] == ["a", "b", "c", "c", "c", "c"]
    assert len({item.id for item in items}) == 6
    assert all(item.problem is None for item in items)
