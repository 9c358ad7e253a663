"""Written forms in words, as phones: the documentation's table of what is written and what is said."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from neucodec_tts.errors import PromptError
from neucodec_tts.prompts import Phonemizer
from neucodec_tts.text import TextReader
from neucodec_tts.text.pronunciation import pronounced
from neucodec_tts.text.written_forms import in_words

pytest.importorskip("phonemizer", reason='needs pip install "neucodec-tts[phonemes]"')
pytest.importorskip("spokenform", reason='needs pip install "neucodec-tts[normalize]"')

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FORMS = [row.split("\t") for row in (ROOT / "docs/written_forms.tsv").read_text("utf-8").splitlines()[1:]]
LANGUAGES = ("en-us", "de", "fr-fr", "es")
# What a sentence goes on with, and the beginning of a next one.
GOES_ON = {"en-us": "and we go", "de": "und wir gehen", "fr-fr": "et nous partons", "es": "y nos vamos"}
NEXT = {
    "en-us": "Then we go.",
    "de": "Dann gehen wir.",
    "fr-fr": "Puis nous partons.",
    "es": "Luego nos vamos.",
}


def forms(language: str) -> list[tuple[str, str, list[str]]]:
    """Kind, written sentence and what is said, in each right way."""
    return [(kind, written, said.split(" | ")) for kind, of, written, said in FORMS if of == language]


@pytest.mark.parametrize(("language", "least"), [("en-us", 95), ("de", 85), ("fr-fr", 85), ("es", 85)])
def test_forms_are_said_as_in_words(language: str, least: int):
    """The phones are those of one of the right sentences. Spaces between them are no sounds: "twenty-five" has none."""
    phonemizer = Phonemizer(language)

    def sounds(text: str) -> str:
        return phonemizer(text).replace(" ", "")

    table = forms(language)
    read = {written: in_words(written, language) for _, written, _ in table}
    said = {written: [sounds(each) for each in readings] for _, written, readings in table}
    wrong = [(written, words) for written, words in read.items() if sounds(words) not in said[written]]
    assert len(table) == 100
    assert len(table) - len(wrong) >= least, wrong
    # The documentation shows the first reading as what is said, and names the one form that is said otherwise.
    other = [written for written, words in read.items() if sounds(words) != said[written][0]]
    assert other in ([], ["Es kostet 1 €."])


@pytest.mark.parametrize("language", LANGUAGES)
def test_more_forms_are_said_as_in_words(language: str):
    """Addresses, measures, currencies, scores, angles, formulas and more, in each language."""
    phonemizer = Phonemizer(language)
    reader = TextReader(language, normalize=True)

    def sounds(text: str) -> str:
        return phonemizer(text).replace(" ", "")

    rows = [row.split("\t") for row in (HERE / "more_written_forms.tsv").read_text("utf-8").splitlines()[1:]]
    wrong = []
    for _, of, written, said in rows:
        if of == language:
            read = reader.read(written).text
            if sounds(read) not in {sounds(each) for each in said.split(" | ")}:
                wrong.append((written, read))
    assert wrong == []


def test_the_forms_are_the_same_in_all_languages():
    kinds = [kind for kind, _, _ in forms("en-us")]
    assert len(set(kinds)) == 100
    assert all([kind for kind, _, _ in forms(language)] == kinds for language in LANGUAGES)


Placed = Callable[[str, str, str], tuple[str, str]]
# From a sentence, what it goes on with and the next one: a text, and what stands in place of the sentence's stop.
PLACES: dict[str, Placed] = {
    "within": lambda text, after, _: (f"{text[:-1]} {after}.", f" {after}."),
    "before a comma": lambda text, after, _: (f"{text[:-1]}, {after}.", f", {after}."),
    "before a sentence": lambda text, _, following: (f"{text} {following}", f". {following}"),
    "a question": lambda text, *_: (f"{text[:-1]}?", "?"),
    "without a mark": lambda text, *_: (text[:-1], "."),
    "decomposed": lambda text, *_: (unicodedata.normalize("NFD", text), "."),
    "narrow spaces": lambda text, *_: (re.sub(r"(?<!\d) |(?<=\d) (?!\d)", "\u202f", text), "."),
    "no-break spaces": lambda text, *_: (re.sub(r"(?<!\d) |(?<=\d) (?!\d)", "\xa0", text), "."),
    "full-width digits": lambda text, *_: (
        re.sub("[0-9]", lambda digit: chr(ord(digit[0]) + 0xFEE0), text),
        ".",
    ),
    "no-break hyphens": lambda text, *_: (text.replace("-", "\u2011"), "."),
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("place", PLACES)
def test_a_form_is_read_alike_wherever_it_stands(language: str, place: str):
    reader = TextReader(language, normalize=True)
    wrong = []
    for _, written, _ in forms(language)[len(place) % 4 :: 4]:  # a quarter of them for each place, for speed
        alone = reader.read(written, "plain").text
        text, end = PLACES[place](written, GOES_ON[language], NEXT[language])
        read = reader.read(text, "plain").text
        if read != alone[:-1] + end:
            wrong.append((text, read))
    assert wrong == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("opening", "closing"), ["“”", "()", "«»", "„“", '""'])
def test_quotation_marks_change_nothing(language: str, opening: str, closing: str):
    wrong = [
        (written, read)
        for _, written, _ in forms(language)[ord(opening) % 4 :: 4]
        if (read := in_words(f"{opening}{written}{closing}", language))
        != f"{opening}{in_words(written, language)}{closing}"
    ]
    assert wrong == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_are_read_as_they_stand(language: str):
    """Sentences in words stay, except for abbreviations of capitals, which are spelt."""
    words = [each for _, _, said in forms(language) for each in said]
    words = [each for each in words if not re.search(r"\b[A-Z]{2,}|\b[A-Z] [A-Z]", each)]
    assert len(words) > 100
    assert [(each, read) for each in words if (read := in_words(each, language)) != each] == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("He sat in the sun. We may come in. I said no.", "en-us"),
        ("Es ist so. So ist es. Komm mit.", "de"),
        ("Il a baissé le vol. Je sais. Page sept. Il y en a sept.", "fr-fr"),
        ("Mira el mar. Por fin.", "es"),
        (f"You say {pronounced('ˈɑː', 'Dr. 5')} now.", "en-us"),
        ("你好 5", "xx"),
    ],
)
def test_words_stay(text: str, language: str):
    assert in_words(text, language) == text


@pytest.mark.parametrize(
    ("language", "written", "said"),
    [
        ("en-us", "It is open 9am-5pm.", "It is open nine A-M to five P-M."),
        ("en-us", "King George V. spoke.", "King George the fifth spoke."),
        ("en-us", "The temperature was \u22125 degrees.", "The temperature was minus five degrees."),
        ("en-us", "P.S. I go.", "P-S. I go."),
        ("en-us", "A Ph.D. student.", "A P-H-D student."),
        ("en-us", "From -5 to +5.", "From minus five to plus five."),
        ("en-us", "It is 50/50.", "It is fifty fifty."),
        ("en-us", "He is 5'10\" tall.", "He is five foot ten tall."),
        ("en-us", "Use v2.0.1-beta.", "Use v two dot zero dot one-beta."),
        ("en-us", "It has 2 TB.", "It has two terabytes."),
        ("de", "Seit 1871. Um 1900 auch.", "Seit achtzehnhunderteinundsiebzig. Um neunzehnhundert auch."),
        ("de", "Es waren 1900 Leute.", "Es waren eintausendneunhundert Leute."),
        ("de", "Ab dem 15.03. geht es los.", "Ab dem fünfzehnten März geht es los."),
        ("de", "In der 4. Klasse, die 5. und 6. Klasse.", "In der vierten Klasse, die fünfte und sechste Klasse."),
        ("fr-fr", "Le 5 juin prochain.", "Le cinq juin prochain."),
        ("fr-fr", "Le 5 janv. ou le 5 janv.", "Le cinq janvier ou le cinq janvier."),
        ("fr-fr", "1 234,50 €.", "Mille deux cent trente-quatre euros cinquante centimes."),
        ("fr-fr", "François Ier et la Ve République.", "François premier et la cinquième République."),
        ("es", "El 5 de enero próximo.", "El cinco de enero próximo."),
        ("es", "350 casas, 21 personas.", "Trescientas cincuenta casas, veintiuna personas."),
        ("es", "Son 350 días.", "Son trescientos cincuenta días."),
        ("es", "Juan Carlos I y Carlos V.", "Juan Carlos primero y Carlos quinto."),
        ("en-us", "It is 5 - 3 = 2.", "It is five minus three equals two."),
        ("en-us", "It weighs 5 mg/kg.", "It weighs five milligrams per kilogram."),
        ("en-us", "See 10.0.0.1:80 now.", "See ten dot zero dot zero dot one colon eight zero now."),
        ("en-us", "Open Mon-Fri.", "Open Monday to Friday."),
        ("en-us", "Agent 007 came.", "Agent zero zero seven came."),
        ("en-us", "It costs US$20.", "It costs twenty U-S dollars."),
        ("de", "Von 5 km–10 km.", "Von fünf bis zehn Kilometer."),
        ("de", "Es sind 5 m/s.", "Es sind fünf Meter pro Sekunde."),
        ("de", "Es dauert 1 1/3 Stunden.", "Es dauert eins und ein Drittel Stunden."),
        ("de", "Er kam am 5. Er blieb.", "Er kam am fünften. Er blieb."),
        ("fr-fr", "Il y en a 5 d'entre eux.", "Il y en a cinq d'entre eux."),
        ("fr-fr", "C'est ouvert 24h/24.", "C'est ouvert vingt-quatre heures sur vingt-quatre."),
        ("fr-fr", "Il y en a 2 ½ ici.", "Il y en a deux et demi ici."),
        ("es", "Son 31 días y 21 km.", "Son treinta y un días y veintiún kilómetros."),
        ("es", "Hay 20 €/kg aquí.", "Hay veinte euros por kilogramo aquí."),
    ],
)  # fmt: skip
def test_more_of_the_kinds(language: str, written: str, said: str):
    assert TextReader(language, normalize=True).read(written, "plain").text.lower() == said.lower()


def test_sentences_keep_their_marks():
    read = in_words("It is 5.3 km. We left at 10 a.m. She has 3 cats!\n\nIs it 7?", "en-us")
    assert read == (
        "It is five point three kilometers. We left at ten A-M. She has three cats!\n\nIs it seven?"
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "text", ["1" * 9_000, "1." * 9_000, "vs. " * 500, "5 km " * 50, "½" * 9_000, "A." * 9_000]
)
def test_long_texts_are_read(language: str, text: str):
    assert in_words(text, language)


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
