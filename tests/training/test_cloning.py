"""Examples that begin with a voice."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from neucodec_tts import SpeechVocabulary
from neucodec_tts.errors import PromptError
from neucodec_tts.prompts import CustomFormat, LlasaFormat, NeuTTSFormat, PromptFormat, PromptTemplate
from neucodec_tts.training import cloning_example
from tests.tokens.small_tokenizers import llama_like, qwen_like

VOICE = SimpleNamespace(text="That is how I sound.", codes=[7, 7, 9, 250])
TEXT, CODES = "And that is new.", [3, 1, 4, 1, 5]


@pytest.fixture(scope="module", params=["neutts", "llasa"])
def made(request: pytest.FixtureRequest) -> tuple[PromptFormat, SpeechVocabulary]:
    if request.param == "neutts":
        qwen = qwen_like()
        vocabulary = SpeechVocabulary.extend(qwen, None, codebook_size=256)
        return NeuTTSFormat(qwen, vocabulary, None), vocabulary
    llama = llama_like()
    vocabulary = SpeechVocabulary.extend(llama, None, codebook_size=256, format="llasa")
    return LlasaFormat(llama, vocabulary), vocabulary


def test_it_is_the_prompt_and_the_speech(made: tuple[PromptFormat, SpeechVocabulary]):
    prompt_format, vocabulary = made
    example = cloning_example(prompt_format, VOICE, TEXT, CODES)
    prompt = prompt_format.prompt_ids(TEXT, VOICE)
    speech = vocabulary.to_ids(CODES)
    assert example.input_ids == [*prompt, *speech, prompt_format.stop_ids[0]]
    learnt = [label for label in example.labels if label != -100]
    assert learnt == [*vocabulary.to_ids(VOICE.codes), *speech, prompt_format.stop_ids[0]]
    assert example.labels[-len(learnt) :] == learnt
    assert len(example.labels) == len(example.input_ids)


def test_a_voice_that_comes_first_is_learnt_with_its_end():
    llama = llama_like()
    vocabulary = SpeechVocabulary.extend(llama, None, codebook_size=256, format="llasa")
    template = PromptTemplate(
        "{text}<|SPEECH_GENERATION_START|>{codes}",
        ("<|SPEECH_GENERATION_END|>",),
        voice="{text}<|SPEECH_GENERATION_START|>{codes}<|SPEECH_GENERATION_END|>",
    )
    prompt_format = CustomFormat(llama, vocabulary, template)
    example = cloning_example(prompt_format, VOICE, TEXT, CODES)
    one = prompt_format.training_example(VOICE.text, VOICE.codes)
    two = prompt_format.training_example(TEXT, CODES)
    begin = len(llama.encode(""))
    assert example.input_ids == [*one.input_ids, *two.input_ids[begin:]]
    assert example.labels == [*one.labels, *two.labels[begin:]]


def test_no_text(made: tuple[PromptFormat, SpeechVocabulary]):
    with pytest.raises(PromptError):
        cloning_example(made[0], VOICE, " ", CODES)
