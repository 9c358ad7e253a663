"""Voices: from recordings, to files and back, from NeuTTS' files, and everything that is no voice."""

from __future__ import annotations

import json
import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from neucodec_tts.audio import as_waveform, load_audio, write_audio
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.codec.storage import save_codes
from neucodec_tts.errors import AudioError, CodesError, PromptError
from neucodec_tts.voices import SpeakerPrompt
from neucodec_tts.voices.recording import examine
from tests.parity.ours import random_codec
from tests.parity.sizes import small_config
from tests.voices.test_recording import DEMO, RATE

TEXT = (
    "All representatives of the household are currently assisting other telemarketers. Please hold and your call "
    "will be answered in the order it was received."
)


@pytest.fixture(scope="module")
def codec() -> NeuCodec:
    return random_codec(small_config())


@pytest.fixture
def voice() -> SpeakerPrompt:
    return SpeakerPrompt(
        np.arange(0, 65_536, 300),
        "Grüße, 你好! What is said.",
        "en-us",
        "neucodec-0123",
        metadata={"name": "Dave", "takes": [1, 2], "licence": {"id": "CC0"}},
    )


# -- from recordings --------------------------------------------------------------------------------------


def test_from_a_file(codec: NeuCodec, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, "neucodec_tts"):
        voice = SpeakerPrompt.from_audio(
            codec, DEMO, f"  {TEXT}\n", language="en-us", metadata={"source": "Asterisk"}
        )
    assert not caplog.records
    assert voice.advice == ()
    assert voice.text == TEXT
    assert voice.language == "en-us"
    assert voice.codec_id == codec.codec_id
    assert voice.metadata == {"source": "Asterisk"}
    assert voice.codes.dtype == np.uint16
    assert voice.duration == len(voice) / 50
    assert 8.5 < voice.duration < 9


def test_untrimmed_it_is_the_codes_of_the_file(codec: NeuCodec):
    voice = SpeakerPrompt.from_audio(codec, str(DEMO), TEXT, trim=False)
    assert voice.codes.tolist() == codec.encode(DEMO).tolist()


def test_trimmed_it_is_the_codes_of_the_part(codec: NeuCodec):
    samples, _ = load_audio(DEMO)
    padded = np.concatenate([np.zeros(RATE, np.float32), samples, np.zeros(2 * RATE, np.float32)])
    voice = SpeakerPrompt.from_audio(codec, padded, TEXT, sample_rate=RATE)
    found = examine(padded, RATE)
    part = padded[round(found.start * RATE) : round(found.end * RATE)]
    assert voice.codes.tolist() == codec.encode(part, RATE).tolist()
    assert abs(voice.duration - 8.8) < 0.2


def test_other_rates_and_files(codec: NeuCodec, tmp_path: Path):
    samples, _ = load_audio(DEMO)
    write_audio(tmp_path / "voice.wav", as_waveform(samples, RATE, target_rate=44_100), 44_100)
    from_file = SpeakerPrompt.from_audio(codec, tmp_path / "voice.wav", TEXT)
    again, rate = load_audio(tmp_path / "voice.wav")
    from_samples = SpeakerPrompt.from_audio(codec, torch.from_numpy(again), TEXT, sample_rate=rate)
    assert from_file == from_samples
    assert from_file.advice == ()


def test_advice_is_logged_and_kept(codec: NeuCodec, caplog: pytest.LogCaptureFixture):
    samples, _ = load_audio(DEMO)
    with caplog.at_level(logging.WARNING, "neucodec_tts"):
        voice = SpeakerPrompt.from_audio(codec, samples[: 2 * RATE] * 0.05, TEXT, sample_rate=RATE)
    assert [advice.kind for advice in voice.advice] == ["short", "quiet", "ends", "transcript"]
    assert [record.getMessage() for record in caplog.records] == [
        f"the recording: {advice.message}" for advice in voice.advice
    ]


def test_cut(codec: NeuCodec):
    samples, _ = load_audio(DEMO)
    voice = SpeakerPrompt.from_audio(codec, samples, "All representatives of", sample_rate=RATE, cut_to=6)
    assert 3 <= voice.duration <= 6.1
    assert voice.metadata["cut_at"] == pytest.approx(voice.duration, abs=0.2)
    assert voice.advice[0].kind == "cut"
    for bad in (0, 31):
        with pytest.raises(PromptError, match="between 1 and 30"):
            SpeakerPrompt.from_audio(codec, samples, TEXT, sample_rate=RATE, cut_to=bad)


@pytest.mark.parametrize("text", ["", "  \n", "...", "🙂"])
def test_no_transcript(codec: NeuCodec, text: str, caplog: pytest.LogCaptureFixture):
    with pytest.raises(PromptError, match="transcript"):
        SpeakerPrompt.from_audio(codec, DEMO, text)
    assert caplog.messages == []  # nothing is said of the recording then


def test_recordings_that_are_none(codec: NeuCodec, tmp_path: Path):
    with pytest.raises(AudioError, match="no such file"):
        SpeakerPrompt.from_audio(codec, tmp_path / "none.wav", TEXT)
    with pytest.raises(AudioError, match="give sample_rate"):
        SpeakerPrompt.from_audio(codec, np.zeros(RATE), TEXT)
    with pytest.raises(AudioError, match="holds no speech"):
        SpeakerPrompt.from_audio(codec, np.zeros(5 * RATE), TEXT, sample_rate=RATE)
    (tmp_path / "text.wav").write_text("I am no recording")
    with pytest.raises(AudioError, match=r"text\.wav"):
        SpeakerPrompt.from_audio(codec, tmp_path / "text.wav", TEXT)


# -- to files and back ------------------------------------------------------------------------------------


def test_saved_and_loaded(voice: SpeakerPrompt, tmp_path: Path):
    voice.save(tmp_path / "dave.safetensors")
    loaded = SpeakerPrompt.load(tmp_path / "dave.safetensors")
    assert loaded == voice
    assert hash(loaded) == hash(voice)
    assert (loaded.language, loaded.codec_id, loaded.metadata) == ("en-us", "neucodec-0123", voice.metadata)
    assert loaded.duration == voice.duration == len(voice) / 50
    assert os.listdir(tmp_path) == ["dave.safetensors"]
    changed = SpeakerPrompt.load(tmp_path / "dave.safetensors", language="de", text="Other words")
    assert (changed.language, changed.text) == ("de", "Other words")
    assert changed.codes.tolist() == voice.codes.tolist()
    assert changed != voice


def test_what_is_not_known_stays_unknown(tmp_path: Path):
    SpeakerPrompt(np.array([1, 2]), "Hi").save(tmp_path / "v.safetensors")
    loaded = SpeakerPrompt.load(tmp_path / "v.safetensors")
    assert loaded.language is None
    assert loaded.codec_id is None


def test_only_safetensors_are_written(voice: SpeakerPrompt, tmp_path: Path):
    with pytest.raises(PromptError, match=r"end the name in that"):
        voice.save(tmp_path / "dave.pt")
    with pytest.raises(PromptError, match="does not exist"):
        voice.save(tmp_path / "nowhere" / "dave.safetensors")


@pytest.mark.parametrize("shape", [(-1,), (1, -1), (1, 1, -1)])
def test_files_of_neutts(shape: tuple[int, ...], tmp_path: Path):
    """Tensors of int32 in .pt, with the transcript beside them."""
    codes = torch.arange(0, 65_536, 600, dtype=torch.int32)
    torch.save(codes.reshape(shape), tmp_path / "dave.pt")
    (tmp_path / "dave.txt").write_text("My name is Dave.\n")
    voice = SpeakerPrompt.load(tmp_path / "dave.pt", language="en-us", codec_id="neucodec-0123")
    assert voice.codes.tolist() == codes.tolist()
    assert voice.text == "My name is Dave."
    assert voice.language == "en-us"
    assert voice.codec_id == "neucodec-0123"
    assert SpeakerPrompt.load(tmp_path / "dave.pt", text="Given").text == "Given"


def test_arrays(tmp_path: Path):
    np.save(tmp_path / "dave.npy", np.array([5, 65_535], np.uint16))
    with pytest.raises(PromptError, match=r"give text=\.\.\., or put it into dave\.txt"):
        SpeakerPrompt.load(tmp_path / "dave.npy")
    assert SpeakerPrompt.load(tmp_path / "dave.npy", text="Hi").codes.tolist() == [5, 65_535]


def test_files_of_codes(codec: NeuCodec, tmp_path: Path):
    save_codes(tmp_path / "codes.safetensors", torch.tensor([1, 2, 3]), codec)
    voice = SpeakerPrompt.load(tmp_path / "codes.safetensors", text="Hi")
    assert voice.codes.tolist() == [1, 2, 3]
    assert voice.codec_id == codec.codec_id


class Bomb:
    """Runs something when it is unpickled in the careless way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_nothing_in_a_pt_file_runs(tmp_path: Path):
    torch.save({"codes": Bomb(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(PromptError, match="unsafe"):
        SpeakerPrompt.load(tmp_path / "evil.pt", text="Hi")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "ran"), protocol=2))
    with pytest.raises(PromptError, match="unsafe"):
        SpeakerPrompt.load(tmp_path / "evil.pt", text="Hi")
    np.save(tmp_path / "evil.npy", np.array([Bomb(tmp_path / "ran")], object), allow_pickle=True)
    with pytest.raises(CodesError):
        SpeakerPrompt.load(tmp_path / "evil.npy", text="Hi")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"codes": torch.tensor([1])}, CodesError),
        ([1, 2], CodesError),
        (torch.tensor([0.5]), CodesError),
        (torch.tensor([[1, 2], [3, 4]]), CodesError),
        (torch.tensor([], dtype=torch.int32), CodesError),
        (torch.tensor([-1]), CodesError),
        (torch.tensor([65_536]), CodesError),
    ],
)
def test_pt_files_without_codes(content: object, error: type[Exception], tmp_path: Path):
    torch.save(content, tmp_path / "v.pt")
    with pytest.raises(error):
        SpeakerPrompt.load(tmp_path / "v.pt", text="Hi")


def test_damaged_and_foreign_files(voice: SpeakerPrompt, tmp_path: Path):
    voice.save(tmp_path / "good.safetensors")
    content = (tmp_path / "good.safetensors").read_bytes()
    for name, data in (("empty", b""), ("half", content[: len(content) // 2]), ("text", b"hello world")):
        for suffix in (".safetensors", ".pt"):
            file = tmp_path / f"{name}{suffix}"
            file.write_bytes(data)
            with pytest.raises((PromptError, CodesError), match=f"{name}{suffix}"):
                SpeakerPrompt.load(file, text="Hi")
    save_file({"weight": np.zeros(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(CodesError, match="not codes"):
        SpeakerPrompt.load(tmp_path / "weights.safetensors", text="Hi")
    with pytest.raises(PromptError, match="does not exist"):
        SpeakerPrompt.load(tmp_path / "none.safetensors")
    with pytest.raises(PromptError, match="is a folder"):
        SpeakerPrompt.load(tmp_path)
    (tmp_path / "voice.wav").write_bytes(b"RIFF")
    with pytest.raises(PromptError, match=r"a recording becomes one with"):
        SpeakerPrompt.load(tmp_path / "voice.wav")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "2"}, "a voice of version 2.*newer neucodec-tts"),
        ({"text": ""}, "transcript"),
        ({"duration": "long"}, "not a voice, or a damaged one"),
        ({"duration": "-1"}, "must be positive"),
        ({"metadata": "{"}, "not a voice, or a damaged one"),
        ({"metadata": "[1]"}, "not a voice, or a damaged one|metadata"),
    ],
)
def test_voices_with_wrong_entries(changes: dict[str, str], message: str, tmp_path: Path):
    entries = {
        "format": "neucodec-voice",
        "version": "1",
        "text": "Hi",
        "duration": "1.0",
        "metadata": json.dumps({}),
        **changes,
    }
    save_file({"codes": np.array([1], np.uint16)}, tmp_path / "v.safetensors", metadata=entries)
    with pytest.raises(PromptError, match=message):
        SpeakerPrompt.load(tmp_path / "v.safetensors")


# -- what one is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", [[], [[1, 2], [3, 4]], [0.5], [-1], [65_536], ["1"], None])
def test_codes_that_are_none(codes):
    with pytest.raises(CodesError, match="the voice"):
        SpeakerPrompt(codes, "Hi")


def test_metadata_must_fit_into_json():
    for metadata in ({"a": object()}, {"a": float("nan")}, {"a": {1, 2}}):
        with pytest.raises(PromptError, match="fit into JSON"):
            SpeakerPrompt(np.array([1]), "Hi", metadata=metadata)


def test_it_does_not_change(voice: SpeakerPrompt):
    with pytest.raises(ValueError, match="read-only"):
        voice.codes[0] = 1
    with pytest.raises(AttributeError):
        voice.text = "Other"  # type: ignore[misc]
    codes = np.array([1, 2], np.uint16)
    mine = SpeakerPrompt(codes, "Hi")
    codes[0] = 9
    assert mine.codes.tolist() == [1, 2]
    assert pickle.loads(pickle.dumps(mine)) == mine


def test_how_it_looks(voice: SpeakerPrompt):
    assert repr(voice) == "SpeakerPrompt(4.4 s, 219 codes, 'Grüße, 你好! What is said.')"
