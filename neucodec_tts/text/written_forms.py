"""Written forms in words: ``$5.50`` becomes "five dollars and fifty cents"."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from neucodec_tts.errors import PromptError
from neucodec_tts.text.pronunciation import PRONOUNCED

logger = logging.getLogger(__name__)

_INSTALL = 'pip install "neucodec-tts[normalize]"'
_NUMBER = r"\d{1,4}(?:[.,]\d+)?"
_RANGE = re.compile(rf"(?<![\w.,/:+$€£-])({_NUMBER})\s?[-–]\s?({_NUMBER})(?![\w/:-]|[.,]\d)")
_YEAR = re.compile(r"1[1-9]\d\d|20\d\d")
_TO = {"en": "to", "de": "bis", "fr": "à", "es": "a"}
_WRITTEN = re.compile(r"[\d&@€$£¥%#°½¼¾²³+=]|\w\.|[IVXLC]{2}")
_LETTERS = re.compile(r"\b[A-Z](?: [A-Z])+\b")
_SENTENCES = re.compile(
    r".{1,80}?\b(?!(?:Prof|Capt|[Aa]pprox|Dept|Corp|Univ|Blvd|Sept|[Ii]nkl|[Ee]vtl|[Vv]gl|Sres|Srta)\.)\w{4,}[.!?…]+"
    r"[\"'”’)]*(?:\s+|$)|.{1,300}(?:\s|$)|\S+\s*"
)
_GERMAN_TENS = dict(
    zip("23456789", "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split(), strict=True)  # noqa: SIM905
)
_SPANISH_ORDINALS = (
    *("primero", "segundo", "tercero", "cuarto", "quinto"),
    *("sexto", "séptimo", "octavo", "noveno", "décimo"),
)
_ROMAN = re.compile(r"(?<=[a-zà-ÿ] )(?=[IVX]{2}|[VX]\b)(?:X{1,3}(?:IX|IV|V?I{0,3})|IX|IV|VI{0,3}|I{1,3})\b")
# Words that are abbreviations, too, and at the end of a sentence words: "He sat." is no Saturday.
_WORDS = {
    "en": "sat sun wed mar max ref col gen dec co fri st apt",
    "de": "so do mi mo abt max fr st",
    "fr": "vol min mar dim sam av st m",
    "es": "mar sol vol cap dom art fin av",
}
# Forms that spokenform 0.4.5 leaves or misreads: for each language, patterns and their words.
_MORE: dict[str, tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]] = {
    "en": (
        (re.compile(r"([$€£])(\d[\d.,]*) ?m\b"), r"\1\2 million"),
        (re.compile(r"([$€£])(\d[\d.,]*) ?(?:bn|b)\b"), r"\1\2 billion"),
        (re.compile(r"([$€£])(\d[\d.,]*) ?k\b"), r"\1\2 thousand"),
        (re.compile(r"(?<=\d)x(?= )"), " times"),
        (re.compile(r"(?<!\w)['’](\d)0s\b"), r"19\g<1>0s"),
        (re.compile(r"#(?=\d)"), "number "),
        (re.compile(r"(?<=\s)&(?=\s)"), "and"),
        (re.compile(r"\bpp\.(?= ?\d)"), "pages"),
        (re.compile(r"\bp\.(?= ?\d)"), "page"),
        (re.compile(r"(?<=\d)( ?[ap])\.m\.(?=\s+[a-z]|[,;:?!)])"), r"\1m"),
        (re.compile(r"(?<=\d)( ?[ap])\.m\."), r"\1m."),
        (re.compile(r"\b(U\.S|U\.K|U\.N|E\.U)\.(?=\s+\w)"), lambda found: found[1].replace(".", "-")),
        (re.compile(r"\b[A-Z](?:\.[A-Z])+(?=\.?(?:\W|$))"), lambda found: found[0].replace(".", "-")),
        (re.compile(r"\b[A-Z](?:-[A-Z])+\.(?=\s+[a-z])"), lambda found: found[0][:-1]),
        (re.compile(r"¥ ?(\d[\d.,]*)\b"), r"\1 yen"),
        (re.compile(r"(?<=\d) (?=[½¼¾])"), " and "),
        (re.compile(r"\bWorld War II\b"), "World War Two"),
        (re.compile(r"\bWorld War I\b"), "World War One"),
        (re.compile(r"\betc\.(?=\s+[a-z,;)])"), "et cetera"),
        (re.compile(r"\bWWII\b"), "World War Two"),
        (re.compile(r"\bWWI\b"), "World War One"),
        (re.compile(r"(?<=\d)\s?km/h\b"), " kilometers per hour"),
        (re.compile(r"\bhttps?://"), ""),
        (re.compile(r"\b([Cc]all|[Dd]ial) (\d)(\d)(\d)\b"), r"\1 \2 \3 \4"),
    ),
    "de": (
        (re.compile(r"\bhttps?://"), ""),
        (re.compile(r"(?<=\s)&(?=\s)"), "und"),
        (re.compile(r"\b19([2-9])0er\b"), lambda found: f"neunzehnhundert{_GERMAN_TENS[found[1]]}er"),
        (re.compile(r"\b([2-9])0er\b"), lambda found: f"{_GERMAN_TENS[found[1]]}er"),
    ),
    "fr": (
        (re.compile(r"(?<=\d) (?=\d{3}(?!\d))"), ""),
        (re.compile(r"\bp\. ?ex\.(?=\s)"), "par exemple"),
        (re.compile(r"\bMme\b"), "madame"),
        (re.compile(r"\bMlle\b"), "mademoiselle"),
        (re.compile(r"\bDr\b\.?"), "docteur"),
        (_ROMAN, lambda found: str(_roman(found[0]))),
        (re.compile(r"\bhttps?://"), ""),
        (re.compile(r"(?<=\s)&(?=\s)"), "et"),
    ),
    "es": (
        (re.compile(r"\bp\. ?ej\.(?=\s)"), "por ejemplo"),
        (re.compile(r"\bUds\."), "ustedes"),
        (re.compile(r"(?<=siglo )[IVX]+\b"), lambda found: str(_roman(found[0]))),
        (_ROMAN, lambda found: _spanish_ordinal(_roman(found[0]))),
        (re.compile(r"\bUd\."), "usted"),
        (re.compile(r"\bhttps?://"), ""),
    ),
}


def in_words(text: str, language: str) -> str:
    """Return `text` with written forms in words: money, dates, times, units, ordinals, abbreviations, addresses.

    Args:
        text: cleaned; pronounced words stay.
        language: espeak's name of it, as in ``"en-us"``. A language without rules leaves the text as it is.

    Raises:
        PromptError: spokenform is not installed.
    """
    try:
        import spokenform
    except ImportError as problem:
        raise PromptError(
            f"written forms become words by spokenform, which is not installed: {_INSTALL}"
        ) from problem

    base, _, region = language.partition("-")
    if not spokenform.supports_language(base):
        return text
    return re.sub(r"[^\n]+", lambda line: _line_in_words(line[0], base, region), text)


def _line_in_words(line: str, base: str, region: str) -> str:
    if base in _TO:
        line = _RANGE.sub(lambda found: _range(found, _TO[base]), line)
    for pattern, words in _MORE.get(base, ()):
        line = pattern.sub(words, line)
    # Its time grows with the square of the length, so it gets a sentence or two at a time.
    return _SENTENCES.sub(lambda found: _prepared(found[0], base, region), line)


def _prepared(text: str, base: str, region: str) -> str:
    from spokenform import SUPPORTED_LOCALES, PreparationConfig, ProtectedSpan, prepare

    if not _WRITTEN.search(text):
        return text
    locale = f"{base}_{region.upper()}"
    config = PreparationConfig(
        language=locale if locale in SUPPORTED_LOCALES else base,
        normalize_literals=True,
        normalize_unicode=False,
        normalize_whitespace=False,
    )
    words = _WORDS.get(base, "").replace(" ", "|") or "(?!)"
    whole = rf"{PRONOUNCED.pattern}|\b(?:{words})\.(?!\s*\d)(?=\W*$|\s+[^\W\d_a-zà-ÿ])"
    kept = [ProtectedSpan(*match.span()) for match in re.finditer(whole, text)]
    try:
        read = str(prepare(text, config=config, protected_spans=kept).text)
    except (ValueError, ArithmeticError, LookupError) as problem:
        logger.warning("the written forms in %r stay as they are: %s", text[:40], problem)
        return text
    # "A M" would be read as the article and a letter.
    read = _LETTERS.sub(lambda found: found[0].replace(" ", "-"), read)
    end = text.rstrip()[-1:]
    space = text[len(text.rstrip()) :]
    return read.rstrip() + ("" if end not in ".!?" or read.rstrip().endswith(end) else end) + space


def _range(found: re.Match[str], to: str) -> str:
    first, last = found[1], found[2]
    if (len(first), len(last)) == (3, 4):
        return found[0]  # 555-1234 is the number of a telephone
    years = _YEAR.fullmatch(first) and _YEAR.fullmatch(last)
    return f"{_year(first)} {to} {last}" if years and to == "to" else f"{first} {to} {last}"


def _roman(numeral: str) -> int:
    values = [{"I": 1, "V": 5, "X": 10}[letter] for letter in numeral]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))


def _spanish_ordinal(number: int) -> str:
    return _SPANISH_ORDINALS[number - 1] if number <= len(_SPANISH_ORDINALS) else str(number)


def _year(number: str) -> str:
    """Return an English year in two halves of two digits, which are read one after the other."""
    return number if number[2:] < "10" else f"{number[:2]} {number[2:]}"
