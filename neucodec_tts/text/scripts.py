"""Scripts that a model of one language reads, and the parts of a text that it does not."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from neucodec_tts.text.pronunciation import PRONOUNCED

# By the first word of a character's Unicode name: the common name of the script, and espeak's languages written in it.
_SCRIPTS: dict[str, tuple[str, frozenset[str]]] = {
    name: (called, frozenset(languages.split()))
    for name, called, languages in (
        ("CJK", "Chinese", "cmn yue hak zh ja ko"),
        ("HIRAGANA", "Japanese", "ja"),
        ("KATAKANA", "Japanese", "ja"),
        ("HANGUL", "Korean", "ko"),
        ("CYRILLIC", "Cyrillic", "ru uk be bg mk sr bs ky kk tt ba cv nog mn"),
        ("GREEK", "Greek", "el grc"),
        ("ARABIC", "Arabic", "ar fa ur ug sd ps ku"),
        ("HEBREW", "Hebrew", "he yi"),
        ("DEVANAGARI", "Devanagari", "hi mr ne kok sa"),
        ("BENGALI", "Bengali", "bn as bpy"),
        ("GURMUKHI", "Gurmukhi", "pa"),
        ("GUJARATI", "Gujarati", "gu"),
        ("ORIYA", "Oriya", "or"),
        ("TAMIL", "Tamil", "ta"),
        ("TELUGU", "Telugu", "te"),
        ("KANNADA", "Kannada", "kn"),
        ("MALAYALAM", "Malayalam", "ml"),
        ("SINHALA", "Sinhala", "si"),
        ("THAI", "Thai", "th"),
        ("LAO", "Lao", "lo"),
        ("MYANMAR", "Burmese", "my shn"),
        ("KHMER", "Khmer", "km"),
        ("GEORGIAN", "Georgian", "ka"),
        ("ARMENIAN", "Armenian", "hy hyw"),
        ("ETHIOPIC", "Ethiopic", "am om"),
    )
}
_LANGUAGE_OF = {"CJK": "cmn", "CYRILLIC": "ru", "ARABIC": "ar"}  # the one named where a script has many

_MARKS_OF_SCRIPTS = "。、，！？；：।։،؛؟"  # they go with the words


@dataclass(frozen=True)
class Unread:
    """A part of a text in a script that the model does not read.

    Attributes:
        text: the part.
        script: its name, for people.
        language: espeak's name of a language that is written in it.
    """

    text: str
    script: str
    language: str


def split_unreadable(text: str, language: str) -> tuple[str, list[Unread]]:
    """Take out of a text what a model of one language cannot read.

    Letters of the Latin script are always read, and so is a single Greek letter (α, π).

    Args:
        text: any.
        language: espeak's name of it, as in ``"en-us"``.

    Returns:
        The text without them, and the parts, in order.
    """
    stem = language.split("-")[0].lower()
    unread: list[Unread] = []
    kept: list[str] = []
    start = 0
    for begin, end, script in _runs(text):
        called, languages = _SCRIPTS[script]
        if stem in languages or (script == "GREEK" and end - begin == 1):
            continue
        before, after = text[start:begin], text[end : end + 1]
        # No space is left before a mark, nor at the beginning.
        kept.append(before.rstrip() if after and after in ",.!?;:" else before)
        unread.append(
            Unread(
                text[begin:end].rstrip(_MARKS_OF_SCRIPTS),
                called,
                _LANGUAGE_OF.get(script) or sorted(languages)[0],
            )
        )
        start = end
    if not unread:
        return text, []
    return re.sub(r"[^\S\n]{2,}", " ", "".join([*kept, text[start:]])).strip(), unread


def _runs(text: str) -> list[tuple[int, int, str]]:
    """Find words in a row in one foreign script: start, end, script."""
    runs: list[tuple[int, int, str]] = []
    if text.isascii():
        return runs
    text = PRONOUNCED.sub(lambda found: "x" * len(found[0]), text)
    place = 0
    while place < len(text):
        script = _script(text[place])
        if script is None:
            place += 1
            continue
        end = place + 1
        probe = end
        while probe < len(text) and text[probe] != "\n":
            other = _script(text[probe])
            category = unicodedata.category(text[probe])[0]
            if other == script or (category == "M" and probe == end):
                end = probe + 1
            elif other is not None or category == "L" or category == "N":
                break
            probe += 1
        while end < len(text) and text[end] in _MARKS_OF_SCRIPTS:
            end += 1
        runs.append((place, end, script))
        place = end
    return runs


def _script(character: str) -> str | None:
    if character.isascii() or unicodedata.category(character)[0] not in "LM":
        return None
    name = unicodedata.name(character, "").split(" ")[0]
    return name if name in _SCRIPTS else None
