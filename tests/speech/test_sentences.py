"""Where texts are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neucodec_tts.speech.sentences import Span, characters, clauses, sentences, words


def cut(text: str) -> list[str]:
    return [text[span.start : span.end] for span in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello there. How are you?", ["Hello there.", "How are you?"]),
        ("Really?! Yes... Well", ["Really?!", "Yes...", "Well"]),
        ("no marks at all", ["no marks at all"]),
        ("Dr. Smith met J. Doe. They talked.", ["Dr. Smith met J. Doe.", "They talked."]),
        ("At 3 p.m. we left. At 5 p.m. The sun set.", ["At 3 p.m. we left.", "At 5 p.m.", "The sun set."]),
        ("It cost 3.14 at example.com. Cheap!", ["It cost 3.14 at example.com.", "Cheap!"]),
        ('"Really?" she asked. "Yes."', ['"Really?" she asked.', '"Yes."']),
        ("It was I. He left.", ["It was I.", "He left."]),
        ("z.B. heute. Das war usw. alles.", ["z.B. heute.", "Das war usw. alles."]),
        ("¿Qué? ¡Sí! Vale.", ["¿Qué?", "¡Sí!", "Vale."]),
        ("你好。我很好！再见", ["你好。", "我很好！", "再见"]),
        ("नमस्ते। आप कैसे हैं?", ["नमस्ते।", "आप कैसे हैं?"]),
        ("One\n\nTwo", ["One", "Two"]),
        ("One\nstill one.", ["One\nstill one."]),
        ("... Hello *** there. ***", ["... Hello *** there. ***"]),
        ("🙂 Hi. 🙂", ["🙂 Hi. 🙂"]),
        ("", []),
        (" \n\n ", []),
        ("...", []),
    ],
)
def test_sentences(text: str, expected: list[str]):
    assert cut(text) == expected


def test_what_ends_a_sentence_is_told():
    text = "One. Two.\n\nThree"
    assert [span.ending for span in sentences(text)] == ["sentence", "paragraph", "paragraph"]
    span = Span(0, 15, "sentence")
    assert [part.ending for part in clauses("One, two; three", span)] == ["clause", "clause", "sentence"]
    assert [part.ending for part in words("One two three..", span)] == ["none", "none", "sentence"]


def test_clauses_are_not_cut_within_numbers():
    text = "He paid 1,250 at 3:45 — cheap, he said"
    parts = clauses(text, Span(0, len(text), "sentence"))
    assert [text[part.start : part.end] for part in parts] == ["He paid 1,250 at 3:45 —", "cheap,", "he said"]


def test_marks_stay_with_their_letters():
    text = "e\u0301a👩\u200d🚀"
    parts = characters(text, Span(0, len(text), "none"))
    assert [text[part.start : part.end] for part in parts][:2] == ["e\u0301", "a"]


def test_characters_in_steps():
    text = "e\u0301abcde\u0301f"
    parts = characters(text, Span(0, len(text), "none"), 3)
    assert [text[part.start : part.end] for part in parts] == ["e\u0301a", "bcd", "e\u0301f"]


_texts = st.lists(
    st.sampled_from(
        ["Word", "word", " ", " ", ".", "!", ",", "\n\n", "Dr.", "3.5", "“", "”", "你", "。", "🙂", "\u2028"]
    ),
    max_size=40,
).map("".join)


@given(_texts)
def test_nothing_is_lost_or_said_twice(text: str):
    """Sentences come in order, do not overlap, and hold every letter and digit."""
    end = 0
    rest = ""
    for span in sentences(text):
        assert end <= span.start < span.end <= len(text)
        rest += text[end : span.start]
        piece = text[span.start : span.end]
        assert piece == piece.strip()
        end = span.end
    rest += text[end:]
    assert not any(character.isalnum() for character in rest)


@given(_texts, st.sampled_from([clauses, words, characters]))
def test_no_part_of_a_span_is_lost(text: str, how):
    stripped = text.strip()
    parts = how(stripped, Span(0, len(stripped), "sentence"))
    joined = "".join(stripped[part.start : part.end] for part in parts)
    assert "".join(joined.split()) == "".join(stripped.split())
