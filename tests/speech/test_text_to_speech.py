"""`TextToSpeech` and the transformers engine on a small random language model and the built-in codec."""

from __future__ import annotations

import numpy as np
import pytest

from neucodec_tts import NeuCodec, SpeakerPrompt, SpeechVocabulary, TextToSpeech
from neucodec_tts.errors import PromptError, VocabularyError
from neucodec_tts.prompts import LlasaFormat
from neucodec_tts.speech.engine import Sampling, SpeechTokens
from neucodec_tts_transformers import TransformersEngine
from tests.assets import ASSETS
from tests.tokens.small_tokenizers import llama_like, tiny_llama

TEXT = "Hello there. This is a second sentence!"


@pytest.fixture(scope="module")
def codec() -> NeuCodec:
    return NeuCodec.from_pretrained("tiny")


@pytest.fixture(scope="module")
def tts(codec) -> TextToSpeech:
    tokenizer = llama_like()
    vocabulary = SpeechVocabulary.extend(tokenizer, None, format="llasa", codebook_size=codec.codebook_size)
    prompt_format = LlasaFormat(tokenizer, vocabulary)
    engine = TransformersEngine(
        tiny_llama(vocabulary.required_rows), SpeechTokens(vocabulary, tuple(prompt_format.stop_ids))
    )
    return TextToSpeech(
        engine,
        codec,
        prompt_format,
        vocabulary,
        sampling=Sampling(max_frames=60, min_frames=20),
        watermark=False,
    )


@pytest.fixture(scope="module")
def voice(codec) -> SpeakerPrompt:
    return SpeakerPrompt.from_audio(codec, ASSETS / "demo.flac", text="All representatives are busy.")


def test_speaks_and_says_what_it_did(tts, voice):
    result = tts.speak(TEXT, voice, seed=1, retries=0)
    assert result.sample_rate == 24_000
    assert result.samples.dtype == np.float32
    assert np.isfinite(result.samples).all()
    codes = sum(len(segment.codes) for segment in result.segments)
    assert 20 <= codes <= 60 * len(result.segments)
    assert len(result.samples) >= 480 * codes
    assert "".join(segment.text for segment in result.segments).startswith("Hello there.")


def test_a_seed_speaks_the_same_again_and_another_does_not(tts, voice):
    first, again, other = (tts.speak(TEXT, voice, seed=seed, retries=0) for seed in (1, 1, 2))
    assert np.array_equal(first.samples, again.samples)
    assert [list(s.codes) for s in first.segments] != [list(s.codes) for s in other.segments]


def test_a_stream_speaks_the_same_codes(tts, voice):
    whole = tts.speak(TEXT, voice, seed=1, retries=0)
    stream = tts.stream(TEXT, voice, seed=1)
    chunks = list(stream)
    assert len(chunks) > 1
    assert sum(map(len, chunks)) == len(whole.samples)


def test_prompts_in_a_batch_give_what_they_give_alone(tts):
    prompts = [tts.prompt_format.prompt_ids(text, None) for text in ("One.", "Two and a bit more.", "Three?")]
    settings = [Sampling(max_frames=30, seed=seed) for seed in (5, 6, 7)]
    together = dict(tts.engine.generate_batch(prompts, settings))
    for index, (prompt, sampling) in enumerate(zip(prompts, settings, strict=True)):
        alone = tts.engine.generate(prompt, sampling).collect()
        assert list(together[index].ids) == list(alone.ids)
        assert all(
            tts.vocabulary.is_code(list(tts.vocabulary.codes_among(alone.ids)) and list(alone.ids)[:-1])
        )


@pytest.mark.parametrize("text", ["", "   \n", "🙂 🙂", "..."])
def test_nothing_to_speak_is_refused(tts, voice, text):
    with pytest.raises(PromptError):
        tts.speak(text, voice)


def test_an_unknown_voice_and_one_of_another_codec_are_refused(tts, voice):
    with pytest.raises(PromptError):
        tts.speak(TEXT, "nobody")
    from dataclasses import replace

    with pytest.raises(PromptError, match="codec"):
        tts.speak(TEXT, replace(voice, codec_id="neucodec-another"))


def test_a_model_of_another_codebook_is_refused(tts, codec):
    small = SpeechVocabulary(range(100, 164))
    with pytest.raises(VocabularyError, match="64 codes"):
        TextToSpeech(tts.engine, codec, tts.prompt_format, small)
