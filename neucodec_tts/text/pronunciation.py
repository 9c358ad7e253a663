"""Words in a text whose phones are given: they travel within the text, between characters of private use."""

from __future__ import annotations

import re
import unicodedata

# Private use: no script has them, and `without_pronunciations` takes them out of what users write.
_BEGIN, _BETWEEN, _END, _SPACE = "\ue000", "\ue001", "\ue002", "\ue003"
PRONOUNCED = re.compile(f"{_BEGIN}([^{_BETWEEN}{_END}]*){_BETWEEN}([^{_END}]*){_END}")
"""Finds a pronounced word: group 1 is its phones, group 2 its spelling."""
_PRIVATE = re.compile("[\ue000-\uf8ff]+")


def pronounced(phones: str, spelling: str) -> str:
    """Return a word with its phones, for a place in a text.

    Args:
        phones: in IPA; all but letters, marks of stress and length, and spaces is left out.
        spelling: the same word for models that read text.
    """
    kept = "".join(c for c in phones if unicodedata.category(c)[0] in "LM" or c.isspace() or c in "ˈˌːˑ")
    kept, spelling = (_SPACE.join(part.split()) for part in (kept, _PRIVATE.sub("", spelling)))
    return f"{_BEGIN}{kept}{_BETWEEN}{spelling}{_END}"


def phones_of(match: re.Match[str]) -> str:
    """Return the phones of a match of `PRONOUNCED`."""
    return match[1].replace(_SPACE, " ")


def spelt(text: str) -> str:
    """Return `text` with the spelling of its pronounced words, for people and for models that read text."""
    return PRONOUNCED.sub(lambda found: found[2].replace(_SPACE, " "), text) if _BEGIN in text else text


def without_pronunciations(text: str) -> str:
    """Return `text` without characters of private use, so that nobody can write a pronounced word by hand."""
    return _PRIVATE.sub("", text)
