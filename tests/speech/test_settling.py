"""The decision about a finished generation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neucodec_tts.errors import EngineError
from neucodec_tts.speech import Sampling
from neucodec_tts.speech.engine import FinishReason
from neucodec_tts.speech.script import Script
from neucodec_tts.speech.settling import Spoken, Verdict, fault, is_silent, plausible_seconds, settle
from tests.speech.scripted import Stage

TEXT = "Alice was beginning to get very tired of it."


@pytest.fixture(scope="module")
def script(stage: Stage) -> Script:
    return Script(TEXT, None, stage.prompt_format, 2048, Sampling(seed=1))


def spoken(script: Script, frames: int, reason: FinishReason) -> Spoken:
    (sentence,) = script
    return Spoken(sentence, [1] * frames, reason)


def test_speech_that_ended_by_itself_is_kept(script: Script):
    assert settle(spoken(script, 100, "stop"), script, 1, 50.0) == Verdict()


@pytest.mark.parametrize(
    ("frames", "reason"),
    [(100, "length"), (100, "repetition"), (0, "stop"), (0, "length"), (20, "stop"), (900, "stop")],
)
def test_a_fault_is_generated_again_while_retries_are_left(script: Script, frames: int, reason: FinishReason):
    first = spoken(script, frames, reason)
    assert fault(first, 50.0) is not None
    (again,) = settle(first, script, 1, 50.0).again
    assert (again.text, again.attempt) == (TEXT, 1)
    assert again.sampling.seed != first.sentence.sampling.seed
    second = Spoken(again, first.codes, reason)
    if frames:
        verdict = settle(second, script, 1, 50.0)
        assert verdict.again == []
        assert verdict.warning is not None
        assert TEXT in verdict.warning
        assert f"{frames / 50:.1f} s" in verdict.warning
    else:
        with pytest.raises(EngineError, match=f"no speech codes for '{TEXT}'"):
            settle(second, script, 1, 50.0)


def test_what_the_caller_s_own_limit_ended_is_not_tried_again(stage: Stage):
    script = Script(TEXT, None, stage.prompt_format, 2048, Sampling(seed=1, max_frames=30))
    assert settle(spoken(script, 30, "length"), script, 5, 50.0).again == []


def test_silence_is_generated_again(script: Script):
    silent = replace(spoken(script, 100, "stop"), silent=True)
    (again,) = settle(silent, script, 1, 50.0).again
    verdict = settle(replace(silent, sentence=again), script, 1, 50.0)
    assert verdict.again == []
    assert verdict.warning is not None
    assert "is silent (2.0 s)" in verdict.warning


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("No.", (0.2, 0.9)),
        ("a", (0.15, 0.8)),
        ("They are all gone.", (0.7, 2.5)),
        ("1,234,567", (1.5, 6.0)),
        ("你好世界。", (0.5, 2.5)),
        ("An antidisestablishmentarianist's counterrevolutionaries.", (1.8, 6.0)),
        ("www.example.com/a?b=c", (1.0, 5.5)),
    ],
)
def test_what_people_need_for_a_text_is_plausible(text: str, seconds: tuple[float, float]):
    shortest, longest = plausible_seconds(text)
    assert shortest < seconds[0]
    assert seconds[1] < longest


def test_silence_is_what_nobody_hears():
    click = np.zeros(4800, np.float32)
    assert is_silent(click, 480)
    assert is_silent(np.empty(0, np.float32), 480)
    assert is_silent(click + 0.002, 480)
    click[2400:2880] = 0.05
    assert not is_silent(click, 480)
