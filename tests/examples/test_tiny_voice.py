"""The recipe of the voice of `tiny`: the model that begins, other speeds of a corpus, and what is given away."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

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
