"""Recordings, manifests and folders that are not as they should be: left out and counted, or refused and explained."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from neucodec_tts.dataset import CodecInfo, Item, PrepareSettings, prepare, preparing
from neucodec_tts.dataset.shards import read_shard
from neucodec_tts.errors import DatasetError
from tests.conftest import ROOT
from tests.dataset.conftest import SMALL, files_of
from tests.dataset.odd_sources import BrokenFolder, DeadlyFolder, ItemList
from tests.privileges import ordinary_user


def rejects_of(out: Path) -> dict[str, tuple[str, str]]:
    rows = pq.read_table(out / "rejects.parquet").to_pylist()
    return {row["id"]: (row["reason"], row["detail"]) for row in rows}


def test_bad_recordings_are_left_out_with_the_reason(tmp_path, codec, write_clip):
    folder = tmp_path / "corpus"
    good = write_clip(folder / "good.wav")
    (folder / "zero bytes.wav").touch()
    soundfile.write(folder / "zero samples.wav", np.zeros(0), 16_000)
    (folder / "truncated.wav").write_bytes(write_clip(tmp_path / "whole.wav", 1, 2.0).read_bytes()[:20_000])
    (folder / "rubbish.flac").write_bytes(os.urandom(5000))
    write_clip(folder / "50 ms.wav", 0, 0.05)
    soundfile.write(folder / "5 ms.wav", np.zeros(80), 16_000)
    soundfile.write(folder / "nan.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    with open(good, "rb") as opened, open(folder / "3 hours.wav", "wb") as long:
        long.write(_header_of_hours(3))
        long.truncate(44 + 3 * 3600 * 8000 * 2)  # takes no room on the disk
        assert opened.read(4) == b"RIFF"
    (folder / "a folder.wav").mkdir()
    result = prepare(folder, tmp_path / "out", codec, SMALL, workers=1)
    assert result.manifest.rows == 1
    found = rejects_of(tmp_path / "out")
    assert {id: reason for id, (reason, _) in found.items()} == {
        "zero bytes": "unreadable",
        "zero samples": "unreadable",
        "truncated": "unreadable",
        "rubbish": "unreadable",
        "50 ms": "too short",
        "5 ms": "too short",
        "nan": "unreadable",
        "3 hours": "too long",
    }
    assert "cut short" in found["truncated"][1]
    assert "zero length" in found["zero samples"][1]
    assert "must be finite" in found["nan"][1]
    assert found["3 hours"][1] == "3 hours.wav: 10800.000 s, more than 30 s"
    assert not any(str(tmp_path) in detail for _, detail in found.values())


def _header_of_hours(hours: float) -> bytes:
    size = round(hours * 3600 * 8000 * 2)
    number = lambda value, width: value.to_bytes(width, "little")  # noqa: E731
    return (
        b"RIFF" + number(size + 36, 4) + b"WAVEfmt " + number(16, 4) + number(1, 2) + number(1, 2)
        + number(8000, 4) + number(16_000, 4) + number(2, 2) + number(16, 2) + b"data" + number(size, 4)
    )  # fmt: skip


@pytest.fixture
def open_folder(tmp_path, codec, write_clip) -> Path:
    """A folder that any user may look into, and everything imported: an ordinary user may not read root's Python."""
    write_clip(tmp_path / "warm" / "one.wav")
    (tmp_path / "warm" / "all.jsonl").write_text('{"audio": "one.wav"}')
    prepare(tmp_path / "warm" / "all.jsonl", tmp_path / "warm" / "out", codec, SMALL, workers=0)
    for folder in (tmp_path, *(parent for parent in tmp_path.parents if "pytest" in str(parent))):
        folder.chmod(0o755)
    return tmp_path


def test_missing_and_forbidden_files(open_folder, codec, write_clip):
    tmp_path = open_folder
    write_clip(tmp_path / "good.wav")
    write_clip(tmp_path / "secret.wav").chmod(0)
    names = ["good.wav", "secret.wav", "gone.wav"]
    (tmp_path / "all.jsonl").write_text("\n".join(json.dumps({"audio": name}) for name in names))
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    with ordinary_user():
        result = prepare(tmp_path / "all.jsonl", tmp_path / "out", codec, SMALL, workers=0)
    assert dict(result.manifest.rejects) == {"missing": 1, "no permission": 1}
    assert rejects_of(tmp_path / "out")["gone"][1].startswith("gone.wav: no such file")


def test_ids_of_all_kinds(tmp_path, codec, write_clip):
    ids = [
        "../../etc/passwd",
        "a/b/c",
        "...",
        "Ünïcödé 🎙",
        "日本語",
        "line\nend",
        "x" * 5000,
        " ",
        "CON",
        "%s%n",
    ]
    write_clip(tmp_path / "corpus" / "one.wav")
    lines = [json.dumps({"id": id, "audio": "one.wav", "text": id}) for id in ids]
    (tmp_path / "corpus" / "all.jsonl").write_text("\n".join(lines))
    prepare(
        tmp_path / "corpus" / "all.jsonl", tmp_path / "out", codec, replace(SMALL, shard_items=20), workers=1
    )
    rows, _ = read_shard(tmp_path / "out" / "data" / "train-00000-of-00001.parquet")
    assert [row.id for row in rows] == ids
    assert sorted(files_of(tmp_path / "out"))[0] == "data/train-00000-of-00001.parquet"
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", "out"}


def test_duplicate_ids(tmp_path, codec, write_clip):
    write_clip(tmp_path / "one.wav")
    write_clip(tmp_path / "two.wav", 2)
    lines = [
        {"id": id, "audio": audio} for id, audio in (("a", "one.wav"), ("b", "two.wav"), ("a", "two.wav"))
    ]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, lines)))
    result = prepare(tmp_path / "all.jsonl", tmp_path / "out", codec, SMALL, workers=0)
    assert result.manifest.rows == 2
    assert dict(result.manifest.rejects) == {"duplicate id": 1}
    assert rejects_of(tmp_path / "out")["a"][1] == "duplicate id: it is that of one.wav, too"


def test_texts_of_all_kinds(tmp_path, codec, write_clip):
    texts = {
        "lines": ("One\n\ttwo\r\n  three ", "One two three"),
        "control": ("<|SPEECH_GENERATION_END|> <|endoftext|>", "<|SPEECH_GENERATION_END|> <|endoftext|>"),
        "nul": ("a\0b", "a\0b"),
        "empty": ("", None),
        "blank": (" \n ", None),
        "none": (None, None),
        "number": (7, "7"),
    }
    write_clip(tmp_path / "one.wav")
    lines = [json.dumps({"id": id, "audio": "one.wav", "text": text}) for id, (text, _) in texts.items()]
    lines.append('{"id": "half", "audio": "one.wav", "text": "\\ud800 half a character"}')
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    prepare(tmp_path / "all.jsonl", tmp_path / "out", codec, replace(SMALL, shard_items=20), workers=0)
    rows, _ = read_shard(tmp_path / "out" / "data" / "train-00000-of-00001.parquet")
    assert {row.id: row.text for row in rows} == {id: stored for id, (_, stored) in texts.items()}
    reason, detail = rejects_of(tmp_path / "out")["half"]
    assert reason == "unusable"
    assert "its text is not valid Unicode (\\ud800 half a character); mend it" in detail


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
def test_file_names_that_are_no_text(tmp_path, codec, write_clip):
    write_clip(tmp_path / "corpus" / "good.wav")
    shutil.copy(tmp_path / "corpus" / "good.wav", os.fsencode(tmp_path / "corpus") + b"/caf\xe9.wav")
    result = prepare(tmp_path / "corpus", tmp_path / "out", codec, SMALL, workers=0)
    assert dict(result.manifest.rejects) == {"unusable": 1}
    assert "is not valid Unicode" in rejects_of(tmp_path / "out")["caf\\udce9"][1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.jsonl", '{"audio": null}\n', "m.jsonl, line 1: audio must be the path of a recording, not None"),
        ("m.jsonl", '{"audio": "a.wav", "offset": "soon"}', "line 1: offset is 'soon', which is no time"),
        (
            "m.csv",
            "words,name\nx,y\n",
            "m.csv, line 1: no column with the audio; the columns are words, name",
        ),
        ("m.tsv", "path\ttext\na.wav\tHi\tthere\n", "m.tsv, line 2: 3 cells"),
        ("m.parquet", b"PAR1 rubbish", "m.parquet: not a Parquet file"),
        ("m.tar", b"rubbish" * 200, "m.tar: not a tar"),
        ("cuts.jsonl.gz", b"rubbish", "not a file of cuts, or a damaged one"),
        ("m.jsonl", "", "there are no recordings in"),
        ("m.csv", "", "there are no recordings in"),
    ],
)
def test_manifests_that_are_wrong(tmp_path, codec, name, content, says):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DatasetError) as found:
        prepare(path, tmp_path / "out", codec, SMALL, workers=0)
    assert says in str(found.value)
    assert not (tmp_path / "out").exists()


def test_an_empty_folder(tmp_path, codec):
    (tmp_path / "corpus").mkdir()
    with pytest.raises(DatasetError, match=r"there are no recordings in .*corpus; check the path"):
        prepare(tmp_path / "corpus", tmp_path / "out", codec, SMALL)
    assert not (tmp_path / "out").exists()


def test_folders_that_are_not_ours(tmp_path, codec, corpus):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("Years of work")
    with pytest.raises(DatasetError, match=r"thesis holds other files \(chapter\.tex\) and no data set"):
        prepare(corpus, tmp_path / "thesis", codec, SMALL)
    assert list((tmp_path / "thesis").iterdir()) == [tmp_path / "thesis" / "chapter.tex"]
    with pytest.raises(DatasetError, match=r"chapter\.tex is a file"):
        prepare(corpus, tmp_path / "thesis" / "chapter.tex", codec, SMALL)
    (tmp_path / "thesis" / "manifest.json").write_text('{"format": "chrome"}')
    with pytest.raises(DatasetError, match="not the manifest of a data set"):
        prepare(corpus, tmp_path / "thesis", codec, SMALL)
    with pytest.raises(DatasetError, match="holds other files"):
        prepare(corpus, corpus, codec, SMALL)


def test_no_permission(open_folder, codec, corpus):
    tmp_path = open_folder
    (tmp_path / "closed").mkdir(mode=0o555)
    with ordinary_user():
        for out in (tmp_path / "closed", tmp_path / "closed" / "out"):
            with pytest.raises(DatasetError, match=r"choose a(nother)? folder"):
                prepare(corpus, out, codec, SMALL, workers=0)


def test_two_runs_at_once(tmp_path, codec, corpus):
    with (
        preparing(corpus, tmp_path / "out", CodecInfo.of(codec), SMALL),
        pytest.raises(DatasetError, match=rf"is being written by another run \(process {os.getpid()} on"),
    ):
        prepare(corpus, tmp_path / "out", codec, SMALL, workers=0)
    assert prepare(corpus, tmp_path / "out", codec, SMALL, workers=0).manifest.rows == 10


def test_a_run_that_is_refused_leaves_the_other_alone(tmp_path, codec, corpus):
    with preparing(corpus, tmp_path / "out", CodecInfo.of(codec), SMALL) as preparation:
        half = preparation.recipe.folder.parts / "half a shard"
        half.touch()
        with pytest.raises(DatasetError, match="is being written by another run"):
            prepare(corpus, tmp_path / "out", codec, SMALL, workers=0)
        assert half.exists()
    assert not half.exists()


def test_the_lock_of_a_dead_process_blocks_nobody(tmp_path, codec, corpus):
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    (tmp_path / "out" / ".neucodec-tts").mkdir(parents=True)
    (tmp_path / "out" / ".neucodec-tts" / "lock").write_text(
        json.dumps({"process": dead.pid, "host": "here"})
    )
    assert prepare(corpus, tmp_path / "out", codec, SMALL, workers=0).manifest.rows == 10


def test_a_corpus_that_changed_is_noticed(tmp_path, codec, corpus, write_clip):
    prepare(corpus, tmp_path / "out", codec, SMALL, workers=0)
    before = files_of(tmp_path / "out")
    write_clip(corpus / "new.wav")
    (corpus / "part0" / "clip 0.wav").unlink()
    changed = corpus / "part1" / "clip 1.wav"
    samples, rate = soundfile.read(changed)
    soundfile.write(changed, samples[::-1], rate)  # as many bytes as before
    os.utime(changed, ns=(1, 1))
    (corpus / "part0" / "clip 2.txt").write_text("Other words.")
    with pytest.raises(DatasetError) as found:
        prepare(corpus, tmp_path / "out", codec, SMALL, workers=0)
    assert "1 utterances were added (new)" in str(found.value)
    assert "1 utterances are gone (part0/clip 0)" in str(found.value)
    assert "2 utterances have changed (part0/clip 2, part1/clip 1)" in str(found.value)
    assert files_of(tmp_path / "out") == before


@pytest.mark.parametrize("part", ["fc_encoder", "acoustic_encoder", "semantic_encoder", "acoustic_decoder"])
def test_another_codec_is_noticed(tmp_path, codec, corpus, part):
    """One codebook, another encoder, as NeuCodec's distilled twin; the decoder makes no codes."""
    prepare(corpus, tmp_path / "out", codec, SMALL, workers=0)
    other = copy.deepcopy(codec)
    next(each for each in getattr(other, part).parameters() if each.ndim > 1).data.mul_(1.01)
    assert other.codec_id == codec.codec_id
    if part == "acoustic_decoder":
        assert prepare(corpus, tmp_path / "out", other, SMALL, workers=0).was_complete
        return
    with pytest.raises(DatasetError, match=r"codec: encoder was [0-9a-f]+ and is now"):
        prepare(corpus, tmp_path / "out", other, SMALL, workers=0)


@pytest.mark.slow
def test_a_reader_process_that_dies(tmp_path, codec, write_clip):
    for number in range(8):
        write_clip(tmp_path / "corpus" / f"{number:02d}.wav", number)
    (tmp_path / "poison").touch()
    source, settings = DeadlyFolder(tmp_path / "corpus"), replace(SMALL, shard_items=2)
    with pytest.raises(
        DatasetError, match=r"a reader process died \(SIGKILL\) at 04\.wav.*run the same command again"
    ):
        prepare(source, tmp_path / "out", codec, settings, workers=1)
    (tmp_path / "poison").unlink()
    assert prepare(source, tmp_path / "out", codec, settings, workers=1).manifest.rows == 8


@pytest.mark.parametrize("error", [ZeroDivisionError, OSError, EOFError])
def test_a_bug_in_a_source_is_shown_as_it_is(tmp_path, codec, corpus, error):
    with pytest.raises(error, match="a bug in somebody's source"):
        prepare(BrokenFolder(corpus, error=error), tmp_path / "out", codec, SMALL, workers=1)


def test_nothing_is_kept(tmp_path, codec, corpus):
    result = prepare(corpus, tmp_path / "out", codec, replace(SMALL, min_seconds=20.0), workers=0)
    assert (result.manifest.rows, dict(result.manifest.rejects)) == (0, {"too short": 10})
    assert [shard.rows for shard in result.manifest.shards] == [0, 0, 0]
    assert prepare(corpus, tmp_path / "out", codec, replace(SMALL, min_seconds=20.0), workers=0).was_complete


def test_items_of_ones_own(tmp_path, codec, write_clip):
    """Anybody's class with the methods of `Source` is a corpus."""
    write_clip(tmp_path / "a.wav")
    items = (Item("one", "a.wav", "Yes."), Item("two", "b.wav", problem="it was lost"))
    result = prepare(ItemList(tmp_path, items), tmp_path / "out", codec, SMALL, workers=1)
    assert result.manifest.rows == 1
    assert rejects_of(tmp_path / "out")["two"] == ("unusable", "it was lost")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"min_seconds": -1}, "min_seconds is -1"),
        ({"max_seconds": float("nan")}, "max_seconds is nan"),
        ({"min_seconds": 5.0, "max_seconds": 2.0}, "nothing could be kept"),
        ({"text_rule": "nice"}, "unknown text rule 'nice'; known are any, speakable, neutts"),
        ({"shard_items": 0}, "shard_items is 0"),
        ({"batch_seconds": 0.0}, "batch_seconds is 0"),
    ],
)
def test_settings_that_cannot_be(values, says):
    with pytest.raises(DatasetError, match=says):
        PrepareSettings(**values)


_FULL = """
import sys
from neucodec_tts import NeuCodec
from neucodec_tts.dataset import prepare
from neucodec_tts.errors import DatasetError
from tests.dataset.conftest import SMALL
if len(sys.argv) > 3:
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    prepare(sys.argv[1], sys.argv[2], NeuCodec.from_pretrained("tiny"), SMALL, workers=0)
except DatasetError as problem:
    print(problem)
    sys.exit(3)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on processes")
def test_no_room_on_the_disk(tmp_path, codec, corpus):
    """A limit on the size of files stands in where no small disk can be mounted: the same place, another number."""
    program = [sys.executable, "-c", _FULL, str(corpus), str(tmp_path / "disk" / "out")]
    (tmp_path / "disk").mkdir()
    mount = f"mount -t tmpfs -o size=24k none {tmp_path / 'disk'}"
    own = ["unshare", "-rm", "sh", "-c"]
    if shutil.which("unshare") and not subprocess.run([*own, mount], capture_output=True).returncode:
        script = f'{mount} && "$@"; code=$?; find {tmp_path / "disk"} -type f >&2; exit $code'
        done = subprocess.run([*own, script, "sh", *program], cwd=ROOT, capture_output=True, text=True)
        assert "No space left on device" in done.stdout
        assert ".neucodec-tts/parts/" not in done.stderr
    else:
        done = subprocess.run([*program, "2500"], cwd=ROOT, capture_output=True, text=True)
        assert "File too large" in done.stdout
    assert done.returncode == 3, done.stderr
    assert "no space to write" in done.stdout
    assert "make room, and run the same command again: finished shards are kept" in done.stdout
