"""Phones by espeak-ng."""

from __future__ import annotations

import logging
import random
import sys
import threading
import types
import unicodedata

import pytest

from neucodec_tts.errors import PromptError
from neucodec_tts.prompts import phonemes
from neucodec_tts.prompts.phonemes import Phonemizer, check_language, find_espeak, languages
from neucodec_tts.text import clean, has_speech

pytest.importorskip("phonemizer", reason='needs pip install "neucodec-tts[phonemes]"')


@pytest.fixture(scope="module")
def english() -> Phonemizer:
    return Phonemizer("en-us")


def test_settings_of_neutts(english: Phonemizer):
    phones = english("Hello,  world!\nHow are you?")
    assert "," in phones, "punctuation stays"
    assert "ˈ" in phones, "stress is marked"
    assert "  " not in phones
    assert "\n" not in phones
    assert phones.startswith("həlˈoʊ, wˈɜːld!")
    assert "(" not in english("I say bonjour, Jürgen, 你好"), "no flags of language switches"


def test_french_has_no_hyphens_between_syllables():
    backend = Phonemizer("fr-fr")
    sentences = ["le Jean-Pierre et l'arc-en-ciel", "Est-ce que vous êtes allés au marché ?"]
    assert all("-" not in backend(sentence) for sentence in sentences)
    raw = backend._backend.phonemize(sentences)
    assert any("-" in phones for phones in raw), "espeak writes them, so taking them out means something"


def test_languages_of_neutts_and_any_other():
    assert set(phonemes.NEUTTS_LANGUAGES) <= set(languages())
    assert Phonemizer("it")("buongiorno") not in ("", "buongiorno")
    assert check_language("en_US") == "en-us"
    assert check_language(" DE ") == "de"


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "en-us (English (America))"),
        ("fr", "fr-fr (French (France))"),
        ("german", "de (German)"),
        ("englsh", "en-"),
        ("french", "fr-fr"),
        ("pt-pt", "pt-br"),
        ("qq", "it knows"),
        ("", "it knows"),
        ("klingonese", "piqd (Klingon)"),
        ("xxxxxxxx", "it knows"),
    ],
)
def test_unknown_languages_get_near_names(language: str, expected: str):
    with pytest.raises(PromptError) as caught:
        Phonemizer(language)
    assert expected in str(caught.value)
    assert repr(language) in str(caught.value)


def test_a_batch_is_each_alone(english: Phonemizer):
    """phonemizer itself mixes up lists with texts that are empty or only punctuation."""
    texts = ["Hello, world!", "...", "", "Two; three", "Hello, world!", "a\nb", "🙂", "?"]
    alone = [Phonemizer("en-us")(text) for text in texts]
    assert english.batch(texts) == alone
    assert alone[2] == ""
    assert alone[1] == "..."


@pytest.mark.parametrize(
    ("text", "same_words"),
    [
        ("It is 5.3 km.", "It is five point three km."),
        ("That makes 1,250.50 in all!", "That makes one thousand two hundred fifty point five zero in all!"),
        ("Is it 3.14?", "Is it three point one four?"),
        ("We met at 10:30.", "We met at ten thirty."),
        ("It is on example.com.", "It is on example dot com."),
        ("Write to me@example.org, please.", "Write to me at example dot org, please."),
        ("See www.example.com/a.", "See w w w dot example dot com slash a."),
    ],
)
def test_marks_within_words_are_read_and_sentences_keep_theirs(
    english: Phonemizer, text: str, same_words: str
):
    def plain(phones: str) -> str:
        return phones.translate(str.maketrans("ɾ", "t", "ˈˌ "))

    assert english(text)[-1] == text[-1]
    assert plain(english(text)) == plain(english(same_words))


@pytest.mark.parametrize(
    "text",
    ["Version 2.10.3 is out.", "In the U.S.A. they do.", "At 5 p.m. we left.", "Many, e.g. Anna, agree."],
)
def test_no_mark_within_versions_and_abbreviations(english: Phonemizer, text: str):
    marks = [character for character in english(text) if character in ".,:"]
    assert marks == ([",", ",", "."] if "," in text else ["."])


def test_german_times_and_decimals():
    german = Phonemizer("de")
    assert german("Es ist 10:30.") == german("Es ist 10 Uhr 30.").replace("tsˈeːn ˈuːɾ", "tsˈeːn uːɾ")
    assert german("Es sind 5,3.") == german("Es sind fünf komma drei.").replace("kˈɔmɑː", "kɔmɑː")


@pytest.mark.parametrize(
    ("language", "composed"),
    [
        ("fr-fr", "Ça, c'est français."),
        ("de", "Übergröße"),
        ("es", "¿Mañana?"),
        ("vi", "Việt Nam"),
    ],
)
def test_decomposed_text_reads_like_composed(language: str, composed: str):
    phonemizer = Phonemizer(language)
    decomposed = unicodedata.normalize("NFD", composed)
    assert decomposed != composed
    assert phonemizer(decomposed) == phonemizer(composed)


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("１２３ ｏｎｅ", "123 one"),
        ("a ﬁne ﬂat oﬃce", "a fine flat office"),
        ("so\u00adft and zero\u200bwidth", "soft and zerowidth"),
        ("one\u00a0two\u202fthree\u3000four", "one two three four"),
        ("Louis Ⅳ", "Louis IV"),
        ("10\u202f000 and 1’000", "10000 and 1000"),
        ("don`t, donʼt", "don't, don't"),
        ("a non\u2011breaking hyphen", "a non-breaking hyphen"),
        ("\ufeffHello", "Hello"),
    ],
)
def test_characters_that_look_alike_are_read_alike(english: Phonemizer, written: str, plain: str):
    assert clean(written) == plain
    assert clean(plain) == plain
    assert english(written) == english(plain)


def test_marks_are_kept_as_neutts_keeps_them(english: Phonemizer):
    """Without marks within words, phonemizer's own way gives the same."""
    from phonemizer.backend import EspeakBackend

    theirs = EspeakBackend(
        "en-us", preserve_punctuation=True, with_stress=True, language_switch="remove-flags"
    )
    source = random.Random(1)
    words = [
        "the",
        "quick",
        "brown",
        "fox",
        "doesn't",
        "jump",
        "naïve",
        "Yes",
        "I",
        "of",
        "25",
        "1999",
        "e-mail",
    ]
    marks = [
        " ",
        ", ",
        ". ",
        "; ",
        ": ",
        "! ",
        "? ",
        " — ",
        "… ",
        ' "',
        '" ',
        " (",
        ") ",
        "¿",
        "\n",
        "?! ",
        "...",
    ]
    for _ in range(200):
        text = "".join(source.choice(words) + source.choice(marks) for _ in range(source.randint(1, 8)))
        assert english(text) == " ".join(" ".join(theirs.phonemize([text])).split()), text


def test_a_hundred_thousand_characters(english: Phonemizer):
    assert len(english("word, " * 17_000)) > 100_000


def test_a_zero_byte_ends_nothing(english: Phonemizer):
    assert english("one\0two") == english("one two")


def test_results_are_remembered(monkeypatch: pytest.MonkeyPatch):
    phonemizer = Phonemizer("en-us", cache_size=2)
    asked: list[str] = []
    original = phonemizer._phonemize

    def ask(text: str) -> str:
        asked.append(text)
        return str(original(text))

    monkeypatch.setattr(phonemizer, "_phonemize", ask)
    for text in ("one", "two", "one", "three", "one", "two"):
        phonemizer(text)
    assert asked == ["one", "two", "three", "two"]


def test_many_threads(english: Phonemizer):
    texts = [f"This is sentence {n}." for n in range(24)]
    expected = Phonemizer("en-us").batch(texts)
    fresh = Phonemizer("en-us")
    got: dict[str, str] = {}

    def work(part: list[str]) -> None:
        got.update({text: fresh(text) for text in part})

    threads = [threading.Thread(target=work, args=(texts[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[text] for text in texts] == expected


def test_bad_text(english: Phonemizer):
    with pytest.raises(PromptError, match="must be a string, not int"):
        english(5)  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="lone surrogate"):
        english("a\udc80")


def test_what_there_is_to_say():
    assert has_speech("a")
    assert has_speech("… 3 …")
    assert has_speech("你好")
    assert not has_speech(" .,!?🙂€+")


def test_without_phonemizer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "phonemizer.backend", None)
    with pytest.raises(PromptError, match=r'pip install "neucodec-tts\[phonemes\]"'):
        Phonemizer("en-us")


def test_without_espeak(monkeypatch: pytest.MonkeyPatch):
    from phonemizer.backend.espeak import wrapper

    monkeypatch.delenv("PHONEMIZER_ESPEAK_LIBRARY", raising=False)
    monkeypatch.setattr(phonemes.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(wrapper, "_find_library", lambda name: None)
    assert find_espeak().source == "system"
    with pytest.raises(PromptError, match=r"no espeak-ng; install them with"):
        Phonemizer("en-us")


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PHONEMIZER_ESPEAK_LIBRARY", "/nowhere/libespeak-ng.so")
    with pytest.raises(PromptError, match=r"no espeak-ng library /nowhere/libespeak-ng\.so .*environment"):
        Phonemizer("en-us")


def test_the_chosen_library_is_used(monkeypatch: pytest.MonkeyPatch):
    espeakng_loader = pytest.importorskip("espeakng_loader")
    monkeypatch.setenv("PHONEMIZER_ESPEAK_LIBRARY", str(espeakng_loader.get_library_path()))
    phonemizer = Phonemizer("en-us")
    assert phonemizer.espeak.source == "environment"
    assert phonemizer("Hello") == "həlˈoʊ"
    monkeypatch.delenv("PHONEMIZER_ESPEAK_LIBRARY")
    monkeypatch.setattr(
        phonemes.importlib.util,
        "find_spec",
        lambda name: (
            types.SimpleNamespace(submodule_search_locations=[]) if name == "espeakng_loader" else None
        ),
    )
    assert find_espeak().source == "espeakng-loader"


def test_another_version_is_told_once(
    english: Phonemizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(phonemes, "_warned", set())
    with caplog.at_level(logging.WARNING, "neucodec_tts"):
        english.compare_version(None)
        english.compare_version(english.espeak_version)
        assert not caplog.records
        english.compare_version("1.49.0")
        english.compare_version("1.49.0")
    assert len(caplog.records) == 1
    assert "1.49.0" in caplog.text
    assert "PHONEMIZER_ESPEAK_LIBRARY" in caplog.text


@pytest.mark.parametrize(
    "text", ["a.b" * 5_000, "x@" * 5_000, "a.b.c@" * 3_000, "1." * 5_000, "www." * 5_000]
)
def test_no_text_takes_long(english: Phonemizer, text: str):
    """Patterns with two repetitions would try every pair of places: minutes."""
    assert english(text)
