"""Rules by which utterances are left out for their text."""

from __future__ import annotations

import re

from neucodec_tts.text import has_speech

TEXT_RULES = ("any", "speakable", "neutts")
"""
any: everything stays, with or without text.
speakable: there must be a letter or a digit, something to pronounce.
neutts: the filter of NeuTTS' published fine-tuning script (``data_filter`` in ``examples/finetune.py`` of
    github.com/neuphonic/neutts, the same in neutts-air): no text with digits, acronyms or currency signs, none that
    ends otherwise than in . , ? or !
"""

_DIGIT = re.compile(r"\d")
_ACRONYM = re.compile(r"(?:[a-zA-Z]\.){2,}|[A-Z]{2,}")


def clean_text(text: str | None) -> str | None:
    """Return text as the data set has it: runs of white space become one space; empty is None."""
    return " ".join(text.split()) or None if text is not None else None


def text_reason(text: str | None, rule: str) -> str | None:
    """Return the reason why a rule leaves out an utterance with this cleaned text; None if it does not."""
    if rule == "any":
        return None
    if text is None:
        return "no text"
    if rule == "neutts":
        return _neutts_reason(text)
    return None if has_speech(text) else "text: nothing to pronounce"


def _neutts_reason(text: str) -> str | None:
    if _DIGIT.search(text):
        return "text: digits"
    if _ACRONYM.search(text):
        return "text: acronym"
    if text[-1] not in ".,?!":
        return "text: no punctuation at its end"
    if "£" in text or "$" in text:
        return "text: currency sign"
    return None
