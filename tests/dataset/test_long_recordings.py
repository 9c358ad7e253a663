"""Long recordings in pieces: in their pauses, or at the times of a transcript."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from neucodec_tts.audio import LongRecording, load_audio
from neucodec_tts.cli import main
from neucodec_tts.dataset import Item, PrepareSettings, TokenSettings, open_source, prepare, tokenize
from neucodec_tts.errors import AudioError, DatasetError
from tests.dataset.conftest import SMALL, files_of

RATE = 16_000
Book = Callable[..., tuple[Path, list[tuple[float, float]]]]


@pytest.fixture
def book(tmp_path, clip) -> Book:
    """Write a recording of stretches of speech between pauses; returns it and the times of the speech."""

    def write(
        name: str = "book.wav",
        speech: tuple[float, ...] = (2.0,) * 8,
        pause: float = 0.4,
        noise: float = 1e-4,
    ) -> tuple[Path, list[tuple[float, float]]]:
        random = np.random.default_rng(1)
        parts, times, position = [], [], 0.0
        for number, seconds in enumerate(speech):
            parts += [clip(number, seconds), np.zeros(round(pause * RATE))]
            times.append((position, position + seconds))
            position += seconds + pause
        samples = np.concatenate(parts)
        samples = samples + noise * random.standard_normal(samples.size)
        path = tmp_path / "corpus" / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, samples, RATE)
        return path, times

    return write


def items_of(path: Path, seconds: float = 6.0) -> list[Item]:
    return list(open_source(path, split_seconds=seconds).items())


def pieces(path: Path, seconds: float = 6.0) -> list[tuple[float, float | None, str | None]]:
    return [(item.start, item.end, item.text) for item in items_of(path, seconds) if item.problem is None]


def problems(path: Path, seconds: float = 6.0) -> list[str]:
    return [item.problem for item in items_of(path, seconds) if item.problem is not None]


# In pauses


@pytest.mark.parametrize("noise", [0.0, 1e-4, 3e-3])
def test_cuts_lie_in_pauses_and_nothing_is_lost(book, noise, caplog):
    path, speech = book(noise=noise)
    found = items_of(path)
    assert [item.id for item in found] == [f"book-{number:05d}" for number in range(len(found))]
    assert found[0].start == 0.0
    assert found[-1].end == soundfile.info(path).duration
    for before, after in itertools.pairwise(found):
        assert before.end == after.start
        assert not any(start < after.start < end for start, end in speech), after.start
    assert all(1.5 <= (item.end or 0.0) - item.start <= 6.0 for item in found)
    assert not caplog.records
    source = open_source(path, split_seconds=6.0)
    read = np.concatenate([source.read(item, None)[0] for item in found])
    assert np.array_equal(read, load_audio(path)[0])


def test_where_there_is_no_pause_the_quietest_place_is_taken_and_told(tmp_path, caplog):
    random = np.random.default_rng(0)
    samples = 0.1 * random.standard_normal(RATE * 10)
    samples[RATE * 5 : RATE * 5 + 1600] *= 0.5  # not long enough for a pause
    soundfile.write(tmp_path / "sea.wav", samples, RATE)
    (first, second) = pieces(tmp_path / "sea.wav")
    assert first[1] == second[0]
    assert 5.0 < second[0] < 5.1
    assert "sea.wav: 1 of 1 cuts are at the quietest place, since there is no pause (at 5.0" in caplog.text


@pytest.mark.parametrize("change", ["offset", "rumble", "opposite"])
def test_pauses_are_found_beside_an_offset_a_rumble_and_opposite_channels(book, change, tmp_path):
    path, speech = book()
    samples = soundfile.read(path)[0]
    if change == "offset":
        samples = samples + 0.3
    elif change == "rumble":
        samples = samples + 0.05 * np.sin(2 * np.pi * 8 * np.arange(samples.size) / RATE)
    else:
        samples = np.stack([samples, -samples], axis=1)
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    found = pieces(path)
    assert len(found) > 2
    assert not any(start < piece[0] < end for piece in found for start, end in speech)
    source = open_source(path, split_seconds=6.0)
    item = next(iter(source.items()))
    expected = load_audio(path, end=item.end)[0]
    assert np.array_equal(source.read(item, None)[0], expected)


def test_a_recording_of_one_piece_keeps_its_name_and_its_text(book, tmp_path):
    short, _ = book("short.wav", (2.0,))
    short.with_suffix(".txt").write_text("One sentence.")
    book("long.wav")
    found = items_of(tmp_path / "corpus")
    assert (found[-1].id, found[-1].text) == ("short", "One sentence.")
    assert [item.id for item in found[:2]] == ["long-00000", "long-00001"]
    assert {item.text for item in found[:-1]} == {None}


def test_a_long_text_without_times_is_no_text_of_pieces(book):
    path, _ = book()
    path.with_suffix(".txt").write_text("All that is said in eight stretches.")
    assert pieces(path) == []
    assert "its text has no times, so that it cannot be cut" in problems(path)[0]


# Formats


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".flac", []),
        (".mp3", ["-b:a", "48k", "-write_xing", "0"]),
        (".mp3", ["-q:a", "5"]),
        (".ogg", ["-c:a", "libvorbis"]),
        (".opus", []),
        (".m4a", []),
        (".webm", ["-c:a", "libopus"]),
    ],
)
def test_pieces_of_any_format_are_its_samples(book, suffix, options):
    """However many are skipped, and whichever were read before."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg")
    wave, _ = book()
    path = wave.with_name(f"coded{suffix}")
    subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-i", wave, "-ac", "2", *options, path],
        check=True,
    )
    whole, rate = load_audio(path)
    recording = LongRecording(path)
    assert recording.rate == rate
    for start, end in ((3.0, 5.5), (0.5, 4.25), (4.25, 4.5), (10.0, whole.size / rate)):
        part = recording.read(start, end)
        assert np.array_equal(part, whole[round(start * rate) : round(end * rate)]), (start, end)
    with pytest.raises(AudioError, match=r"there is no part from 18 s to 30 s in a recording of 19"):
        recording.read(18.0, 30.0)
    found = items_of(path)
    assert found[-1].end == pytest.approx(whole.size / rate)


def test_a_recording_that_is_cut_short_is_left_out(book):
    path, _ = book()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "the file is cut short, 9.6" in problems(path)[0]


# Transcripts

LINES = [
    (0.0, 2.0, "They are all gone."),
    (2.4, 4.4, "I am still here,"),
    (4.8, 6.8, "and I will stay."),
    (7.2, 9.2, "Nobody asked."),
    (9.6, 19.2, "The rest is silence."),
]
EXPECTED = [
    (0.0, 2.0, "They are all gone."),
    (2.4, 6.8, "I am still here, and I will stay."),
    (7.2, 9.2, "Nobody asked."),
    (9.6, 19.2, "The rest is silence."),
]


def srt(lines=LINES, arrow: str = "-->") -> str:
    def clock(seconds: float) -> str:
        return f"{int(seconds // 3600):02d}:{int(seconds // 60) % 60:02d}:{seconds % 60:06.3f}".replace(
            ".", ","
        )

    return "\n".join(
        f"{number}\n{clock(start)} {arrow} {clock(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(lines, start=1)
    )


def vtt() -> str:
    cues = (
        srt().replace(",000", ".000").replace(",400", ".400").replace(",800", ".800").replace(",200", ".200")
    )
    cues = cues.replace(",600", ".600").replace("00:00:", "00:")
    return "WEBVTT\n\nNOTE not spoken\n\n" + cues.replace("They are", "<i>They</i> <00:00:00.500>are")


def lrc() -> str:
    return "[ar:Nobody]\n" + "\n".join(f"[00:{start:05.2f}]{text}" for start, _, text in LINES)


def grid(short: bool) -> str:
    intervals, position = [], 0.0
    for start, end, text in LINES:
        if start > position:
            intervals.append((position, start, ""))
        intervals.append((start, end, text.replace("gone", "gone")))
        position = end
    if short:
        body = "\n".join(f'{start}\n{end}\n"{text}"' for start, end, text in intervals)
        tier = f'"IntervalTier"\n"sentences"\n0\n19.2\n{len(intervals)}\n{body}\n'
        words = '"IntervalTier"\n"phones"\n0\n19.2\n1\n0\n19.2\n"a"\n'
        return f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n19.2\n<exists>\n2\n{words}{tier}'
    body = "\n".join(
        f"        intervals [{n}]:\n            xmin = {start} \n            xmax = {end} \n"
        f'            text = "{text}" '
        for n, (start, end, text) in enumerate(intervals, start=1)
    )
    return (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = 19.2 \ntiers? <exists> \nsize = 1 \n'
        'item []: \n    item [1]:\n        class = "IntervalTier" \n        name = "talk" \n        xmin = 0 \n'
        f"        xmax = 19.2 \n        intervals: size = {len(intervals)} \n{body}\n"
    )


def segments() -> list[dict[str, object]]:
    return [{"start": start, "end": end, "text": " " + text} for start, end, text in LINES]


def spoken(kind: str) -> str:
    """Whisper's JSON, and that of its relatives."""
    whole = " ".join(text for *_, text in LINES)
    forms: dict[str, object] = {
        "whisper": {"text": whole, "segments": segments(), "language": "en"},
        "list": segments(),
        "pipeline": {
            "text": whole,
            "chunks": [{"timestamp": [start, end], "text": text} for start, end, text in LINES],
        },
        "cpp": {
            "transcription": [
                {"offsets": {"from": round(start * 1000), "to": round(end * 1000)}, "text": f" {text}"}
                for start, end, text in LINES
            ]
        },
    }
    return json.dumps(forms[kind])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("book.srt", srt()),
        ("book.en.srt", srt()),
        ("book.wav.srt", srt().replace("\n", "\r\n")),
        ("book.vtt", vtt()),
        ("book.TextGrid", grid(short=True)),
        ("book.TextGrid", grid(short=False)),
        *(("book.json", spoken(kind)) for kind in ("whisper", "list", "pipeline", "cpp")),
    ],
)
def test_transcripts_with_times(book, name, content):
    path, _ = book()
    path.with_name(name).write_text(content, encoding="utf-16" if "Grid" in name else "utf-8-sig")
    assert pieces(path, 10.0) == EXPECTED
    assert problems(path, 10.0) == []


def test_lyrics_have_no_ends(book):
    path, _ = book()
    path.with_name("book.lrc").write_text(lrc())
    found = pieces(path, 10.0)
    assert [(start, text) for start, _, text in found] == [(start, text) for start, _, text in EXPECTED]
    assert found[0][1] == 2.4
    assert found[-1][1] == pytest.approx(19.2)


def test_a_segment_that_is_too_long_is_cut_between_its_words(book):
    path, _ = book()
    starts = [0.0, 2.4, 4.8, 7.2, 9.6, 12.0, 14.4, 16.8]
    words = [{"word": f" w{n}", "start": start, "end": start + 2.0} for n, start in enumerate(starts)]
    words[3]["end"] = 9.0  # so that the widest gap follows it
    segment = {
        "start": 0.0,
        "end": 18.8,
        "text": "".join(str(word["word"]) for word in words),
        "words": words,
    }
    path.with_suffix(".json").write_text(json.dumps({"segments": [segment]}))
    found = pieces(path, 10.0)
    assert " ".join(text or "" for *_, text in found) == "w0 w1 w2 w3 w4 w5 w6 w7"
    assert all((end or 0.0) - start <= 10.0 for start, end, _ in found)
    del segment["words"]
    path.with_suffix(".json").write_text(json.dumps({"segments": [segment]}))
    assert pieces(path, 10.0) == []
    assert problems(path, 10.0)[0].startswith("too long: book.json, segment 1: 18.80 s, more than 10 s")


def test_speakers_are_told_apart(book):
    path, _ = book()
    path.with_suffix(".vtt").write_text(
        "WEBVTT\n\n00:00.000 --> 00:02.000\n<v Ann>I am\n\n00:02.400 --> 00:04.400\n<v.loud Bob Lee>not here\n"
    )
    found = [item for item in items_of(path) if item.problem is None]
    assert [(item.speaker, item.text) for item in found] == [("Ann", "I am"), ("Bob Lee", "not here")]


@pytest.mark.parametrize(
    ("lines", "kept", "said"),
    [
        (
            [(0, 2, "One."), (1, 3, "Two."), (4, 6, "Three.")],
            ["Three."],
            "overlaps book.srt, line 6, by 1.00 s",
        ),
        ([(4, 6, "Two."), (0, 2, "One.")], ["One.", "Two."], None),
        ([(0, 2, "One."), (5, 4, "Two.")], ["One."], "line 6: ends at 4.00 s, and begins at 5.00 s"),
        ([(0, 2, "One."), (2, 4, "[applause]")], ["One."], "no text: book.srt, line 6: a sound and no words"),
        ([(0, 2, "One."), (2, 4, "♪ la la ♪")], ["One."], "a sound and no words, '♪ la la ♪'"),
        ([(0, 2, "[sighs] One."), (2, 4, "")], ["[sighs] One."], None),
        ([(0, 2, "One."), (60, 62, "Two.")], [], "goes on to 62.00 s, and the recording ends at 19.20 s"),
        ([(0, 2, "One."), (17, 19.25, "Two.")], ["One.", "Two."], None),
        (
            [(0, 2, "One."), (16, 18, "Two.")],
            ["One.", "Two."],
            "no text: book.srt has no words from 2.00 to 16.00 s",
        ),
    ],
)
def test_transcripts_that_are_not_right(book, lines, kept, said):
    path, _ = book()
    path.with_suffix(".srt").write_text(srt(lines))
    assert [text for *_, text in pieces(path)] == kept
    found = problems(path)
    assert said is None or any(said in problem for problem in found), found


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("book.srt", srt(arrow="->"), "book.srt: there are no times in it"),
        ("book.srt", "", "there are no times in it"),
        ("book.srt", b"\xff\xe9 latin", "not in utf-8"),
        (
            "book.srt",
            srt().replace("00:00:07,200", "00:00:ab"),
            "line 14: '00:00:ab --> 00:00:09,200' are no times",
        ),
        ("book.srt", srt().replace("\n\n", "\n"), None),
        ("book.json", "{", "not JSON"),
        ("book.json", '{"title": "not a transcript"}', None),
        ("book.json", '{"segments": [{"text": "Gone.", "start": 0}]}', "has no start and end"),
        ("book.TextGrid", grid(short=True)[:200], "a TextGrid that ends early"),
        ("book.TextGrid", "no grid", "a TextGrid that ends early"),
        ("book.TextGrid", grid(short=True).replace("phones", "talk"), None),
        ("book.TextGrid", grid(short=True).replace("phones", "utterances"), "which of its tiers"),
    ],
)
def test_files_that_are_no_transcripts(book, name, content, said):
    path, _ = book()
    path.with_name(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = problems(path, 10.0)
    assert (found == []) == (said is None)
    assert said is None or any(said in problem for problem in found), found
    if name == "book.srt" and said is None:
        assert pieces(path, 10.0) == EXPECTED


# Data sets


def test_a_data_set_of_pieces(book, codec, tmp_path):
    """The same bytes with reader processes; times as columns, kept when tokens are added; another length is refused."""
    path, _ = book()
    path.with_suffix(".srt").write_text(srt())
    book("free.wav", (2.0, 3.0, 2.0))
    settings = PrepareSettings(0.1, 30.0, "any", 4, 4.0)
    corpus = open_source(tmp_path / "corpus", split_seconds=5.0)
    prepare(corpus, tmp_path / "out", codec, settings, workers=0)
    prepare(corpus, tmp_path / "again", codec, settings, workers=2)
    assert files_of(tmp_path / "again") == files_of(tmp_path / "out")
    rows = [
        row for shard in sorted((tmp_path / "out/data").iterdir()) for row in pq.read_table(shard).to_pylist()
    ]
    assert [row["id"] for row in rows] == [
        *(f"book-{n:05d}" for n in range(3)),
        *(f"free-{n:05d}" for n in range(3)),
    ]
    assert [(row["start"], row["end"], row["text"]) for row in rows[:3]] == EXPECTED[:3]
    assert rows[1]["duration"] == pytest.approx(4.4)
    rejects = pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()
    assert [(row["id"], row["reason"]) for row in rejects] == [("book-00003", "too long")]
    tokenize(tmp_path / "out", TokenSettings("tiny"))
    table = pq.read_table(sorted((tmp_path / "out/data").iterdir())[0])
    assert table["start"].to_pylist() == [row["start"] for row in rows[:3]]
    assert "input_ids" in table.column_names
    with pytest.raises(DatasetError, match="split_seconds was 5 and is now 6"):
        prepare(open_source(tmp_path / "corpus", split_seconds=6.0), tmp_path / "out", codec, settings)


def test_the_command_line_cuts_a_recording(book, tmp_path, capsys):
    path, _ = book()
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "--split", "6", str(path), "-o", str(tmp_path / "out"), "--without-text", "--json"])
    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["rows"] == 4
    assert said["hours"] * 3600 == pytest.approx(soundfile.info(path).duration)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--split", "6", "--max-seconds", "5"], 2, "--max-seconds 5 would leave out pieces of --split 6"),
        (["--split", "1"], 1, "pieces of 1 s are not possible; choose 2 to 3600 s"),
        (["--split", "nan"], 1, "pieces of nan s are not possible"),
        (["--split", "6"], 1, "no texts found"),
        (["--split", "6", "--kind", "kaldi"], 1, "pieces of some seconds do not go with"),
        (["--split", "train"], 1, "config, split and revision do not go with"),
        ([], 1, "one recording; --split SECONDS"),
    ],
)
def test_what_does_not_go_together(book, tmp_path, capsys, options, code, said):
    path, _ = book()
    source = path.parent if "train" in options else path
    with pytest.raises(SystemExit) as ended:
        main(["prepare", str(source), "-o", str(tmp_path / "out"), *options])
    assert ended.value.code == code
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_nothing_there(tmp_path):
    with pytest.raises(DatasetError, match="no such folder or recording"):
        open_source(tmp_path / "gone.wav", split_seconds=5.0)


@pytest.mark.slow
def test_sources_can_be_sent(book, codec, tmp_path):
    """As a program that is not this one."""
    path, _ = book()
    program = (
        "import sys; from neucodec_tts import NeuCodec; from neucodec_tts.dataset import *;"
        "from tests.dataset.conftest import SMALL;"
        "prepare(open_source(sys.argv[1], split_seconds=6.0), sys.argv[2], NeuCodec.from_pretrained('tiny'), SMALL)"
    )
    subprocess.run([sys.executable, "-c", program, path, tmp_path / "out"], check=True)
    prepare(open_source(path, split_seconds=6.0), tmp_path / "here", codec, SMALL, workers=0)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "here")
