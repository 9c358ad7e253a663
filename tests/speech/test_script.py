"""How a text is split into sentences, and with what settings each is spoken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neucodec_tts.errors import PromptError
from neucodec_tts.speech import Sampling
from neucodec_tts.speech.script import LONGEST_FRAMES, Script, derived_seed
from neucodec_tts.speech.sentences import Span
from neucodec_tts.speech.splitting import SHORT_FRAMES, SpeakingRate, halves, split, units
from tests.prompts.conftest import PlainVoice
from tests.speech.scripted import Stage

LONG = "Alice was beginning to get very tired of sitting by her sister on the bank."


def pieces(text: str, most: int = 10_000) -> list[str]:
    spans = split(text, lambda words: len(words) <= most, SpeakingRate())
    return [text[span.start : span.end] for span in spans]


def test_sentences_that_are_long_enough_stand_alone():
    assert pieces(f"{LONG} {LONG}") == [LONG, LONG]


def test_short_sentences_go_with_a_neighbour():
    assert SpeakingRate().frames("Oh.") < SHORT_FRAMES < SpeakingRate().frames(LONG)
    assert pieces(f"Oh. {LONG} Yes. {LONG}") == [f"Oh. {LONG} Yes.", LONG]
    assert pieces(f"{LONG}\n\n{LONG}") == [LONG, LONG]
    assert pieces(f"Oh.\n\n{LONG}") == ["Oh.", LONG], "a heading keeps its pause"


@given(
    st.lists(
        st.sampled_from(["word", "Word", " ", ", ", ". ", "\n\n", "longerword", "你", "。"]), max_size=60
    ),
    st.integers(1, 40),
)
def test_every_part_fits_and_nothing_is_lost(parts: list[str], most: int):
    text = "".join(parts)
    found = pieces(text, most)
    assert all(0 < len(piece) <= most for piece in found)
    assert [c for piece in found for c in piece if c.isalnum()] == [c for c in text if c.isalnum()]


def test_where_not_even_a_character_fits():
    with pytest.raises(PromptError, match="fills the model's context"):
        list(split("Hello", lambda words: False, SpeakingRate()))


def test_a_single_word_of_any_length():
    assert "".join(pieces("a" * 1000, 300)) == "a" * 1000


def test_a_last_piece_is_no_leftover():
    """Two pieces of like length sound better than a long one and a word."""
    text = " ".join(["word"] * 12)
    sizes = [len(piece.split()) for piece in pieces(text, 52)]
    assert sum(sizes) == 12
    assert min(sizes) >= 3


def test_halves():
    text = "One and two, three and four"
    first, second = halves(text, Span(0, len(text), "sentence"))
    assert (text[first.start : first.end], first.ending) == ("One and two,", "clause")
    assert (text[second.start : second.end], second.ending) == ("three and four", "sentence")
    assert halves("word", Span(0, 4, "sentence")) == [Span(0, 4, "sentence")]


def test_how_long_a_text_takes():
    assert units("") == 0
    assert units("20") > units("ab")  # twenty
    assert units("你好") > units("ab")
    slow, fast = SpeakingRate.of(LONG, 500), SpeakingRate.of(LONG, 200)
    assert slow.frames("Hello there") > fast.frames("Hello there")
    # A transcript that cannot be right does not spoil the estimate.
    assert SpeakingRate.of("Hi", 5000) == SpeakingRate()
    assert SpeakingRate.of(LONG, 100_000).frames_per_unit <= 9
    assert SpeakingRate.of(LONG, 1).frames_per_unit >= 2


# -- scripts --------------------------------------------------------------------------------------------------


def scripted(stage: Stage, text: str, voice=None, context: int = 2048, **sampling) -> list:
    return list(Script(text, voice, stage.prompt_format, context, Sampling(seed=1, **sampling)))


def test_prompts_are_those_of_the_format(stage: Stage):
    voice = PlainVoice(np.arange(100), "This is my voice.")
    (sentence,) = scripted(stage, f"  {LONG}\n", voice)
    assert sentence.text == LONG
    assert sentence.prompt_ids == stage.prompt_format.prompt_ids(LONG, voice)
    assert (sentence.span.start, sentence.span.end) == (2, 2 + len(LONG))


def test_voice_text_and_speech_fit_into_the_context(stage: Stage):
    voice = PlainVoice(
        np.arange(400), "This is my voice, which speaks for eight seconds, and rather slowly at that."
    )
    text = " ".join([LONG] * 3 + ["and so on"] * 200)
    for sentence in scripted(stage, text, voice, context=800):
        assert len(sentence.prompt_ids) + sentence.estimated_frames <= 800
        assert sentence.sampling.max_frames is not None
        assert len(sentence.prompt_ids) + sentence.sampling.max_frames <= 800
    with pytest.raises(PromptError, match="use a shorter recording"):
        scripted(stage, LONG, voice, context=420)


def test_a_long_row_of_marks_is_not_spoken(stage: Stage):
    sentences = scripted(stage, "-" * 5000 + " Hello there.", context=300)
    assert all("Hello" in sentence.text or "there" in sentence.text for sentence in sentences)
    assert sentences


def test_no_sentence_is_longer_than_models_can_keep_up(stage: Stage):
    sentences = scripted(stage, "word " * 3000, context=100_000)
    assert len(sentences) > 5
    assert all(sentence.estimated_frames <= LONGEST_FRAMES for sentence in sentences)


def test_a_model_of_short_utterances_is_given_them(stage: Stage):
    text = "I am. He came in the morning, said nothing at all, and went away again before it was noon."

    def texts(frames: tuple[int, int] | None) -> list[str]:
        script = Script(text, None, stage.prompt_format, 2048, Sampling(seed=1), frames)
        return [sentence.text for sentence in script]

    assert texts(None) == texts((60, 1000)) == [text]
    assert texts((0, 1000)) == [text[:5], text[6:]]
    clauses = [
        "I am.",
        "He came in the morning, said nothing at all,",
        "and went away again before it was noon.",
    ]
    assert texts((0, 150)) == clauses


def test_limits_follow_the_estimate_and_the_caller(stage: Stage):
    (free,) = scripted(stage, LONG)
    assert 0 < free.sampling.min_frames < free.estimated_frames < free.sampling.max_frames
    (bounded,) = scripted(stage, LONG, min_frames=20, max_frames=30)
    assert (bounded.sampling.min_frames, bounded.sampling.max_frames) == (30, 30)
    (brief,) = scripted(stage, "I")
    assert brief.estimated_frames < brief.sampling.min_frames == 12
    (cut,) = scripted(stage, "I", max_frames=5)
    assert (cut.sampling.min_frames, cut.sampling.max_frames) == (5, 5)


def test_each_sentence_has_random_numbers_of_its_own(stage: Stage):
    first, again = scripted(stage, f"{LONG} {LONG}"), scripted(stage, f"{LONG} {LONG}")
    assert first == again
    assert first[0].sampling.seed != first[1].sampling.seed
    assert derived_seed(1, 2) == 863_661_761_539_424_187, "on any machine"
    assert 0 <= derived_seed(-1, 2, 3) < 2**63


@pytest.mark.parametrize(
    "text",
    ["Alice was late, so late. " * 4000, "word " * 20_000, "a" * 100_000, "1, " * 33_000, "你好吗" * 33_000],
    ids=["sentences", "words", "one word", "commas", "ideographs"],
)
def test_hundred_thousand_characters(stage: Stage, text: str):
    spoken = "".join(sentence.text for sentence in scripted(stage, text))
    assert [c for c in spoken if c.isalnum()] == [c for c in text if c.isalnum()]
