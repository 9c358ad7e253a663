"""The small model that comes with the package, as it comes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchaudio.functional import detect_pitch_frequency

from neucodec_tts import SpeakerPrompt, TextToSpeech, VoiceLibrary
from neucodec_tts.built_in import SPEECH_MODELS, speech_model
from neucodec_tts.prompts import SpeechConfig
from tests.assets import ASSETS

SENTENCES = ("They are all gone.", "I have never seen the king.", "Nothing is as simple as it seems.")


@pytest.fixture(scope="module")
def tts() -> TextToSpeech:
    return TextToSpeech.from_pretrained()


def test_its_name_is_that_of_its_folder() -> None:
    assert speech_model("tiny") == str(SPEECH_MODELS["tiny"])
    assert speech_model(Path("somewhere")) == "somewhere"
    assert SpeechConfig.from_pretrained("tiny") == SpeechConfig.from_pretrained(SPEECH_MODELS["tiny"])
    voices = VoiceLibrary.of_model("tiny")
    assert voices is not None
    assert voices.names() == ["emma", "george", "heart", "michael"]


@pytest.mark.parametrize("voice", ["emma", "george", "heart", "michael"])
def test_it_speaks_in_its_voices_and_stops(tts: TextToSpeech, voice: str) -> None:
    result = tts.speak(" ".join(SENTENCES), voice, seed=1, retries=0)
    assert {segment.finish_reason for segment in result.segments} == {"stop"}
    for segment in result.segments:
        assert (
            0.04 < (segment.end - segment.start) / len(segment.text) < 0.12
        )  # seconds a letter, as people speak


def median_pitch(samples: np.ndarray, rate: int) -> float:
    """In Hz."""
    found = detect_pitch_frequency(torch.from_numpy(samples)[None], rate, freq_low=60, freq_high=350)
    return float(found.median())


def test_voices_differ(tts: TextToSpeech) -> None:
    assert tts.model_voices is not None
    pitch = {}
    for name in ("heart", "michael"):
        result = tts.speak(SENTENCES[1], name, seed=1)
        pitch[name] = median_pitch(result.samples, result.sample_rate)
    assert pitch["heart"] > 1.3 * pitch["michael"]  # a woman and a man


def test_it_clones_a_recording(tts: TextToSpeech) -> None:
    said = "All representatives of the household are currently assisting other telemarketers."
    voice = SpeakerPrompt.from_audio(tts.codec, ASSETS / "demo.flac", said)
    result = tts.speak(SENTENCES[0], voice, seed=1)
    assert 0.5 < result.duration < 4
