"""A small real server of speech, and a model's folder that describes itself."""

from __future__ import annotations

import pytest

from neucodec_tts import SpeechVocabulary
from neucodec_tts.prompts import SpeechConfig
from tests.benchmarks.speech_server import running
from tests.tokens.small_tokenizers import qwen_like


@pytest.fixture
def server():
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A model's folder without its weights: what is needed to make prompts."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = qwen_like()
    vocabulary = SpeechVocabulary.extend(tokenizer, codebook_size=64, format="neutts")
    vocabulary.save_tokenizer(tokenizer, folder, "vocab")
    SpeechConfig("neutts-text", codec="tiny", codebook_size=64, sampling={"min_frames": 20}).save(folder)
    return folder
