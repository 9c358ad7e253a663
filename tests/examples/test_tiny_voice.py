"""The recipe of the voice of `tiny`: the model that begins, other speeds of a corpus, and what is given away."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from neucodec_tts import NeuCodec, TextToSpeech, VoiceLibrary
from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.training.codec.models import tiny_config
from tests.assets import ASSETS


@pytest.fixture
def start(recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an untrained model of the codes of `tmp_path / "codec"`."""
    (tmp_path / "train").mkdir()
    row = {"id": "a", "audio": "a.wav", "text": "The quick brown fox jumps.", "speaker": "heart"}
    (tmp_path / "train/manifest.jsonl").write_text(json.dumps(row) + "\n")
    out = tmp_path / "start"
    NeuCodec(tiny_config([4] * 4)).save_pretrained(tmp_path / "codec")
    monkeypatch.setattr(
        sys,
        "argv",
        ["make_model.py", "--corpus", str(tmp_path), "--out", str(out), "--codec", str(tmp_path / "codec")],
    )
    recipe("make_model").main()
    return out


@pytest.mark.slow
def test_the_model_reads_phones_and_writes_codes(start: Path) -> None:
    from transformers import AutoTokenizer

    config = SpeechConfig.read(start / "speech_config.json")
    tokenizer = AutoTokenizer.from_pretrained(start)
    vocabulary = config.vocabulary(tokenizer)
    assert vocabulary.codebook_size == config.codebook_size == 256
    form = config.make_format(tokenizer, vocabulary)
    ids = form.prompt_ids("The fox.")
    assert tokenizer.convert_ids_to_tokens(ids[:4]) == ["<|TEXT_PROMPT_START|>", "ð", "ə", " "]
    assert tokenizer.unk_token_id not in ids
    assert form.prompt_ids("(The) fox…") == form.prompt_ids("The fox")
    example = form.training_example("The fox.", [3, 1, 2])
    assert example.input_ids[: len(ids)] == ids
    assert example.labels[len(ids) :] == [*vocabulary.to_ids([3, 1, 2]), form.stop_ids[0]]


@pytest.mark.slow
def test_a_model_begins_from_one_of_a_smaller_codebook(
    recipe, start: Path, tmp_path: Path, monkeypatch
) -> None:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    # As it is given away.
    LlamaForCausalLM.from_pretrained(start, dtype=torch.float16).save_pretrained(start)
    NeuCodec(tiny_config([4] * 5)).save_pretrained(tmp_path / "larger")
    out = tmp_path / "grown"
    arguments = [
        "--corpus",
        str(tmp_path),
        "--out",
        str(out),
        "--codec",
        str(tmp_path / "larger"),
        "--seed",
        "5",
    ]
    monkeypatch.setattr(sys, "argv", ["make_model.py", *arguments, "--begin-from", str(start)])
    recipe("make_model").main()
    old, new = (LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32) for folder in (start, out))
    kept = {name for name, tensor in old.state_dict().items() if torch.equal(tensor, new.state_dict()[name])}
    assert set(old.state_dict()) - kept <= {"model.embed_tokens.weight", "lm_head.weight"}
    rows = []
    for folder, model in ((start, old), (out, new)):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        ids = SpeechConfig.read(folder / "speech_config.json").vocabulary(tokenizer).ids
        table = model.state_dict()["model.embed_tokens.weight"]
        rows.append((table[ids], table[tokenizer.convert_tokens_to_ids("ð")]))
    assert torch.equal(rows[1][0], rows[0][0].repeat(4, 1))
    assert torch.equal(rows[1][1], rows[0][1])


@pytest.mark.slow
def test_a_model_grows_by_layers_that_do_nothing_at_first(
    recipe, start: Path, tmp_path: Path, monkeypatch
) -> None:
    import torch
    from transformers import LlamaForCausalLM

    make_model, out = recipe("make_model"), tmp_path / "deeper"
    arguments = ["--corpus", str(tmp_path), "--out", str(out), "--codec", str(tmp_path / "codec")]
    arguments = ["make_model.py", *arguments, "--begin-from", str(start), "--seed", "5"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--layers", "10"])
    make_model.main()
    old, new = (LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32) for folder in (start, out))
    assert len(new.model.layers) == 2 * len(old.model.layers)
    ids = torch.arange(60)[None]
    with torch.no_grad():
        assert torch.equal(new(ids).logits, old(ids).logits)
    monkeypatch.setattr(sys, "argv", [*arguments, "--layers", "7"])
    with pytest.raises(SystemExit, match="has 5 layers: give --layers as a multiple"):
        make_model.main()


@pytest.mark.slow
def test_what_is_given_away_is_whole(recipe, start: Path, tmp_path: Path) -> None:
    references = tmp_path / "references"
    references.mkdir()
    samples, rate = soundfile.read(ASSETS / "demo.flac")
    rows = []
    for name, seconds in (("short", 3), ("long", 6)):
        soundfile.write(references / f"{name}.wav", samples[: seconds * rate], rate)
        rows.append({"id": name, "audio": f"{name}.wav", "text": f"A {name} text.", "speaker": "heart"})
    (references / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    codec, out = str(tmp_path / "codec"), tmp_path / "given"
    pack = recipe("pack_voice").main
    arguments = [
        str(start),
        "--corpus",
        str(tmp_path),
        "--voices",
        "heart",
        "--default-voice",
        "heart",
        "--out",
        str(out),
    ]
    pack([*arguments, "--codec", codec, "--temperature", "0.5"])
    with pytest.raises(SystemExit, match="speaks the codes of"):
        pack([*arguments, "--codec", "tiny"])
    with pytest.raises(SystemExit, match=r"no recording of heart of 'Another text\.'"):
        pack([*arguments, "--codec", codec, "--sentence", "Another text."])

    tts = TextToSpeech.from_pretrained(out)
    assert tts.sampling.temperature == 0.5
    assert tts.model_voices is not None
    assert tts.model_voices.names() == ["heart"]
    assert tts.model_voices.load("heart").text == "A long text."
    said = tts.speak("The fox.", "heart", sampling=replace(tts.sampling, max_frames=10), retries=0)
    assert 0 < said.speech_tokens <= 10
    weights = (out / "model.safetensors").stat().st_size
    assert weights == pytest.approx((start / "model.safetensors").stat().st_size / 2, rel=0.02)

    pack([*arguments, "--codec", codec, "--sentence", "A short text."])
    assert VoiceLibrary(out / "voices").load("heart").text == "A short text."


def test_other_speeds_are_other_speakers(recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples, rate = soundfile.read(ASSETS / "demo.flac")
    rows = []
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.flac", samples[: 2 * rate], rate)
        rows.append({"id": name, "audio": f"{name}.flac", "text": name, "speaker": "emma", "seconds": 2.0})
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [str(tmp_path / "manifest.jsonl"), "--speeds", "0.8", "1.25"]
    monkeypatch.setattr(sys, "argv", ["other_speeds.py", *arguments])
    recipe("other_speeds").main()
    listed = [json.loads(line) for line in (tmp_path / "speeds.jsonl").read_text().splitlines()]
    assert listed[:2] == rows
    made = listed[2:]
    assert [row["id"] for row in made] == ["a-080", "b-080", "b-125", "a-125"]
    assert {row["speaker"] for row in made} == {"emma-080", "emma-125"}
    for row in made:
        info = soundfile.info(tmp_path / row["audio"])
        assert info.samplerate == 24_000
        assert info.duration == pytest.approx(row["seconds"], abs=0.001)
    slow, _ = soundfile.read(tmp_path / made[0]["audio"])
    assert np.abs(slow).max() == pytest.approx(np.abs(samples[: 2 * rate]).max(), rel=0.1)

    monkeypatch.setattr(sys, "argv", ["other_speeds.py", *arguments, "--hours", "0.0001"])
    recipe("other_speeds").main()  # of each speed one, of those that are there
    listed = [json.loads(line) for line in (tmp_path / "speeds.jsonl").read_text().splitlines()]
    assert [row["id"] for row in listed] == ["a", "b", "a-080", "b-125"]


class FakeWorld:
    """A vocoder of one frame each 5 ms, whose analysis is given and whose synthesis is looked at."""

    frames, bins = 200, 513

    def __init__(self) -> None:
        self.said: list[tuple[np.ndarray, np.ndarray, np.ndarray, float]] = []
        self.pitch = np.where(np.arange(self.frames) % 10, 100.0 + np.arange(self.frames) % 40, 0.0)
        self.envelope = np.exp(-0.5 * ((np.arange(self.bins) - 200) / 5) ** 2)[None].repeat(self.frames, 0)

    def dio(self, samples, rate, low, high, frame_period):
        return self.pitch.copy(), np.arange(self.frames) * 0.005

    def stonemask(self, samples, pitch, times, rate):
        return pitch

    def cheaptrick(self, samples, pitch, times, rate):
        return self.envelope.copy()

    def d4c(self, samples, pitch, times, rate):
        return np.full_like(self.envelope, 0.25)

    def synthesize(self, pitch, envelope, noise, rate, period):
        self.said.append((pitch, envelope, noise, period))
        return np.sin(np.arange(round(len(pitch) * period * 24)) / 20)


def test_a_speaker_has_formants_pitch_melody_and_tempo(recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    world = FakeWorld()
    monkeypatch.setitem(sys.modules, "pyworld", world)
    speaker = recipe("other_voices").Speaker
    wave = np.random.default_rng(0).normal(size=24_000).astype(np.float32) * 0.1
    plain = speaker(1, 1, 1, 1, 0, (0,) * 6, 0)
    said = plain.says(wave)
    assert said.dtype == np.float32
    assert said.std() == pytest.approx(wave.std(), rel=1e-3)
    pitch, envelope, noise, period = world.said[-1]
    np.testing.assert_allclose(pitch, world.pitch, rtol=1e-9)
    np.testing.assert_allclose(envelope, world.envelope, atol=1e-9)
    assert np.all(noise == 0.25)
    assert period == 5.0

    other = replace(plain, formants=1.1, pitch=1.5, melody=2, tempo=1.25, breath=0.2)
    assert len(other.says(wave)) == round(24_000 / 1.25)
    pitch, envelope, noise, period = world.said[-1]
    voiced = world.pitch > 0
    assert np.array_equal(pitch > 0, voiced)
    before, after = np.log2(world.pitch[voiced]), np.log2(pitch[voiced])
    assert after.mean() - before.mean() == pytest.approx(np.log2(1.5))
    assert after.std() == pytest.approx(2 * before.std())
    assert np.abs(envelope[0].argmax() - 220) <= 1  # the formant stood at 200
    assert noise[0, 10] == 0.25  # breath is above 1 kHz alone
    assert noise[0, -1] == pytest.approx(0.4)
    assert period == 4.0
    replace(plain, tilt=6).says(wave)
    louder = world.said[-1][1][0]
    assert louder[171] / world.envelope[0, 171] == pytest.approx(
        10 ** (6 / 10), rel=0.02
    )  # 4 kHz, two octaves up

    world.pitch = np.zeros(world.frames)
    assert plain.says(wave) is None


def test_other_voices_are_listed_and_made_once(recipe, tmp_path: Path, monkeypatch) -> None:
    rows = []
    for name in ("emma", "carl"):
        for number in range(10):
            soundfile.write(tmp_path / f"{name}{number}.flac", np.full(36_000, 0.1), 24_000)
            audio = {"id": f"{name}{number}", "audio": f"{name}{number}.flac", "text": f"{name} {number}."}
            rows.append({**audio, "speaker": name, "seconds": 1.5})
    rows += [{**rows[0], "id": f"short{n}", "speaker": "few", "seconds": 0.5} for n in range(12)]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    script = recipe("other_voices")
    asked: list[float] = []

    def says(self, wave):
        asked.append(self.tempo)
        return None if len(asked) == 3 else np.resize(wave, round(len(wave) / self.tempo))

    monkeypatch.setattr(script.Speaker, "says", says)
    arguments = [str(tmp_path / "manifest.jsonl"), "--hours", "0.008"]  # more than one speaker says
    monkeypatch.setattr(sys, "argv", ["other_voices.py", *arguments])
    script.main()
    made = [json.loads(line) for line in (tmp_path / "voices.jsonl").read_text().splitlines()]
    assert len(made) == 19  # two speakers, and one recording had no pitch
    assert [row["speaker"] for row in made] == ["carl-voice-0000"] * 9 + ["emma-voice-0001"] * 10
    assert {row["text"].split()[0] for row in made[:9]} == {"carl"}
    assert {row["text"].split()[0] for row in made[9:]} == {"emma"}
    assert len(set(asked)) == 2
    for row in made:
        assert soundfile.info(tmp_path / row["audio"]).duration == pytest.approx(row["seconds"], abs=0.001)

    script.main()  # again: the one without pitch alone is tried
    assert len(asked) == 21
    monkeypatch.setattr(sys, "argv", ["other_voices.py", *arguments, "--from", "few"])
    with pytest.raises(SystemExit, match="no speaker of the corpus has 10 recordings"):
        script.main()
    monkeypatch.setattr(script.Speaker, "says", lambda self, wave: None)
    monkeypatch.setattr(sys, "argv", ["other_voices.py", *arguments[:2], "1"])
    with pytest.raises(SystemExit, match="no recording of 20 speakers in a row has a pitch"):
        script.main()


def test_whisper_writes_down_what_people_say(recipe, tmp_path: Path, monkeypatch) -> None:
    script = recipe("transcribe")
    rows = []
    for number, (speaker, seconds) in enumerate(
        [("ann-en", 2.0)] * 4 + [("ivan-ru", 2.0), ("lu", 2.0), ("lu", 9.0)]
    ):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(round(16_000 * seconds)), 16_000)
        row = {"id": str(number), "audio": f"{number}.wav", "speaker": speaker, "seconds": seconds}
        rows.append(row)
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    heard: list[str | None] = []

    class Recogniser:
        def __init__(self, *folders: Path) -> None:
            pass

        def hear(self, wave, language):
            if len(heard) == 2 and stops:
                raise KeyboardInterrupt
            heard.append(language)
            return {"ru": "Привет", "en": "Hello."}.get(
                language, "x" * 80
            )  # 80 letters in two seconds: made up

    latin = SimpleNamespace(anyascii=lambda text: text.replace("Привет", "Privet"))
    monkeypatch.setitem(sys.modules, "anyascii", latin)
    monkeypatch.setattr(script, "Recogniser", Recogniser)
    monkeypatch.setattr(script.packages, "make_importable", lambda *_: tmp_path)
    monkeypatch.setattr(
        sys,
        "argv",
        ["transcribe.py", str(tmp_path / "manifest.jsonl"), "--each", "2", "--corpus", str(tmp_path)],
    )
    stops = True
    with pytest.raises(KeyboardInterrupt):
        script.main()
    assert not (tmp_path / "heard.jsonl").exists()
    stops = False
    with (tmp_path / "heard.begun").open("ab") as begun:
        begun.write('{"id": "4", "text": "Priv\u00e9'.encode()[:-1])  # killed while it wrote, within a letter
    script.main()
    assert heard == ["en", "en", "ru", None]
    kept = [json.loads(line) for line in (tmp_path / "heard.jsonl").read_text().splitlines()]
    assert [(row["id"], row["text"]) for row in kept] == [("0", "Hello."), ("3", "Hello."), ("4", "Privet")]
    assert all(row.keys() == {"id", "audio", "speaker", "seconds", "text"} for row in kept)
