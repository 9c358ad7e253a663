"""GGUF files: found, read, and refused when they are damaged or say too little."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from neucodec_tts.codec.checkpoints.hub import HubOptions, find_gguf, locate
from neucodec_tts.errors import CheckpointError, PromptError, VocabularyError
from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.speech.loading import SpeechModel
from neucodec_tts.tokens.gguf import SPEECH_CONFIG, GGUFFile, Stored

gguf = pytest.importorskip("gguf")

WORDS = [*"abcdefgh", "Ġ", "ab", "<|im_end|>", "<|TEXT_REPLACE|>", "<tool>"]


def write(path: Path, names: list[str] | None = None, pre: str = "qwen2", **entries: str) -> Path:
    """A file with one tensor and the tokens of a small tokenizer of GPT-2's kind."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    names = WORDS if names is None else names
    writer.add_token_list(names)
    writer.add_token_types([3 if name.startswith("<|") else 4 if name[0] == "<" else 1 for name in names])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(10)
    for key, value in entries.items():
        writer.add_string(key.replace("__", "."), value)
    writer.add_tensor("token_embd.weight", np.zeros((len(names), 32), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def described(path: Path, config: str) -> Path:
    """A file with a speech_config.json in its metadata."""
    return write(path, None, "qwen2", **{SPEECH_CONFIG: config})


def test_the_head_is_what_was_written(tmp_path):
    path = write(tmp_path / "a.gguf", general__name="A B")
    file = GGUFFile.read(path)
    assert file.metadata["general.name"] == "A B"
    assert file.tokens == WORDS
    stored = file.tensors["token_embd.weight"]
    assert stored == Stored((32, len(WORDS)), 1, stored.start)
    assert path.stat().st_size >= stored.start + len(WORDS) * 64
    start, end = file.entries["general.name"]
    assert path.read_bytes()[start:end].endswith(b"A B")


def test_added_tokens_stand_for_themselves_and_codes_do_not(tmp_path):
    names = [*WORDS, *(f"<|speech_{code}|>" for code in range(4))]
    tokenizer = GGUFFile.read(write(tmp_path / "a.gguf", names)).tokenizer("<|speech_{}|>")
    assert tokenizer.encode("ab<|im_end|><tool>") == [9, 10, 12]
    assert tokenizer.eos_token_id == 10
    assert len(tokenizer.encode("<|speech_1|>")) != 1
    assert SpeechConfig("neutts-text", codebook_size=4).vocabulary(tokenizer).ids.tolist() == [13, 14, 15, 16]


def test_damaged_files(tmp_path):
    whole = write(tmp_path / "a.gguf").read_bytes()
    bad = tmp_path / "bad.gguf"
    head = GGUFFile.read(tmp_path / "a.gguf").tensors["token_embd.weight"].start
    for length in (4, 5, 20, 100, 200, head // 2):
        bad.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"bad\.gguf (ends too early|is damaged)"):
            GGUFFile.read(bad)
    for content, says in (
        (b"", "is not a GGUF file"),
        (b"PK\3\4" + whole[4:], "is not a GGUF file"),
        (b"GGUF" + struct.pack("<I", 99) + whole[8:], r"is damaged \(KeyError\('version 99'\)\)"),
        (whole[:24] + b"\xff" * 40 + whole[64:], "ends too early|is damaged"),
    ):
        bad.write_bytes(content)
        with pytest.raises(CheckpointError, match=says):
            GGUFFile.read(bad)
    with pytest.raises(CheckpointError, match="cannot be read"):
        GGUFFile.read(tmp_path / "nowhere.gguf")


def test_what_a_file_does_not_say_is_asked_for(tmp_path):
    path = write(tmp_path / "a.gguf")
    with pytest.raises(
        CheckpointError, match=r"does not say how the model speaks: neucodec\.speech_config is not"
    ):
        SpeechConfig.from_pretrained(path)
    SpeechConfig("neutts-text", codebook_size=4).save(tmp_path)
    assert SpeechConfig.from_pretrained(path).codebook_size == 4
    assert SpeechConfig.from_pretrained(tmp_path).codebook_size == 4
    with pytest.raises(VocabularyError, match=r"has no code tokens"):
        SpeechModel.load(str(path))
    inside = described(tmp_path / "b.gguf", '{"prompt_format": "neutts-text", "codec": "x/y"}')
    assert SpeechConfig.from_pretrained(inside).codec == "x/y"
    wrong = described(tmp_path / "c.gguf", '{"prompt_formt": 1}')
    with pytest.raises(PromptError, match=r"c\.gguf, neucodec\.speech_config: unknown entry 'prompt_formt'"):
        SpeechConfig.from_pretrained(wrong)
    other = write(tmp_path / "d.gguf", [*WORDS, "<|speech_0|>"], pre="bloom")
    with pytest.raises(
        CheckpointError, match=r"gpt2, bloom\) is not known here; put the model's tokenizer\.json"
    ):
        SpeechModel.load(str(other))


@pytest.mark.parametrize(
    ("title", "known"),
    [
        ("Neutts Air", "neutts-air"),
        ("neutts-nano-german Q4", "neutts-nano-german"),
        ("NeuTTS 2E", "neutts-2e"),
    ],
)
def test_published_files_are_known_by_their_titles(title, known, tmp_path):
    path = write(tmp_path / "model.gguf", general__name=title)
    assert SpeechConfig.from_pretrained(path) == SpeechConfig.from_pretrained(f"neuphonic/{known}")
    renamed = write(tmp_path / f"{known}-Q8_0.gguf")
    assert SpeechConfig.from_pretrained(renamed) == SpeechConfig.from_pretrained(f"neuphonic/{known}")


def test_files_are_found(tmp_path):
    path = write(tmp_path / "a.gguf")
    assert find_gguf(path) == path
    assert find_gguf(tmp_path) == path
    (tmp_path / "config.json").write_text("{}")
    assert find_gguf(tmp_path) is None  # a model of transformers, whatever else lies there
    (tmp_path / "config.json").unlink()
    write(tmp_path / "b.gguf")
    with pytest.raises(CheckpointError, match=r"holds several GGUF files; name one: .*a\.gguf, .*b\.gguf"):
        find_gguf(tmp_path)
    with pytest.raises(CheckpointError, match=r"there is no file '.*c\.gguf'"):
        find_gguf(tmp_path / "c.gguf")
    with pytest.raises(CheckpointError, match=r"is a GGUF file, which only llama\.cpp runs"):
        locate(path)


def test_files_of_the_hub_are_found_in_the_cache(tmp_path):
    snapshot = tmp_path / "models--someone--voice-gguf" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    refs = tmp_path / "models--someone--voice-gguf" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    write(snapshot / "voice-q4.gguf")
    hub = HubOptions(cache_dir=tmp_path, local_files_only=True)
    assert find_gguf("someone/voice-gguf", hub) == snapshot / "voice-q4.gguf"
    write(snapshot / "voice-q8.gguf")
    with pytest.raises(CheckpointError, match=r"name one: someone/voice-gguf/voice-q4\.gguf, someone"):
        find_gguf("someone/voice-gguf", hub)
    assert find_gguf("someone/voice-gguf/voice-q8.gguf", hub) == snapshot / "voice-q8.gguf"
    with pytest.raises(CheckpointError, match=r"has no file voice-q2\.gguf; it has voice-q4\.gguf, voice-q8"):
        find_gguf("someone/voice-gguf/voice-q2.gguf", hub)
    with pytest.raises(CheckpointError, match=r"cannot get 'someone/else-gguf': offline mode is on"):
        find_gguf("someone/else-gguf", hub)
