"""Written forms in words: ``$5.50`` becomes "five dollars and fifty cents"."""

from __future__ import annotations

import logging
import re
from functools import cache

from neucodec_tts.errors import PromptError
from neucodec_tts.text.pronunciation import PRONOUNCED
from neucodec_tts.text.written_rules import corrected, rewritten

logger = logging.getLogger(__name__)

_INSTALL = 'pip install "neucodec-tts[normalize]"'
_LONGEST = 260  # characters: a longer "word" is none, and takes spokenform the square of its length
_WRITTEN = re.compile(r"[\d&@€$£¥%#°½¼¾²³+=]|\w\.|[IVXLC]{2}")
_QUOTED = re.compile(r"([\"'“„«‘‚(\[¿¡\s]*)(.*?)([\"'”“»’)\]\s]*)", re.DOTALL)
_LETTERS = re.compile(r"(?<![\w-])[A-Z](?: [A-Z])+(?![\w-])")
# German nouns have capitals, so that only these words tell "Es sind 5. Dann" from "am 5. Oktober".
_GERMAN_OPENERS = (
    "Der Die Das Den Dem Des Ein Eine Einen Einem Einer Kein Keine Er Sie Es Ich Du Wir Ihr Man Wer Was Wo Wann "
    "Warum Wie Wenn Weil Dass Da Dann Danach Dazu Daher Darum Doch Aber Und Oder Denn Auch So Nur Noch Schon "
    "Jetzt Heute Morgen Gestern Hier Dort Nun Bald Dabei Damit Diese Dieser Dieses Jeder Jede Alle Viele Mein "
    "Meine Sein Seine Unser Unsere In Im Am An Auf Aus Bei Beim Mit Nach Von Vom Vor Zu Zum Zur Um Für Über Unter "
    "Seit Bis Ohne Als Ob Ja Nein Bitte"
)


@cache
def _sentences(base: str) -> re.Pattern[str]:
    """Return the pattern of a sentence or two, as far as spokenform needs to see."""
    begins = rf"(?:{_GERMAN_OPENERS.replace(' ', '|')})\b" if base == "de" else r"[^\Wa-zà-ÿ\d_]"
    return re.compile(
        r".{0,80}?(?:\b(?!(?:Prof|Capt|[Aa]pprox|Dept|Corp|Univ|Blvd|Sept|[Ii]nkl|[Ee]vtl|[Vv]gl|Sres|Srta)\.)"
        rf"\w{{4,}}[.!?…]+|(?:\d(?:\s?[a-zµ²³]{{1,5}})?|\b[A-Z](?:-[A-Z])+)[.!?…]+(?=\s+{begins}))"
        r"[\"'”’)]*(?:\s+|$)|.{1,240}(?:(?<!\d)\s|$)|.{1,240}\s|\S+\s*"
    )


# Words that are abbreviations, too, and at the end of a sentence words: "He sat." is no Saturday.
_WORDS = {
    "en": "sat sun wed mar max ref col gen dec co fri st apt",
    "de": "so do mi mo abt max fr st",
    "fr": "vol min mar dim sam av st m sept",
    "es": "mar sol vol cap dom art fin av",
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
    line = _around_pronounced(line, base)
    # Its time grows with the square of the length, so it gets a sentence or two at a time.
    return _sentences(base).sub(lambda found: _prepared(found[0], base, region), line)


def _around_pronounced(line: str, base: str) -> str:
    """Rewrite a line, but for its words whose phones are given."""
    parts, end = [], 0
    for found in PRONOUNCED.finditer(line):
        parts += [rewritten(line[end : found.start()], base), found[0]]
        end = found.end()
    return "".join([*parts, rewritten(line[end:], base)])


def _prepared(text: str, base: str, region: str) -> str:
    from spokenform import SUPPORTED_LOCALES, PreparationConfig, ProtectedSpan, prepare

    if len(text) > _LONGEST or not _WRITTEN.search(text):
        return text
    # It takes a quotation mark for a part of a word.
    found = _QUOTED.fullmatch(text)
    opening, text, closing = found.groups() if found else ("", text, "")
    locale = f"{base}_{region.upper()}"
    config = PreparationConfig(
        language=locale if locale in SUPPORTED_LOCALES else base,
        normalize_literals=True,
        normalize_unicode=False,
        normalize_whitespace=False,
    )
    words = _WORDS.get(base, "").replace(" ", "|") or "(?!)"
    whole = rf"{PRONOUNCED.pattern}|(?<!\d)(?<!\d )\b(?:{words})\.(?!\s*\d)(?=\W*$|\s+[^\W\d_a-zà-ÿ])"
    if base == "fr":
        whole += r"|(?<=\d )[cdjlmnst]['’]\w+"  # "5 d'entre eux" are no days
    kept = [ProtectedSpan(*match.span()) for match in re.finditer(whole, text)]
    try:
        read = str(prepare(text, config=config, protected_spans=kept).text)
    except (ValueError, ArithmeticError, LookupError) as problem:
        logger.warning("the written forms in %r stay as they are: %s", text[:40], problem)
        return opening + text + closing
    read = corrected(read, base)
    # "A M" would be read as the article and a letter.
    read = _LETTERS.sub(lambda found: found[0].replace(" ", "-"), read)
    end = text[-1:]
    return opening + read + ("" if end not in ".!?" or read.endswith(end) else end) + closing
