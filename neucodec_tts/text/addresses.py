"""Addresses in words: pages, hosts, mail, files, folders, names of people and hashtags on the net.

They come before all other rules, which would take their marks for fractions, units and decimal points.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SPOKEN: dict[str, dict[str, str]] = {
    "en": {
        ".": "dot", "/": "slash", ":": "colon", "_": "underscore", "-": "hyphen", "?": "question mark", "=": "equals",
        "&": "and", "#": "hash", "%": "percent", "+": "plus", "~": "tilde", "\\": "backslash", "@": "at",
        "hashtag": "hashtag",
    },
    "de": {
        ".": "Punkt", "/": "Schrägstrich", ":": "Doppelpunkt", "_": "Unterstrich", "-": "Bindestrich",
        "?": "Fragezeichen", "=": "gleich", "&": "und", "#": "Raute", "%": "Prozent", "+": "plus", "~": "Tilde",
        "\\": "Backslash", "@": "at", "hashtag": "Hashtag",
    },
    "fr": {
        ".": "point", "/": "barre oblique", ":": "deux-points", "_": "tiret bas", "-": "tiret",
        "?": "point d'interrogation", "=": "égale", "&": "et", "#": "dièse", "%": "pour cent", "+": "plus",
        "~": "tilde", "\\": "antislash", "@": "arobase", "hashtag": "hashtag",
    },
    "es": {
        ".": "punto", "/": "barra", ":": "dos puntos", "_": "guion bajo", "-": "guion",
        "?": "signo de interrogación", "=": "igual", "&": "y", "#": "almohadilla", "%": "por ciento", "+": "más",
        "~": "tilde", "\\": "barra invertida", "@": "arroba", "hashtag": "hashtag",
    },
}  # fmt: skip
_MARKED = re.compile(r"[@_\\]|\w\.\w|\w:\d|#\w|/\S*/")
_END = r"(?<![.,!?;:)\]\"'”’»])"  # marks of the sentence do not belong to the address before them
_HOST = r"[a-z0-9][a-z0-9-]{0,62}"
_TOP = (
    r"(?:com|org|net|edu|gov|info|dev|app|biz|xyz|online|shop|site|tech|cloud|eu|io|ai|uk|ch|nl|ca|jp|cn|br|mx|tv|de|fr"
    r"|es)"
)
# Ends of hosts that are words of a language: "fin.de" is more often a missing space.
_WORDS_THERE = {"de": "es", "fr": "de es", "es": "de es"}
_SUFFIX = (
    r"(?:pdf|docx?|xlsx?|pptx?|odt|txt|csv|tsv|jsonl?|ya?ml|xml|html?|css|md|py|js|ts|cpp|java|rs|sh|exe|zip|tar|gz"
    r"|png|jpe?g|gif|svg|webp|mp3|mp4|wav|flac|ogg|m4a|webm|mov|avi|log|ini|toml|tex|iso|apk|parquet|safetensors|gguf)"
)
_SAID_AS_WORDS = frozenset("zip log tar tex toml java wav exe flac parquet safetensors json".split())  # noqa: SIM905
_PAGE = re.compile(
    rf"(?<![\w@])(?:(?:https?|file)://|(?:s?ftp|ssh|s3|gs|hf|git)://|www\.)[^\s<>\"“”«»\ue000-\ue003]{{1,400}}{_END}"
)
_MAIL = re.compile(rf"(?<![\w@.])(?:mailto:)?[\w.+%-]{{1,64}}@{_HOST}(?:\.{_HOST}){{1,5}}", re.IGNORECASE)
_BARE = re.compile(
    rf"(?<![\w@./:-]){_HOST}(?:\.{_HOST}){{0,4}}\.({_TOP})(?![\w@-])(?!\.\w)(:\d{{2,5}}\b)?(/[^\s<>\"“”«»]{{0,300}}{_END})?"
)
_FILE = re.compile(
    rf"(?<![\w.@/\\-])[\w-]{{1,80}}(?:\.[\w-]{{1,20}}){{0,3}}\.{_SUFFIX}(?![\w@-])(?!\.\w)", re.IGNORECASE
)
_FOLDER = re.compile(
    rf"(?<![\w/.~])(?:~|\.{{1,2}})?(?:/[\w.+-]{{1,80}}){{2,20}}/?{_END}|\b[A-Z]:\\[^\s\"“”«»]{{0,300}}{_END}"
)
_PORT_OF_HOST = re.compile(r"\b(localhost|\d{1,3}(?:\.\d{1,3}){3}):(\d{2,5})\b")
_PERSON = re.compile(r"(?<![\w@.])@\w{1,50}(?:\.\w{1,50}){0,3}")
_HASHTAG = re.compile(r"(?<![\w&#/])#([^\W\d_]\w{0,60})")
_NAME = re.compile(r"(?<![\w@/.])[^\W_]{1,40}(?:_[^\W_]{1,40}){1,10}(?![\w@])")


def say_addresses(line: str, base: str) -> str:
    """Return a line of text with its addresses in words.

    Args:
        line: without line breaks.
        base: language; others than English, German, French and Spanish leave the line as it is.
    """
    spoken = _SPOKEN.get(base)
    if spoken is None or not _MARKED.search(line):
        return line
    skipped = _WORDS_THERE.get(base, "").split()

    def say(found: re.Match[str]) -> str:
        return _spell(found[0], spoken, base)

    def say_bare(found: re.Match[str]) -> str:
        return (
            found[0] if found[1] in skipped and not (found[2] or found[3]) else _spell(found[0], spoken, base)
        )

    line = _PAGE.sub(say, line)
    line = _MAIL.sub(say, line)
    line = _BARE.sub(say_bare, line)
    line = _FOLDER.sub(say, line)
    line = _FILE.sub(say, line)
    line = _PORT_OF_HOST.sub(lambda found: f"{found[1]} {spoken[':']} {_number(found[2], base, True)}", line)
    line = _PERSON.sub(say, line)
    line = _HASHTAG.sub(lambda found: f"{spoken['hashtag']} {_words(found[1], base)}", line)
    return _NAME.sub(say, line)


def _spell(address: str, spoken: Mapping[str, str], base: str) -> str:
    """Return an address in words: its marks by name, and what nobody can pronounce letter by letter."""
    address = re.sub(r"^(?:https?://|file://|mailto:)", "", address)
    scheme = re.match(r"(\w+)://", address)
    said = []
    if scheme:
        said.append(_letters(scheme[1]))
        address = address[scheme.end() :]
    port = re.match(r"[^/]*?:(\d{2,5})(?=/|$)", address)
    parts = re.findall(r"[^\W\d_]+|\d+|[^\w\s]|_", address)
    place = 0
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part.isdigit():
            at_port = port is not None and place == port.start(1)
            said.append(_number(part, base, at_port))
        elif part.isalpha():
            before = parts[index - 1] if index else ""
            following = "" if last else parts[index + 1]
            ends = before == "." and (following in ("", "/", ":", "?") or following.isdigit())
            said.append(_letters(part) if _is_spelt(part.lower(), ends) else part)
        elif last and part == "/":
            pass
        else:
            said.append(spoken.get(part, ""))
        place += len(part)
    return " ".join(each for each in said if each)


def _is_spelt(part: str, ends: bool) -> bool:
    """Return True for a part that is said letter by letter: ``www``, ``de`` or ``pdf`` at an end."""
    if part in ("www", "html", "htm", "http", "ftp"):
        return True
    if not ends or part in _SAID_AS_WORDS or part in ("com", "org", "net", "info", "edu", "gov"):
        return False
    return len(part) == 2 or re.fullmatch(_SUFFIX, part) is not None


def _letters(part: str) -> str:
    return "-".join(part.upper())


def _number(digits: str, base: str, one_by_one: bool = False) -> str:
    """Return a number within an address; digit by digit where it is a port, is long, or would lose its zeros."""
    from spokenform.number_words import cardinal

    groups = digits if one_by_one or digits[0] == "0" or len(digits) > 4 else [digits]
    return " ".join(str(cardinal(int(group), base)) for group in groups)


def _words(name: str, base: str) -> str:
    """Return the words of a hashtag such as ``MeToo_2``."""
    parts = re.findall(r"[A-ZÀ-Þ]?[^\WA-ZÀ-Þ\d_]+|[A-ZÀ-Þ]+(?![a-zà-ÿ])|\d+|[^\W_]", name)
    return " ".join(_number(part, base) if part.isdigit() else part for part in parts)
