"""Model folders as people have them: whole, and with each part missing, wrong, or of another model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from neucodec_tts import NeuCodec, NeuCodecError, SpeakerPrompt, TextToSpeech
from neucodec_tts.errors import CheckpointError, EngineError, PromptError, VocabularyError
from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.speech import Sampling
from neucodec_tts.voices import VoiceLibrary
from tests.speech.small_models import save_model
from tests.tokens.small_tokenizers import qwen_like, tiny_qwen


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, codec: NeuCodec) -> Path:
    return save_model(tmp_path_factory.mktemp("whole"), codec)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def load(folder: Path, codec: NeuCodec, **options) -> TextToSpeech:
    return TextToSpeech.from_pretrained(folder, codec=codec, device="cpu", watermark=False, **options)


def change(folder: Path, **entries) -> None:
    """Change entries of the folder's speech_config.json."""
    file = folder / "speech_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def resize(folder: Path, rows: int) -> None:
    """Put a model with so many embedding rows into the folder."""
    torch.manual_seed(0)
    tiny_qwen(rows).save_pretrained(folder)


def test_a_folder_says_all_there_is_to_know(folder: Path, codec: NeuCodec, tmp_path: Path):
    voice = SpeakerPrompt(np.arange(100), "This is my voice.", codec_id=codec.codec_id)
    VoiceLibrary(tmp_path / "voices").save("dave", voice)
    tts = load(folder, codec, voices=tmp_path / "voices")
    assert tts.codec is codec
    assert tts.sampling == Sampling(max_frames=40)
    assert tts.context_length == 2048
    result = tts.speak("Hello there.", "dave", seed=1)
    assert result.codes.size == 40
    assert tts.speak("Hello there.", voice, seed=1).codes.tolist() == result.codes.tolist()


def test_the_codec_is_the_one_that_the_model_names(folder: Path, codec: NeuCodec, tmp_path: Path):
    assert TextToSpeech.from_pretrained(folder, device="cpu").codec.codec_id == codec.codec_id
    # One that lies in the model's own folder.
    codec.save_pretrained(folder / "codec")
    change(folder, codec="./codec")
    assert TextToSpeech.from_pretrained(folder, device="cpu").codec.codec_id == codec.codec_id


def test_a_model_that_never_stops_is_stopped(folder: Path, codec: NeuCodec):
    """Without a limit of the caller's, at a multiple of what the text should take."""
    change(folder, sampling={})
    tts = load(folder, codec)
    result = tts.speak("Hello there.", seed=1, sampling=Sampling(repetition_frames=0), retries=0)
    estimate = 4 * len("Hellothere.")
    assert result.finish_reason == "length"
    assert estimate < result.codes.size < 5 * estimate + 100


def test_padded_rows_are_never_spoken(folder: Path, codec: NeuCodec):
    """A model with more rows than its tokenizer has tokens, as GPUs like it."""
    rows = load(folder, codec).vocabulary.required_rows
    resize(folder, rows + 500)
    tts = load(folder, codec)
    result = tts.speak(
        "Hello there.", seed=1, sampling=Sampling(temperature=5.0, top_k=0, max_frames=60), retries=0
    )
    assert result.codes.max() < codec.codebook_size


def test_too_few_rows(folder: Path, codec: NeuCodec):
    resize(folder, 1000)
    with pytest.raises(VocabularyError, match=r"1,000 embedding rows.*do not belong together"):
        load(folder, codec)


def test_no_code_tokens(folder: Path, codec: NeuCodec):
    (folder / "tokenizer.json").unlink()
    qwen_like().save_pretrained(folder)
    with pytest.raises(VocabularyError, match=r"no code tokens .*extend-vocab"):
        load(folder, codec)


def test_half_of_the_code_tokens(folder: Path, codec: NeuCodec):
    tokenizer = qwen_like()
    tokenizer.add_tokens([f"<|speech_{code}|>" for code in range(1000)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(VocabularyError, match="half-extended"):
        load(folder, codec)


def test_codes_without_control_tokens(folder: Path, codec: NeuCodec):
    tokenizer = qwen_like()
    tokenizer.add_tokens([f"<|speech_{code}|>" for code in range(64)])
    tokenizer.save_pretrained(folder)
    change(folder, codebook_size=64)
    with pytest.raises(VocabularyError, match=r"lacks the control tokens <\|TEXT_REPLACE\|>"):
        load(folder, codec)


@pytest.mark.parametrize(
    ("entries", "error", "message"),
    [
        (
            {"codec_id": "neucodec-other"},
            VocabularyError,
            r"speaks the codes of the codec 'neucodec-other'.*codec=",
        ),
        ({"token_pattern": "<|s_{}|>"}, VocabularyError, r"no code tokens \(<\|s_\{\}\|>\)"),
        ({"codebook_size": 64}, VocabularyError, "more codes than the 64"),
        ({"prompt_format": "llasa"}, VocabularyError, "lacks the control token"),
        ({"prompt_format": "parler"}, PromptError, "unknown prompt format 'parler'; known are neutts"),
        ({"prompt_format": "neutts", "language": "xx"}, PromptError, "knows no language 'xx'"),
        ({"sampling": {"top_k": -1}}, EngineError, "top_k is -1"),
        ({"sampling": {"topk": 5}}, PromptError, "unknown sampling default 'topk'"),
        ({"context_length": 0}, PromptError, "context_length is 0"),
        ({"utterance_frames": [9, 5]}, PromptError, r"utterance_frames is \[9, 5\]; it must be two"),
        ({"colour": "red"}, PromptError, "unknown entry 'colour'"),
    ],
)
def test_a_configuration_of_another_model(
    folder: Path, codec: NeuCodec, entries: dict, error: type[Exception], message: str
):
    change(folder, **entries)
    with pytest.raises(error, match=message):
        load(folder, codec)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("speech_config.json", None, "has no speech_config.json, so its codec and prompt format are unknown"),
        ("speech_config.json", b"{", "cannot be read as JSON"),
        ("tokenizer.json", None, "the tokenizer has no code tokens"),
        ("tokenizer.json", b"{}", "the tokenizer of .* cannot be loaded"),
        ("config.json", None, "holds no config.json"),
        ("config.json", b"{", "cannot be loaded"),
        ("config.json", b'{"model_type": "wav2vec2"}', "cannot be loaded"),
        ("model.safetensors", None, "cannot be loaded"),
        ("model.safetensors", b"rubbish", "damaged|cannot be loaded"),
    ],
)
def test_folders_with_a_part_missing_or_damaged(
    folder: Path, codec: NeuCodec, name: str, content: bytes | None, message: str
):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(NeuCodecError, match=message):
        load(folder, codec)


def test_options_and_places_that_are_not_there(folder: Path, codec: NeuCodec, tmp_path: Path):
    with pytest.raises(CheckpointError, match="nowhere"):
        load(tmp_path / "nowhere", codec)
    with pytest.raises(EngineError, match="no engine 'tensorflow' here"):
        load(folder, codec, engine="tensorflow")
    with pytest.raises(CheckpointError, match="nowhere"):
        TextToSpeech.from_pretrained(folder, codec=tmp_path / "nowhere")


def test_voices_of_other_codecs(folder: Path, codec: NeuCodec):
    tts = load(folder, codec)
    other = SpeakerPrompt(np.arange(10), "Hi there.", codec_id="neucodec-other")
    with pytest.raises(
        PromptError, match=r"made with the codec 'neucodec-other'.*make it again from its recording"
    ):
        tts.speak("Hello", other)
    with pytest.raises(PromptError, match="there is no voice 'nobody'"):
        tts.stream("Hello", "nobody")


def test_codes_beyond_a_smaller_codebook(tmp_path: Path):
    """A voice that does not say its codec, and whose codes the codec does not have."""
    from neucodec_tts.errors import CodesError
    from tests.parity.ours import random_codec
    from tests.parity.sizes import small_config

    config = small_config()
    config.quantization_levels = (4, 4, 4)
    small = random_codec(config)
    tokenizer = qwen_like()
    from neucodec_tts import SpeechVocabulary

    model = tiny_qwen(len(tokenizer))
    vocabulary = SpeechVocabulary.extend(tokenizer, model, codebook_size=64)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    SpeechConfig("neutts-text", codebook_size=64, sampling={"max_frames": 10}).save(tmp_path)
    tts = load(tmp_path, small)
    assert tts.vocabulary == vocabulary
    assert tts.speak("Hello there.", SpeakerPrompt(np.arange(60), "Hi there."), seed=1).codes.size == 10
    with pytest.raises(CodesError, match="64"):
        tts.speak("Hello", SpeakerPrompt(np.array([64]), "Hi there."))
