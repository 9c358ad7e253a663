"""The mark at the end of a text: models are trained with one, and ramble on without it."""

from __future__ import annotations

import re
import unicodedata

_CLOSING = "\"'”’»)]}›>|」』】》〉）］*_ \n\t\ue002"
_FINAL_MARKS = {
    "CJK": "。",
    "HIRAGANA": "。",
    "KATAKANA": "。",
    "DEVANAGARI": "।",
    "BENGALI": "।",
    "ARMENIAN": "։",
}


def ended(text: str) -> str:
    """Return `text` with a final mark: a full stop of its script where it ends in a word, a number or a sign.

    Any other mark at the end, a comma or a colon among them, stays.
    """
    bare = text.rstrip().rstrip(_CLOSING)
    if not bare:
        return text
    last = bare[-1]
    if unicodedata.category(last)[0] in "LMN" or last in "%‰°€$£¥©®™+=&/#@" or last == "\ue001":
        script = unicodedata.name(last, "").split(" ")[0]
        return text.rstrip() + _FINAL_MARKS.get(script, ".")
    return text


def paragraphs_ended(text: str) -> str:
    """Return `text` with a final mark at the end of each paragraph."""
    parts = re.split(r"(\s*\n\s*\n\s*|\s+\Z)", text)
    return "".join(part if not part.strip() else ended(part) for part in parts)
