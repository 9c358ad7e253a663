"""Checks of texts before anything reads them."""

from __future__ import annotations

import unicodedata

from neucodec_tts.errors import NothingToReadError, PromptError


def check_text(text: object) -> str:
    """Return `text` if it is a string that can be encoded.

    Raises:
        PromptError: it is something else, or holds half a character.
    """
    if not isinstance(text, str):
        raise PromptError(f"the text must be a string, not {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise PromptError(
            f"the text holds half a character (a lone surrogate) at position {problem.start}; read it as UTF-8"
        ) from problem
    return text


def has_speech(text: str) -> bool:
    """Return True if `text` holds something to pronounce: a letter or a digit of any script."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)


def speakable(text: str, of: str | None = None) -> str:
    """Return `text` if there is something to pronounce in it.

    Args:
        text: the text, or its phones.
        of: the text that the phones are of, for the message.

    Raises:
        NothingToReadError: there is no letter and no digit in it.
    """
    if has_speech(text):
        return text
    shown = text if of is None else of
    if not shown.strip():
        raise NothingToReadError("the text is empty; give at least a word to speak")
    raise NothingToReadError(f"there is nothing to pronounce in {shown[:40]!r}: it has no letters or digits")
