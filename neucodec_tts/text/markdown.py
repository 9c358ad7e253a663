"""Markdown reduced to the words that a person would read aloud."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from neucodec_tts.text.endings import ended

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_MARKS = re.compile(r"[*_`#\[\]<>|~&\\=•◦▪‣●○∙·]|^\s*(?:[-+]|\d+[.)])\s|^\s*-{2,}", re.MULTILINE)
_TAG = re.compile(r"<!\[CDATA\[|\]\]>|</?[A-Za-z][^<>]*>|<[!?][^<>]*>", re.DOTALL)
# Marks without a partner, as in the first half of a **sentence; notes, and boxes of lists of things to do.
_STRAY_MARKS = re.compile(
    r"(?<![\w\s])[*_~]{1,3}(?=\w)|(?<=\w)\*{1,3}(?!\w)|(?:^|(?<=\s))[*_~`]{1,3}(?=\w)|\*{2,3}|~~|`+"
    r"|\[\^[^\]\s]{1,64}\]:?|^\[[ xX]\]\s"
)
_DEEPEST = 300  # containers in one another
_MARKER = r"[ \t]{0,8}(?:>|(?:[-+*]|\d{1,9}[.)])[ \t])"
_MARKERS = re.compile(rf"^((?:{_MARKER}){{16}})(?:{_MARKER})+", re.MULTILINE)
_BULLETS = re.compile(r"^[ \t]{0,40}[•◦▪‣●○∙·][ \t]+", re.MULTILINE)  # as word processors write lists
_PIECES = re.compile(r".{1,4000}\Z|.{2000,4000}[.!?]\s|.{1,4000}\s|.{1,4000}", re.DOTALL)
_EMOJI = re.compile(
    "(?:\\s*{0})(?=[.,!?;:]|\\s*$)|{0}".format(
        "[\u20e3\u231a-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\U000e0020-\U000e007f\ufe0f\u200d]+"
    )
)


def read_markdown(text: str) -> tuple[str, list[str]]:
    """Return the words of a Markdown text, paragraph by paragraph, and warnings of what is left out.

    Headings, list items and rows of tables become sentences of their own. Links keep their text, pictures their
    description. Marks, HTML tags and emoji go. Blocks of code are left out with a warning.
    """
    warnings: list[str] = []
    if not _MARKS.search(text):  # most texts have none, and the parser takes a while to import
        parts: Iterable[str] = re.split(r"\n\s*\n", text)
    else:
        parts = _blocks(_parser().parse(_MARKERS.sub(r"\1", _BULLETS.sub("- ", text))), warnings)
    blocks = [ended(" ".join(_plain(block).split())) for block in parts]
    return "\n\n".join(block for block in blocks if block), warnings


def without_emoji(text: str) -> str:
    """Return `text` without emoji and the variation selectors and joiners within them."""
    return _EMOJI.sub("", text)


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # An indented text is read, not taken for code; a bare reference is kept as it stands. What stands within a line is
    # left to `_words`. Text that nests deeper than the parser may go would be lost, so `_MARKERS` goes first.
    return (
        MarkdownIt("commonmark", {"maxNesting": _DEEPEST})
        .enable(["table", "strikethrough"])
        .disable(["code", "reference", "inline"])
    )


@lru_cache(maxsize=1)
def _inline_parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable(["strikethrough"])


def _words(text: str) -> str:
    """Return the words of a paragraph; of a long one, piece by piece, as the time grows with the square of a piece."""
    tokens: list[Token] = []
    parser = _inline_parser()
    for piece in _PIECES.finditer(text):
        parser.inline.parse(piece[0], parser, {}, tokens)
    return "".join(_inline(tokens))


def _without_comments(text: str) -> str:
    kept: list[str] = []
    end = 0
    while (start := text.find("<!--", end)) >= 0 and (close := text.find("-->", start)) >= 0:
        kept.append(text[end:start])
        end = close + 3
    return " ".join([*kept, text[end:]])


def _blocks(tokens: list[Token], warnings: list[str]) -> Iterator[str]:
    """Yield the text of each paragraph, heading, item and row of a table."""
    prefix = ""
    row: list[str] | None = None
    for token in tokens:
        if token.type == "list_item_open":
            # "1984. It was a year." is a list to Markdown, so the number is said.
            prefix = f"{token.info}{token.markup} " if token.info else ""
        elif token.type == "tr_open":
            row = []
        elif token.type == "tr_close" and row is not None:
            yield ", ".join(cell for cell in row if cell.strip())
            row = None
        elif token.type == "inline":
            words = _words(token.content)
            if row is not None:
                row.append(words)
            else:
                yield prefix + words
            prefix = ""
        elif token.type == "fence":
            lines = token.content.count("\n")
            warning = f"a block of code of {lines} line{'s' if lines != 1 else ''} is not read"
            if lines and warning not in warnings:
                warnings.append(warning)
        elif token.type == "html_block":
            yield _TAG.sub(" ", _without_comments(token.content))


def _inline(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type in ("text", "text_special", "code_inline"):
            yield token.content
        elif token.type == "image":
            yield "".join(_inline(token.children or []))
        elif token.type == "softbreak" or token.type == "hardbreak":
            yield "\n"
        elif token.type == "html_inline" and token.content.lower().startswith("<br"):
            yield " "


def _plain(text: str) -> str:
    return _STRAY_MARKS.sub("", without_emoji(" ".join(text.split())))
