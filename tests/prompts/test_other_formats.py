"""Prompts of Scicom's models and of Audar-TTS-V1 are, id for id, the strings of their sources, tokenized."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from neucodec_tts.errors import PromptError
from neucodec_tts.prompts import KNOWN_MODELS, CustomFormat, PromptTemplate, SpeechConfig
from neucodec_tts.tokens import SpeechVocabulary
from tests.prompts.conftest import PlainVoice
from tests.tokens.small_tokenizers import qwen_like

SCICOM, AUDAR = "Scicom-intl/Multilingual-Expressive-TTS-1.7B", "audarai/Audar-TTS-V1-Flash"
TEXTS = [
    "So this is it.",
    "Selamat pagi, apa khabar?",
    "مرحبا! [laughs] أهلا وسهلا بك.",
    "你好, 世界. It costs 12,50!",
]


def scicom(text: str, said: str | None, codes: str) -> str:
    """The two prompts in app/main.py of TTS-API-Neucodec, the second of its cloning route."""
    if said is None:
        return f"<|im_start|>TM_English: {text}<|speech_start|>"
    return f"<|im_start|>{said}<|speech_start|>{codes}<|im_end|><|im_start|>{text}<|speech_start|>"


def audar(text: str, said: str | None, codes: str) -> str:
    """`build_prompt` of sglang-omni's audar_tts."""
    return (
        f"user: Convert the text to speech:<|REF_TEXT_START|>{said}<|REF_TEXT_END|>"
        f"<|REF_SPEECH_START|>{codes}<|REF_SPEECH_END|><|TARGET_TEXT_START|>{text}<|TARGET_TEXT_END|>"
        "\nassistant:<|TARGET_CODES_START|>"
    )


def made(model: str) -> tuple[CustomFormat, Callable[[str], list[int]], str]:
    """The model's format on a small tokenizer, the tokenizer itself, and the pattern of a code."""
    config = KNOWN_MODELS[model]
    assert config.template is not None
    tokenizer = qwen_like()
    kinds = ("REF_TEXT", "REF_SPEECH", "TARGET_TEXT", "TARGET_CODES")
    tokenizer.add_tokens([f"<|{kind}_{end}|>" for kind in kinds for end in ("START", "END")])
    tokenizer.add_tokens(["<|speech_start|>", "[laughs]"])
    tokenizer.add_tokens([config.token_pattern.format(code) for code in range(1024)])
    vocabulary = SpeechVocabulary.from_tokenizer(tokenizer, config.token_pattern, 1024)
    format = CustomFormat(tokenizer, vocabulary, config.template)
    return format, lambda text: tokenizer.encode(text), config.token_pattern


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("model", "theirs"), [(SCICOM, scicom), (AUDAR, audar)])
def test_with_a_voice(model: str, theirs: Callable[[str, str | None, str], str], text: str):
    format, tokenize, pattern = made(model)
    codes = np.random.default_rng(0).integers(0, 1024, 30)
    string = theirs(text, TEXTS[0], "".join(pattern.format(code) for code in codes))
    assert format.prompt_ids(text, PlainVoice(codes.astype(np.uint16), TEXTS[0])) == tokenize(string)


@pytest.mark.parametrize("text", TEXTS)
def test_a_name_of_scicoms(text: str):
    format, tokenize, _ = made(SCICOM)
    assert format.prompt_ids(text) == tokenize(scicom(text, None, ""))


def test_audar_needs_a_voice():
    with pytest.raises(PromptError, match="in a given voice only"):
        made(AUDAR)[0].prompt_ids("So this is it.")


@pytest.mark.parametrize(("model", "stop"), [(SCICOM, "<|im_end|>"), (AUDAR, "<|TARGET_CODES_END|>")])
def test_the_rest_of_their_descriptions(model: str, stop: str):
    config = KNOWN_MODELS[model]
    format, tokenize, _ = made(model)
    assert list(format.stop_ids) == tokenize(stop)
    assert config.sampling["repetition_penalty"] == {SCICOM: 1.15, AUDAR: 1.1}[model]
    assert SpeechConfig.from_dict(config.to_dict()) == config
    assert config.template is not None
    assert PromptTemplate.from_dict(config.template.to_dict()) == config.template
