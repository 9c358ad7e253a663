"""English phones without espeak-ng."""

from __future__ import annotations

import subprocess
import sys
import threading
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neucodec_tts.errors import PromptError
from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.prompts.lexicon import LexiconPhonemizer, espeak_phones
from neucodec_tts.speech.loading import SpeechModel
from neucodec_tts.text.pronunciation import pronounced

pytest.importorskip("hibari", reason="hibari-tts is not installed")

SENTENCES = [
    "They are all gone. I am still here.",
    "The juice of lemons makes fine punch.",
    "Four hours of steady work faced us.",
    "Happy stories, carried by the ladies in the city.",
    "Where does the water go when it rains? To the river, of course!",
    "Please leave a message after the tone, and somebody will call you back.",
    "Her brother could not have believed it.",
    "The temperature rose to 21 degrees, a little better than usual.",
]


@pytest.fixture(scope="module")
def phones() -> LexiconPhonemizer:
    return LexiconPhonemizer()


@pytest.mark.parametrize(
    ("misaki", "espeak"),
    [
        ("hˈæpi stˈɔɹiz", "hˈæpi stˈɔːɹiz"),
        ("wˈɔTəɹ", "wˈɔːɾɚ"),
        ("lˈɛTəɹɪŋ", "lˈɛɾɚɹɪŋ"),
        ("bˈɜɹʧ kənˈu", "bˈɜːtʃ kənˈuː"),
        ("hˈɜɹi", "hˈɜːɹi"),
        ("ˌI ɐm hˌɪɹ", "aɪ ɐm hˌɪɹ"),
        ("ði ˈOʃᵊn", "ðɪ ˈoʊʃən"),
        ("ˈiziəst", "ˈiːziəst"),
    ],
)
def test_misakis_phones_are_spelt_as_espeaks(misaki, espeak):
    assert espeak_phones(misaki) == espeak


def test_they_are_close_to_those_of_espeak(phones):
    phonemes = pytest.importorskip(
        "neucodec_tts.prompts.phonemes", reason='needs pip install "neucodec-tts[phonemes]"'
    )
    pytest.importorskip("phonemizer", reason='needs pip install "neucodec-tts[phonemes]"')
    espeak = phonemes.Phonemizer("en-us")
    wrong = total = 0
    for sentence in SENTENCES:
        ours, theirs = (each(sentence).replace(" ", "") for each in (phones, espeak))
        wrong += _distance(ours, theirs)
        total += len(theirs)
    assert wrong / total < 0.08


def _distance(a: str, b: str) -> int:
    """Levenshtein's."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


def test_written_forms_and_words_in_context(phones):
    assert phones("He paid $5.30.") == phones("He paid five dollars and thirty cents.")
    assert phones("It is 5.3 km.").endswith("fˈaɪv pɔɪnt θɹˈiː kəlˈɑːməɾɚz.")
    past, future = phones("I read it yesterday.").split()[1], phones("I will read it.").split()[2]
    assert (past, future) == ("ɹˈɛd", "ɹˈiːd")
    assert phones("At 10:30 p.m.").endswith(".")
    assert phones("blorptastic").startswith("blɔːɹp")


def test_given_phones_stand_and_others_cannot_be_slipped_in(phones):
    text = f"Say {pronounced('təmˈɑːtoʊ', 'tomato')}, please."
    assert "təmˈɑːtoʊ, " in phones(text)
    assert "qqq" not in phones("Say [tomato](/qqq/), please.")


@pytest.mark.parametrize(
    "text", ["", " ", "...", "1" * 3000, "a-" * 3000, "1," * 3000, "/" * 500, "[(" * 500]
)
def test_odd_texts_are_read_somehow(phones, text):
    assert isinstance(phones(text), str)


@pytest.mark.parametrize(
    ("written", "said"),
    [("`¹", "1"), ("It has 10 m² and ①.", "It has 10 m 2 and 1."), ("x¹²!", "x 12!"), ("A¹⁰ b", "A 10 b")],
)
def test_digits_that_are_raised_or_circled(phones, written, said):
    assert phones(written) == phones(said)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("½ cup", "one half cup"),
        ("Take 2½ cups.", "Take two and one half cups."),
        ("Take 12 ½ cups.", "Take 12 and one half cups."),
        ("It is ¾ full.", "It is three quarters full."),
        ("⅓, ⅝ and ⅒", "one third, five eighths and one tenth"),
        ("½cup", "one half cup"),
        ("a 1½-inch nail", "a one and one half-inch nail"),
        ("$2½ million was lost.", "$2.5 million was lost."),
        ("It costs $3½, or £ ¼.", "It costs $3.50, or £0.25."),
        ("$3⅛ a share", "three dollars and one eighth a share"),
    ],
)
def test_fractions_of_one_character(phones, written, said):
    assert phones(written) == phones(said)


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_every_text_is_read(text):
    phones = LexiconPhonemizer(cache_size=4)
    if any(unicodedata.category(letter) == "Cs" for letter in text):
        with pytest.raises(PromptError):
            phones(text)
    else:
        assert isinstance(phones(text), str)


def test_threads_read_what_one_reads(phones):
    expected = [phones(sentence) for sentence in SENTENCES]
    other = LexiconPhonemizer(cache_size=1)
    heard: dict[int, list[str]] = {}

    def read(thread: int) -> None:
        heard[thread] = [other(sentence) for sentence in SENTENCES]

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(heard[number] == expected for number in range(4))


@pytest.mark.slow
def test_tiny_speaks_without_espeak(tmp_path):
    code = (
        "import sys; sys.modules['phonemizer'] = None\n"
        "from neucodec_tts.cli import main\n"
        f"main(['say', 'Good morning.', '-o', {str(tmp_path / 'a.wav')!r}, '--seed', '1'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.wav").stat().st_size > 20_000


def test_other_models_and_languages_ask_for_espeak(monkeypatch):
    monkeypatch.setitem(sys.modules, "phonemizer", None)
    monkeypatch.setitem(sys.modules, "phonemizer.backend", None)
    model = SpeechModel.load("tiny")  # tiny's own template reads English
    assert isinstance(model.prompt_format, object)
    german = SpeechConfig("neutts", codebook_size=65536, language="de")
    with pytest.raises(PromptError, match=r'pip install "neucodec-tts\[phonemes\]"'):
        german._phonemizer()
    english = SpeechConfig("neutts", codebook_size=65536, language="en-us")
    with pytest.raises(PromptError, match="espeak-ng"):
        english._phonemizer()


def test_without_either_both_are_named(monkeypatch):
    monkeypatch.setattr("neucodec_tts.prompts.lexicon._loaded", [])
    monkeypatch.setitem(sys.modules, "hibari.g2p", None)
    with pytest.raises(PromptError, match=r"neucodec-tts\[phonemes\].*pip install hibari-tts"):
        LexiconPhonemizer()
