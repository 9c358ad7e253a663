"""Text files of a corpus, in UTF-8 or UTF-16."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from neucodec_tts.dataset.places import Place, reaching, read_bytes
from neucodec_tts.errors import DatasetError

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks; UTF-32's begin like UTF-16's and come first."""
_LOOKED_AT = 65_536  # characters by which the ends of lines are told
CONVERT = (
    "convert it with iconv -f ENCODING -t utf-8, where ENCODING is the one it was saved in, such as windows-1252 "
    "(western Europe), windows-1251 (Cyrillic), gb18030 (Chinese) or shift_jis (Japanese)"
)


def encoding_of(path: Place) -> str:
    """Return the encoding of a text file: the one of its byte order mark, or else UTF-8.

    Raises:
        DatasetError: it cannot be read, or is UTF-16 without a mark.
    """
    try:
        with reaching(path), path.open("rb") as opened:
            start = opened.read(256)
    except OSError as problem:
        raise cannot_read(path, problem) from problem
    return _encoding(start, str(path))


def _encoding(start: bytes, name: str) -> str:
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    if b"\0" in start[:2]:
        order = "utf-16be" if start[:1] == b"\0" else "utf-16le"
        raise DatasetError(
            f"{name}: UTF-16 without a byte order mark, or no text; convert it: iconv -f {order} -t utf-8"
        )
    return "utf-8"


def read_text(path: Place) -> str:
    """Read a text file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Raises:
        DatasetError: it cannot be read, or is in another encoding.
    """
    try:
        return decode(read_bytes(path), str(path))
    except OSError as problem:
        raise cannot_read(path, problem) from problem


def decode(content: bytes, name: str) -> str:
    """The text in the content of a file.

    Raises:
        DatasetError: it is in another encoding.
    """
    encoding = _encoding(content[:256], name)
    try:
        return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as problem:
        raise DatasetError(f"{name}: not in {encoding} (byte {problem.start}); {CONVERT}") from problem


def lines(path: Place) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the content of each line of a text file, without its end.

    Bytes that are not UTF-8 become lone surrogates, as in Python's file names: the listing leaves out what has them.

    Raises:
        DatasetError: it cannot be read, or is in another encoding throughout.
    """
    encoding = encoding_of(path)
    errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
    try:
        with reaching(path), path.open("r", encoding=encoding, errors=errors, newline="\n") as opened:
            start = opened.read(_LOOKED_AT)
        # Where no line ends in "\n", "\r" alone ends them, as in files of old Macs.
        newline = "\r" if "\r" in start and "\n" not in start else "\n"
        with reaching(path), path.open("r", encoding=encoding, errors=errors, newline=newline) as opened:
            for number, line in enumerate(opened, start=1):
                yield number, line.rstrip("\r\n")
    except UnicodeError as problem:
        raise DatasetError(f"{path}: not in {encoding} ({problem}); {CONVERT}") from problem
    except OSError as problem:
        raise cannot_read(path, problem) from problem


def cannot_read(path: Place, problem: OSError) -> DatasetError:
    """Return the error for a file of the corpus, other than audio, that cannot be read."""
    return DatasetError(f"{path}: cannot be read ({problem.strerror or problem}); mend its path or its mode")
