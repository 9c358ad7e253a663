"""The tokenizers that NeuTTS and Llasa publish, where a model hub can be reached."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import AutoTokenizer

from neucodec_tts.prompts import KNOWN_MODELS, SpeechConfig
from tests.prompts import neutts_package
from tests.prompts.conftest import PlainVoice

pytestmark = pytest.mark.hub


@pytest.mark.parametrize("model", KNOWN_MODELS)
def test_tokenizers_and_prompts(model: str):
    config = SpeechConfig.from_pretrained(model)
    if config.needs_phones:
        pytest.importorskip("phonemizer", reason='needs pip install "neucodec-tts[phonemes]"')
    tokenizer = AutoTokenizer.from_pretrained(model)
    vocabulary = config.vocabulary(tokenizer)
    assert vocabulary.codebook_size == 65_536
    assert vocabulary.is_contiguous
    if config.prompt_format == "llasa":
        assert vocabulary.to_ids([0]) == [128_264]
    format = config.make_format(tokenizer, vocabulary)
    voice = PlainVoice(np.array([1, 65_535], np.uint16), "So this is my voice.")
    ids = format.prompt_ids("Hello there <|SPEECH_GENERATION_START|>.", voice)
    assert ids[-2:] == vocabulary.to_ids([1, 65_535])
    assert ids.count(tokenizer.get_vocab()["<|SPEECH_GENERATION_START|>"]) == 1


def test_prompt_of_neutts_air(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("phonemizer", reason='needs pip install "neucodec-tts[phonemes]"')
    monkeypatch.setenv(
        "PHONEMIZER_ESPEAK_LIBRARY", str(neutts_package.fetch() / "neutts" / "libespeak-ng.so")
    )
    model, text, codes = "neuphonic/neutts-air", "My name is Andy. I'm 25!", [1, 2, 65_535]
    ((theirs,),) = neutts_package.run(
        [{"cases": [("en-us", text, "So this is my voice.", codes)], "tokenizer": model}]
    )
    format = SpeechConfig.from_pretrained(model).make_format(AutoTokenizer.from_pretrained(model))
    assert format.prompt_ids(text, PlainVoice(np.array(codes), "So this is my voice.")) == theirs
