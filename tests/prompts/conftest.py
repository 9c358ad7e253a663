"""Tokenizers with the codes and control tokens of each format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from neucodec_tts.tokens import SpeechVocabulary
from tests.tokens.small_tokenizers import llama_like, qwen_like


@dataclass(frozen=True)
class PlainVoice:
    """The least a format asks of a voice."""

    codes: np.ndarray
    text: str


@dataclass(frozen=True)
class Extended:
    """A tokenizer with 1024 codes."""

    tokenizer: Any  # of transformers, whose types are wider than what it returns
    vocabulary: SpeechVocabulary


@pytest.fixture(scope="session")
def neutts() -> Extended:
    tokenizer = qwen_like()
    return Extended(tokenizer, SpeechVocabulary.extend(tokenizer, codebook_size=1024, format="neutts"))


@pytest.fixture(scope="session")
def llasa() -> Extended:
    tokenizer = llama_like()
    return Extended(tokenizer, SpeechVocabulary.extend(tokenizer, codebook_size=1024, format="llasa"))


@pytest.fixture
def voice() -> PlainVoice:
    return PlainVoice(
        np.random.default_rng(1).integers(0, 1024, 60).astype(np.uint16), "So this is my voice."
    )
