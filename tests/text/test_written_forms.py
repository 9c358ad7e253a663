"""Written forms in words, as phones: tables of a form and what is said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from neucodec_tts.errors import PromptError
from neucodec_tts.prompts import Phonemizer
from neucodec_tts.text import TextReader
from neucodec_tts.text.pronunciation import pronounced
from neucodec_tts.text.written_forms import in_words

pytest.importorskip("phonemizer", reason='needs pip install "neucodec-tts[phonemes]"')
pytest.importorskip("spokenform", reason='needs pip install "neucodec-tts[normalize]"')

TABLES = Path(__file__).parent / "written_forms"


@pytest.mark.parametrize(
    ("language", "share"), [("en-us", 0.95), ("de", 0.85), ("fr-fr", 0.85), ("es", 0.85)]
)
def test_forms_are_said_as_in_words(language: str, share: float):
    phonemizer = Phonemizer(language)
    rows = [row.split("\t") for row in (TABLES / f"{language}.tsv").read_text("utf-8").splitlines()]
    wrong = [
        (form, read)
        for form, said in rows
        if phonemizer(read := in_words(form, language)) != phonemizer(said)
    ]
    assert len(rows) - len(wrong) >= share * len(rows), wrong


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("He sat in the sun. We may come in. I said no.", "en-us"),
        ("Es ist so. So ist es. Komm mit.", "de"),
        ("Il a baissé le vol. Je sais.", "fr-fr"),
        ("Mira el mar. Por fin.", "es"),
        (f"You say {pronounced('ˈɑː', 'Dr. 5')} now.", "en-us"),
        ("你好 5", "xx"),
    ],
)
def test_words_stay(text: str, language: str):
    assert in_words(text, language) == text


def test_sentences_keep_their_marks():
    read = in_words("It is 5.3 km. We left at 10 a.m. She has 3 cats!\n\nIs it 7?", "en-us")
    assert read == (
        "It is five point three kilometers. We left at ten A-M. She has three cats!\n\nIs it seven?"
    )


def test_models_say_if_they_want_words():
    assert TextReader("en-us").read("It is 5 km.").text == "It is 5 km."
    assert TextReader("en-us").read("It is 5 km.", normalize=True).text == "It is five kilometers."
    assert TextReader("en-us", normalize=True).read("It is 5 km.").text == "It is five kilometers."
    assert TextReader("en-us", normalize=True).read("It is 5 km.", normalize=False).text == "It is 5 km."
    with pytest.raises(PromptError, match="names no language"):
        TextReader().read("It is 5 km.", normalize=True)


def test_without_spokenform(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "spokenform", None)
    with pytest.raises(PromptError, match=r'pip install "neucodec-tts\[normalize\]"'):
        TextReader("en-us").read("It is 5 km.", normalize=True)
