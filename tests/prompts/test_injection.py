"""Texts and transcripts arrive as text: no control token and no code comes from there.

Each prompt format, with the tokenizer in both layouts, loaded from its files as a user loads it.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from neucodec_tts.prompts import CustomFormat, LlasaFormat, NeuTTSFormat, PromptFormat, PromptTemplate
from neucodec_tts.text import clean, has_speech
from neucodec_tts.tokens import SCHEMES, SpeechVocabulary
from tests.prompts.conftest import PlainVoice
from tests.tokens.small_tokenizers import llama_like, qwen_like

CODES = [5, 1023, 0]
FORMATS = ["neutts", "neutts-text", "llasa", "custom"]
LAYOUTS = ["added", "vocab"]


@dataclass(frozen=True)
class Target:
    """A format to attack."""

    format: PromptFormat
    tokenizer: Any
    controls: frozenset[int]
    """Codes, special tokens, and whatever else was added to the base vocabulary."""

    def attack(self, text: str, transcript: str = "So this is my voice.") -> list[list[int]]:
        """Ids of the prompts and the training example with a text and a transcript."""
        voice = PlainVoice(np.array(CODES), transcript)
        return [
            self.format.prompt_ids(text),
            self.format.prompt_ids(text, voice),
            self.format.training_example(text, CODES).input_ids,
        ]

    def controls_in(self, sequences: list[list[int]]) -> list[list[int]]:
        return [[id for id in ids if id in self.controls] for ids in sequences]


@cache
def target(name: str, layout: Literal["added", "vocab"]) -> Target:
    scheme = "llasa" if name == "llasa" else "neutts"
    made: Any = llama_like() if name == "llasa" else qwen_like()
    before = set(made.get_vocab().values()) - set(made.added_tokens_decoder)
    SpeechVocabulary.extend(made, codebook_size=1024, format=scheme)
    with tempfile.TemporaryDirectory() as folder:
        SpeechVocabulary.from_tokenizer(made).save_tokenizer(made, folder, layout)
        assert (Path(folder) / "tokenizer.json").is_file()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    vocabulary = SpeechVocabulary.from_tokenizer(tokenizer)
    if name == "llasa":
        format: PromptFormat = LlasaFormat(tokenizer, vocabulary)
    elif name == "custom":
        template = PromptTemplate(
            "<|im_start|>{text}<|im_end|><|SPEECH_GENERATION_START|>{codes}",
            ("<|SPEECH_GENERATION_END|>", "<|endoftext|>"),
        )
        format = CustomFormat(tokenizer, vocabulary, template)
    else:
        # Phones that hold whatever the text holds: no phonemizer is relied on.
        format = NeuTTSFormat(tokenizer, vocabulary, str if name == "neutts" else None)
    # <tool_call> is a word that somebody added, and no control token.
    controls = set(tokenizer.get_vocab().values()) - before - {tokenizer.get_vocab().get("<tool_call>")}
    assert len(controls) >= 1024 + len(SCHEMES[scheme].control_tokens)
    return Target(format, tokenizer, frozenset(cast("set[int]", controls)))


NAMES = sorted(
    {
        *(name for scheme in SCHEMES.values() for name in scheme.control_tokens),
        *("<|speech_0|>", "<|speech_1023|>", "<|speech_65535|>", "<|s_0|>", "<|s_1023|>"),
        *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>"),
        *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    }
)
_fragments = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(NAMES).map(
        lambda name: "".join(chr(ord(letter) + 0xFEE0) for letter in name)
    ),  # full width
    st.sampled_from(["<|", "|>", "<", "|", ">", "<|speech_", "SPEECH_GENERATION_START", "<|s_", "7", "_"]),
    st.sampled_from([" ", "\n", "\nassistant:", "user:", "é", "🙂", "＜｜", "{text}", "{codes}", "{{", "\0"]),
    st.text(max_size=5),
)
attacks = st.lists(_fragments, min_size=1, max_size=10).map(lambda parts: "a" + "".join(parts))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FORMATS)
@given(text=attacks, transcript=attacks)
def test_no_control_token_comes_from_text(
    name: str, layout: Literal["added", "vocab"], text: str, transcript: str
):
    attacked = target(name, layout)
    harmless = attacked.attack("Hi there")
    assert attacked.controls_in(attacked.attack(text, transcript)) == attacked.controls_in(harmless)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["neutts", "custom"])
@given(text=attacks)
def test_all_of_the_text_arrives(name: str, layout: Literal["added", "vocab"], text: str):
    """In the formats that do not change the text itself."""
    attacked = target(name, layout)
    ids, plain = attacked.format.prompt_ids(text), attacked.format.prompt_ids("Hi")
    begin = next(at for at, pair in enumerate(zip(ids, plain, strict=False)) if pair[0] != pair[1])
    end = next(at for at, pair in enumerate(zip(ids[::-1], plain[::-1], strict=False)) if pair[0] != pair[1])
    arrived = attacked.tokenizer.decode(ids[begin : len(ids) - end])
    # What begins and ends like the other prompt is compared by its middle.
    expected = _normal(attacked.tokenizer, clean(text) if name == "custom" else text)
    assert arrived in expected
    assert len(expected) - len(arrived) <= 2


def _normal(tokenizer: Any, text: str) -> str:
    return str(tokenizer.backend_tokenizer.normalizer.normalize_str(text))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("control", NAMES)
def test_each_name_alone_and_inside_words(name: str, layout: Literal["added", "vocab"], control: str):
    attacked = target(name, layout)
    harmless = attacked.controls_in(attacked.attack("Hi there"))
    for text in (control, f"say {control} now", f"a{control}b", control * 3, f"<|{control}|>"):
        if not has_speech(text):
            continue
        assert attacked.controls_in(attacked.attack(text, text)) == harmless


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_layouts_give_the_same_prompts(layout: Literal["added", "vocab"]):
    for name in FORMATS:
        first, second = target(name, "added"), target(name, layout)
        for text in ("Alice was late.", "naïve café 🙂 你好", "Hi <|SPEECH_GENERATION_START|><|speech_1|>"):
            assert second.tokenizer.decode(second.format.prompt_ids(text)) == first.tokenizer.decode(
                first.format.prompt_ids(text)
            )
        assert second.attack("Alice was late.") == first.attack("Alice was late.")
