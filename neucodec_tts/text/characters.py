"""One spelling for characters that look alike, as models and espeak-ng expect it."""

from __future__ import annotations

import re
import unicodedata

# Forms for which Unicode has the plain character: full width, ligatures, mathematical letters, Roman numerals, circles.
_COMPATIBLE = re.compile("[\uff01-\uffee\ufb00-\ufb4f\U0001d400-\U0001d7ff\u2160-\u2188\u2460-\u24ff]+")
# Soft hyphen, spaces of no width, marks of direction, byte-order mark, variation selectors.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]+"
)
# The joiners mean something in Arabic and Indic scripts only.
_JOINERS = re.compile("(?<![\u0600-\u0dff\u0e00-\u109f])[\u200c\u200d]+")
_THOUSANDS = re.compile("(?<=[0-9])[\u00a0\u2007\u2009\u202f'’](?=[0-9]{3}(?![0-9]))")
_SPACES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_APOSTROPHES = re.compile(r"(?<=\w)[\u02bc\u02b9\u2032\u201b\u00b4`](?=\w)")
# Rows that nobody reads and that cost the square of their length wherever they are looked at.
_BLANKS = re.compile(r"\s{100,}")
_ACCENT = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_ACCENTS = re.compile(f"({_ACCENT}{{3}}){_ACCENT}+")
_HYPHENS = str.maketrans({"\u2010": "-", "\u2011": "-", "\x85": "\n"})


def clean(text: str) -> str:
    """Return `text` in composed form (NFC) and in plain characters.

    Full-width letters and digits, ligatures and Roman numerals become ordinary ones, spaces of any width a space,
    and hyphens that do not break hyphens. Soft hyphens and other invisible characters go. Spaces and apostrophes that
    group the digits of a number go, too. Line breaks become ``\\n``. A hundred spaces or line breaks in a row become
    one space or one empty line, and of more than three accents on a letter three stay. Doing it again changes nothing.
    """
    text = unicodedata.normalize("NFC", text)
    text = _COMPATIBLE.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    text = _JOINERS.sub("", _INVISIBLE.sub("", text.translate(_HYPHENS)))
    text = _SPACES.sub(" ", _THOUSANDS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    text = _BLANKS.sub(lambda found: "\n\n" if re.search("[\n\u2028\u2029]", found[0]) else " ", text)
    text = _ACCENTS.sub(r"\1", text)
    return unicodedata.normalize("NFC", _APOSTROPHES.sub("'", text))
