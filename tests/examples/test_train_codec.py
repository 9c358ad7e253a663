"""The training of a codec by command: begun, resumed, refused; and the small parts of its corpus."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from neucodec_tts import NeuCodec
from tests.examples.conftest import RECIPE
from tests.training.codec.conftest import small_codec, write_corpus

Recipe = Callable[[str], Any]
QUICK = (
    "segments.batch_seconds=2",
    "segments.longest=1.2",
    "discriminators.period_channels=[2,2]",
    "discriminators.spectrum_channels=2",
    "log_every=1",
)


def train(*arguments: str | Path, processes: int = 1) -> subprocess.CompletedProcess[str]:
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [
        sys.executable,
        *(several if processes > 1 else ["-W", "ignore"]),
        str(RECIPE / "train.py"),
        *map(str, arguments),
        "--cpu",
        "--threads",
        "1",
    ]
    return subprocess.run([*command, "--set", *QUICK], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("recordings"), rate=44_100, clips=52, seconds=1.1)


@pytest.mark.slow
def test_a_decoder_at_44_khz_is_trained_and_goes_on(tmp_path: Path, corpus: Path) -> None:
    small_codec().save_pretrained(tmp_path / "codec")
    command = (
        *(corpus, "--codec", tmp_path / "codec", "--train", "decoder", "--output-rate", "44100"),
        *("--out", tmp_path / "out", "--steps", "3"),
    )
    stopped = train(*command, "--minutes", "0")
    assert stopped.returncode == 0, stopped.stderr
    assert "step 0, 0.00 h heard: stopped; the same command goes on from here" in stopped.stderr
    done = train(*command, "--encode-once")
    assert done.returncode == 0, done.stderr
    assert "step 3, 0.00 h heard: done" in done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["step"] == 3
    assert "stoi" in result
    codec = NeuCodec.from_pretrained(tmp_path / "out" / "checkpoint")
    assert codec.decode(torch.arange(5)).shape == (5 * 882,)


@pytest.mark.slow
def test_a_training_goes_on_with_one_process_fewer(tmp_path: Path, corpus: Path) -> None:
    small_codec().save_pretrained(tmp_path / "codec")
    command = (
        corpus,
        "--codec",
        tmp_path / "codec",
        "--train",
        "all",
        "--output-rate",
        "44100",
        "--out",
        tmp_path / "out",
    )
    first = train(*command, "--steps", "2", processes=2)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("step 2, ") == 1  # one of them speaks
    second = train(*command, "--steps", "3")
    assert second.returncode == 0, second.stderr
    assert "from step 2" in second.stderr
    assert "step 3, " in second.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--codec", "tiny", "--levels", "4,4"), "the encoder and the codebook stay"),
        (("--codec", "tiny", "--train", "scratch"), "leave --codec out"),
        (("--codec", "tiny", "--like", "tiny"), "--like is for --train scratch"),
        ((), "--train decoder needs --codec"),
        (("--train", "all", "--encode-once"), "with all codes change"),
        (("--set", "rate=fast"), "the setting rate is a number, such as 0.0001, not 'fast'"),
        (("--set", "game=chess"), "the setting game is one of least-squares, hinge, not 'chess'"),
        (("--shares", "1", "2"), "--shares has 2 numbers for 1 corpora"),
        (("--codec", "tiny", "--teacher", "semantic"), "nothing for --teacher to teach"),
        (("--codec", "tiny", "--set", "weights.heard=1"), "name one with --teacher"),
        (("--codec", "tiny", "--train", "encoder", "--levels", "4,4"), "the codebook stays as it is"),
    ],
)
def test_what_does_not_go_together_is_refused(
    recipe: Recipe, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    script = recipe("train")

    def begin() -> None:
        args = script.parse(["x", "--out", str(tmp_path), *arguments])
        settings = script.settings_of(args)
        script.teacher_of(args, settings, script.begin(args)[1], torch.device("cpu"))

    with pytest.raises(script.NeuCodecError, match=message):
        begin()


def test_a_codec_of_the_sizes_of_another_begins_at_random(recipe: Recipe, tmp_path: Path) -> None:
    script = recipe("train")
    args = script.parse(
        ["x", "--out", str(tmp_path), "--train", "scratch", "--like", "tiny", "--levels", "4,4,4"]
    )
    codec, given = script.begin(args)
    tiny = NeuCodec.from_pretrained("tiny", dtype="float32")
    assert given is None
    assert codec.dtype == torch.float32
    assert codec.codebook_size == 64
    assert codec.config.hidden_size == tiny.config.hidden_size
    assert codec.codec_id != tiny.codec_id
    assert not torch.equal(codec.acoustic_decoder.fc.weight, tiny.acoustic_decoder.fc.weight)


def test_settings_by_name(recipe: Recipe, tmp_path: Path) -> None:
    script = recipe("train")

    args = script.parse(
        ["x", "--out", str(tmp_path), "--set", "weights.mel=45", "betas=[0.5,0.6]", "game=hinge"]
    )
    settings = script.settings_of(args)
    assert settings.weights.mel == 45
    assert settings.betas == (0.5, 0.6)
    assert settings.game == "hinge"
    args = script.parse(["x", "--out", str(tmp_path), "--set", "weights.smell=1"])
    with pytest.raises(script.NeuCodecError, match=r"there is no setting weights\.smell"):
        script.settings_of(args)


def test_a_training_travels_in_small_files(
    recipe: Recipe, tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = recipe("away")
    recordings = recipe("corpora").recordings

    away.pack([str(corpus)], tmp_path / "packed", megabytes=0.3)
    assert (tmp_path / "packed" / "0.tar").stat().st_size < 300_000
    there = list(recordings(str(tmp_path / "packed" / "0.tar")))
    assert {recording.speaker for recording in there} == {"a", "b"}
    wave, rate = there[0].read()
    assert rate == 48_000
    assert 10 < len(wave) / rate < 56
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    data = np.random.default_rng(0).bytes(100)
    (tmp_path / "folder" / "deep" / "file").write_bytes(data)
    monkeypatch.setattr(away, "PART", 3000)
    away.split(tmp_path / "folder", tmp_path / "parts")
    assert len(list((tmp_path / "parts").iterdir())) > 1
    away.join(tmp_path / "parts", tmp_path / "home")
    assert (tmp_path / "home" / "deep" / "file").read_bytes() == data


def test_texts_keep_their_order_and_hold_some_out(recipe: Recipe, tmp_path: Path) -> None:
    texts = recipe("texts")

    folder = tmp_path / "debian" / "wordnet-base" / "usr/share/wordnet"
    folder.mkdir(parents=True)
    line = (
        '00001740 29 v 01 breathe 0 | draw air in; "I can breathe better when the air is clean"; "breathe!"\n'
    )
    for part in ("verb", "noun", "adj", "adv"):
        (folder / f"data.{part}").write_text(line)
    for package in ("fortunes", "fortunes-min"):
        folder = tmp_path / "debian" / package / "usr/share/games/fortunes"
        folder.mkdir(parents=True)
        words = ("red", "green", "blue", "warm", "cold", "old", "new", "far", "near", "slow")
        lines = [f"The {a} cat saw a {b} dog on the mat." for a in words for b in words]
        (folder / "animals").write_text("\n%\n".join(lines))
    test, references = texts.held_out(tmp_path)
    training = texts.training_texts(tmp_path)
    assert len(test) == 50
    assert len(references) == 12
    assert not any(text in sentence for text in (*test, *references) for sentence in training)
    assert any("I can breathe better when the air is clean." in text for text in training)
    assert texts.training_texts(tmp_path) == training


def test_phones_are_compared_without_stress(recipe: Recipe) -> None:
    bare = recipe("listening").bare

    assert bare("həlˈO, ðˈɛɹ.") == "həlOðɛɹ"


def test_voices_are_trimmed(recipe: Recipe) -> None:
    voices = recipe("voices")

    quiet, loud = np.zeros(24_000, np.float32), np.ones(12_000, np.float32)
    assert len(voices.trimmed(np.concatenate([quiet, loud, quiet]))) == 12_000 + int(0.18 * 24_000)
    assert len(voices.trimmed(quiet)) == 0


def whisper_file(path: Path, size: int = 64) -> None:
    """A whisper encoder of one layer, random, as CTranslate2 writes it."""
    random = np.random.default_rng(0)
    shapes = {
        "conv1/weight": (size, 80, 3),
        "conv1/bias": (size,),
        "conv2/weight": (size, size, 3),
        "conv2/bias": (size,),
        "position_encodings/encodings": (1500, size),
        "layer_norm/gamma": (size,),
        "layer_norm/beta": (size,),
    }
    for part, inner in (("self_attention", 3 * size), ("ffn", 4 * size)):
        last = size if part == "self_attention" else inner
        shapes |= {
            f"layer_0/{part}/layer_norm/gamma": (size,),
            f"layer_0/{part}/layer_norm/beta": (size,),
            f"layer_0/{part}/linear_0/weight": (inner, size),
            f"layer_0/{part}/linear_0/bias": (inner,),
            f"layer_0/{part}/linear_1/weight": (size, last),
            f"layer_0/{part}/linear_1/bias": (size,),
        }

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(shapes) + 1)
    data += text("encoder/num_heads") + struct.pack("<BBI", 0, 2, 2) + struct.pack("<h", 1)
    for name, shape in shapes.items():
        values = (random.standard_normal(shape) * 0.1).astype(np.float16).tobytes()
        data += text(f"encoder/{name}") + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
        data += struct.pack("<BI", 4, len(values)) + values
    path.write_bytes(data)


def test_whisper_teaches_50_times_a_second(recipe: Recipe, tmp_path: Path) -> None:
    teacher = recipe("whisper_teacher")
    whisper_file(tmp_path / "model.bin")
    whisper = teacher.WhisperTeacher(tmp_path / "model.bin")
    waveform = torch.randn(2, 16_000)
    features = whisper(waveform)
    assert features.shape == (2, 50, whisper.size)
    assert torch.isfinite(features).all()
    recipe("away").teacher(tmp_path / "model.bin", tmp_path / "kept" / "teacher.npz")
    kept = teacher.WhisperTeacher(tmp_path / "kept" / "teacher.npz")
    assert torch.equal(kept(waveform), features)
    all_layers = teacher.WhisperTeacher(tmp_path / "model.bin", every_layer=True)
    states = all_layers(waveform)
    assert states.shape == (2, 50, all_layers.size)
    assert all_layers.size == whisper.size * (whisper._layers + 1)
    last = torch.nn.functional.layer_norm(features, (whisper.size,))
    assert torch.allclose(states[..., -whisper.size :], last, atol=1e-5)
    (tmp_path / "other.bin").write_bytes(struct.pack("<I", 5))
    with pytest.raises(ValueError, match="another version"):
        teacher.read_ctranslate2(tmp_path / "other.bin")


@pytest.mark.parametrize(("hours", "read"), [("0", 0), ("0.001", 4), ("1", 6)])
def test_a_corpus_ends_with_its_hours_or_its_texts(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: str, read: int
) -> None:
    corpus, texts = recipe("make_corpus"), recipe("texts")

    class Reader:
        site = tmp_path

        def __init__(self, out: Path) -> None:
            pass

        def make(self, split, items, check=True) -> None:
            for name, voice, text in items:
                split.keep(corpus.Row(name, f"{voice}/{name}.flac", text, text, voice, 1.0), np.zeros(9))

    monkeypatch.setattr(corpus, "Maker", Reader)
    monkeypatch.setattr(corpus, "TOGETHER", 2)
    monkeypatch.setattr(texts, "held_out", lambda site: (["A test."], ["A reference."]))
    monkeypatch.setattr(texts, "training_texts", lambda site: [f"Text {number}." for number in range(6)])
    arguments = ["--bulk-hours", hours, "--voice-hours", "0", "--crowd-hours", "0", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["make_corpus.py", *arguments])
    corpus.main()
    written = (tmp_path / "train" / "manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in written] == [f"Text {number}." for number in range(read)]


def test_silence_is_trimmed_but_for_a_margin(recipe: Recipe) -> None:
    trimmed = recipe("recordings").trimmed
    sound = (8000 * np.sin(np.arange(16_000) / 5)).astype(np.int16)
    silence = np.zeros(16_000, np.int16)
    kept = trimmed(np.concatenate([silence, sound, silence]))
    assert 16_000 + 2 * 1600 <= len(kept) <= 16_000 + 2 * 1600 + 640
    assert len(trimmed(silence)) == 0
    assert len(trimmed(silence[:10])) == 0


def test_splits_hold_out_speakers_prompts_and_the_demo(recipe: Recipe) -> None:
    recordings = recipe("recordings")
    by_speaker = {source.speaker: source for source in recordings.SOURCES}
    assert recordings.split_of(by_speaker["carlo-it"], "anything.g722") == "test"
    assert recordings.split_of(by_speaker["allison-en"], "sounds/tt-allbusy.g722") == "validation"
    assert all(source.split == "evaluation" for source in recordings.EVALUATION)
    assert not any("GPL" in source.licence for source in recordings.SOURCES)
    splits = [recordings.split_of(by_speaker["june-fr"], f"{number}.g722") for number in range(2000)]
    assert 0.02 < splits.count("validation") / 2000 < 0.04
    assert splits.count("train") + splits.count("validation") == 2000


def test_sources_that_left_a_package_are_named(recipe: Recipe, tmp_path: Path) -> None:
    recordings = recipe("recordings")
    (tmp_path / "some-package").mkdir()  # unpacked, but with nothing in it
    source = recordings.Source("x", "some-package", "**/*.wav", "none", "nobody")
    with pytest.raises(SystemExit, match=r"some-package has no files"):
        list(recordings.recordings(source, tmp_path))


def test_people_are_decoded_at_16_khz(recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("av")
    soundfile.write(tmp_path / "a.wav", np.full(8_000, 0.1), 8_000)
    samples = recipe("recordings").decoded(tmp_path / "a.wav")
    assert samples.dtype == np.int16
    assert len(samples) == pytest.approx(16_000, abs=64)
