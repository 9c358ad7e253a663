"""SSML reduced to text, with the pauses and the pronunciations that a speech language model can follow."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from xml.etree import ElementTree

from neucodec_tts.errors import PromptError
from neucodec_tts.text.endings import ended
from neucodec_tts.text.pronunciation import pronounced

ToPhones = Callable[[str, str], str]
"""Phones of a text in a language: espeak's or a BCP 47 name, as in ``"fr"``."""

_SILENT = {"metadata", "meta", "lexicon", "desc", "mark"}
_LONG_PAUSES = {"strong", "x-strong"}
_NO_PAUSES = {"none", "x-weak"}
_LONG_SECONDS = 0.4
_DEEPEST = 100  # elements in one another; Python's stack bounds what can be read
_PARAGRAPH = "\n\n"


def read_ssml(text: str, to_phones: ToPhones | None = None) -> tuple[str, list[str]]:
    """Return the words of an SSML document and warnings of what is not followed.

    `speak`, `p`, `s`, `break`, `sub`, `say-as` (characters, digits), `phoneme` (IPA) and `lang` are followed. Of other
    elements the text is read. A break is a pause of the model's own length: of a comma below 0.4 s, of a paragraph
    from there on.

    Args:
        text: the document; ``<speak>`` around it may be missing.
        to_phones: makes the phones of a text in another language (`lang`); None reads it in the model's own.

    Raises:
        PromptError: it is no well-formed XML, nests too deep, or declares a document type.
    """
    if re.search(r"<!(?:DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise PromptError(
            "the SSML declares a document type; take out <!DOCTYPE ...>, entities are not followed"
        )
    body = re.sub(r"^\s*<\?xml[^>]*\?>", "", text)
    if not re.match(r"\s*<(?:\w+:)?speak\b", body):
        body = f"<speak>{body}</speak>"
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as problem:
        raise PromptError(
            f"the text is no well-formed SSML ({problem}); write &amp; for & and &lt; for <, and close every element, "
            "or use the text format 'plain' or 'markdown'"
        ) from problem
    level, depth = [root], 0
    while level := [child for element in level for child in element]:
        depth += 1
    if depth > _DEEPEST:
        raise PromptError(f"the SSML nests its elements {depth} deep; nest at most {_DEEPEST}")
    warnings: list[str] = []
    read = "".join(_read(root, to_phones, warnings))
    blocks = (re.sub(r" ([,.])", r"\1", " ".join(block.split())) for block in read.split(_PARAGRAPH))
    return _PARAGRAPH.join(ended(block) for block in blocks if block), warnings


def _read(element: ElementTree.Element, to_phones: ToPhones | None, warnings: list[str]) -> Iterator[str]:
    name = _local(element.tag)
    if name not in _SILENT:
        inside = re.sub(r"\s+", " ", element.text or "") + "".join(
            part
            for child in element
            for part in (*_read(child, to_phones, warnings), re.sub(r"\s+", " ", child.tail or ""))
        )
        yield from _element(name, element, inside, to_phones, warnings)


def _element(
    name: str, element: ElementTree.Element, inside: str, to_phones: ToPhones | None, warnings: list[str]
) -> Iterator[str]:
    def warn(message: str) -> None:
        if message not in warnings:
            warnings.append(message)

    said = _attribute(element, "interpret-as")
    if name in ("speak", "w", "token"):
        yield inside
    elif name == "p":
        yield f"{_PARAGRAPH}{ended(inside.strip())}{_PARAGRAPH}"
    elif name == "s":
        yield f" {ended(inside.strip())} "
    elif name == "break":
        yield _pause(element)
    elif name == "sub":
        yield _attribute(element, "alias") or inside
    elif name == "say-as" and said in ("characters", "spell-out", "verbatim", "digits"):
        # Commas: "A B" is read as the article.
        yield ", ".join(c for c in inside if not c.isspace())
    elif name == "phoneme":
        phones = unicodedata.normalize("NFC", _attribute(element, "ph"))
        if _attribute(element, "alphabet") in ("", "ipa") and phones.strip():
            yield pronounced(phones, inside)
        else:
            warn(
                f'<phoneme> in the alphabet {_attribute(element, "alphabet")!r} is read as spelt; give alphabet="ipa"'
            )
            yield inside
    elif name == "lang" and to_phones is not None:
        language = _attribute(element, "lang")
        try:
            for part in re.split(r"([^\w\s'’-]+\s*)", inside):
                spoken = re.search(r"\w", part) is not None
                yield pronounced(to_phones(part, language), part) if spoken else part
        except PromptError as problem:
            warn(f"<lang> is read as the model's own language: {problem}")
            yield inside
    else:
        warn(f"<{name}> is not followed" + (f" as {said}" if said else "") + "; its text is read")
        yield inside


def _pause(element: ElementTree.Element) -> str:
    strength, time = _attribute(element, "strength"), _attribute(element, "time")
    length = re.fullmatch(r"\+?(\d+\.?\d*|\.\d+)\s*(ms|s)", time.strip())
    seconds = float(length[1]) / (1000 if length[2] == "ms" else 1) if length else None
    if strength in _NO_PAUSES or seconds == 0:
        return " "
    long = strength in _LONG_PAUSES if seconds is None else seconds >= _LONG_SECONDS
    return _PARAGRAPH if long else ", "


def _local(tag: object) -> str:
    return str(tag).rpartition("}")[2].lower()


def _attribute(element: ElementTree.Element, name: str) -> str:
    return next((value for key, value in element.attrib.items() if _local(key) == name), "")
