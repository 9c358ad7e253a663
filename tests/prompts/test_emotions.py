"""NeuTTS-2E: its emotions and its four speakers, against the package `neutts`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neucodec_tts.errors import PromptError
from neucodec_tts.prompts import EMOTIONS, KNOWN_MODELS, NeuTTSFormat, with_emotion
from neucodec_tts.tokens import SpeechVocabulary
from neucodec_tts.voices import VoiceLibrary
from tests.prompts import neutts_package
from tests.prompts.conftest import Extended, PlainVoice
from tests.tokens.small_tokenizers import qwen_like

SPEAKERS = ["emily", "paul", "sophie", "steven"]
TEXTS = [
    "My name is Andy. I'm 25 and I just moved to London.",
    " ‘Single’ and “double” quotes, ﬁne ligatures and ½.",
    "Yes",
]


@pytest.fixture(scope="module")
def emotional() -> Extended:
    """A tokenizer with the tokens of the emotions, as NeuTTS-2E's has them."""
    tokenizer: Any = qwen_like()
    tokenizer.add_tokens([f"<|{name.upper()}|>" for name in EMOTIONS if name != "neutral"])
    return Extended(tokenizer, SpeechVocabulary.extend(tokenizer, codebook_size=1024, format="neutts"))


def cases() -> list[tuple[str, str, str, list[int], str]]:
    codes = np.random.default_rng(0).integers(0, 1024, 40).tolist()
    return [
        ("en-us", text, TEXTS[(number + 1) % len(TEXTS)], codes, emotion)
        for emotion in EMOTIONS
        for number, text in enumerate(TEXTS)
    ]


@pytest.mark.upstream
def test_prompts_are_identical(emotional: Extended, tmp_path: Path):
    emotional.tokenizer.save_pretrained(tmp_path)
    [theirs] = neutts_package.run([{"cases": cases(), "tokenizer": str(tmp_path), "input_format": "BPE"}])
    format = NeuTTSFormat(emotional.tokenizer, emotional.vocabulary, to_phones=None)
    ours = [
        with_emotion(format, emotion).prompt_ids(text, PlainVoice(np.array(codes, np.uint16), voice_text))
        for _, text, voice_text, codes, emotion in cases()
    ]
    assert len({tuple(ids) for ids in ours}) == len(cases())
    assert ours == theirs


def test_an_emotion_stands_between_the_texts_and_does_not_come_from_them(
    emotional: Extended, voice: PlainVoice
):
    format = NeuTTSFormat(emotional.tokenizer, emotional.vocabulary, to_phones=None)
    sad, happy = (emotional.tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("SAD", "HAPPY"))
    for speaker in (None, voice):
        ids = format.with_emotion("sad").prompt_ids("Say <|HAPPY|> twice, and <|SAD|> never.", speaker)
        assert ids.count(sad) == 1
        assert happy not in ids
        assert format.with_emotion("neutral").prompt_ids("Yes", speaker) == format.prompt_ids("Yes", speaker)
    assert sad not in format.prompt_ids(TEXTS[0], voice), "the format itself is as it was"


@pytest.mark.parametrize("emotion", ["bored", "", "HAPPY", "<|HAPPY|>"])
def test_an_unknown_emotion(emotional: Extended, emotion: str):
    format = NeuTTSFormat(emotional.tokenizer, emotional.vocabulary, to_phones=None)
    with pytest.raises(PromptError, match="angry, disgusted, fearful, happy, neutral, sad, surprised"):
        with_emotion(format, emotion)


def test_models_without_emotions(neutts: Extended):
    for to_phones in (None, str.lower):
        with pytest.raises(PromptError, match="takes no emotion"):
            with_emotion(NeuTTSFormat(neutts.tokenizer, neutts.vocabulary, to_phones), "sad")


@pytest.mark.upstream
def test_its_speakers_load_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert VoiceLibrary.of_model("neuphonic/neutts-air") is None
    monkeypatch.syspath_prepend(str(neutts_package.fetch()))
    voices = VoiceLibrary.of_model("neuphonic/NeuTTS-2E")
    assert voices is not None
    assert voices.names() == SPEAKERS
    own = VoiceLibrary(tmp_path)
    emily = own.find("emily", model_voices=voices)
    assert (emily.codes.size, emily.text[:17]) == (402, "What we need, hel")
    assert {own.find(name, model_voices=voices).codes.size for name in SPEAKERS} == {402, 286, 175, 258}
    with pytest.raises(PromptError, match="the model itself brings emily, paul, sophie, steven"):
        own.find("dave", model_voices=voices)
    with pytest.raises(PromptError, match="belongs to the package"):
        voices.save("dave", emily)
    assert KNOWN_MODELS["neuphonic/neutts-2e"].prompt_format == "neutts-text"
