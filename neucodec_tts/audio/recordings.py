"""The recordings in one file: their data, the search for another that begins, and the errors of all formats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from neucodec_tts.audio.mp3 import after_tags, is_mp3
from neucodec_tts.audio.splice import Buffer, Piece
from neucodec_tts.errors import AudioError

FRAME_SECONDS = 0.02
"""One code of NeuCodec: a file that is shorter than its header says by less than this is taken."""
_REST_BYTES = 1024  # behind the sound; fewer are no word
W64_RIFF = bytes.fromhex("72696666 2e91cf11 a5d628db 04c10000")
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_BEGINNINGS = (
    b"fLaC\0\0\0\x22",
    b"OggS\0\x02",
    b"caff\0\x01",
    b"#!AMR",
    ASF_HEADER,
    b"\x1aE\xdf\xa3",
    W64_RIFF,
)
BEHIND_MP3 = ((b"WAVEfmt ", 8), (b"OggS\0\x02", 0), (b"fLaC\0\0\0\x22", 0), (b"ftypM4A ", 4))
_LANDMARKS = (*BEHIND_MP3[:2], (b"ID3\x03\0", 0), (b"ID3\x04\0", 0))
"""Bytes to look for in a file whose end cannot be told, and how far a recording begins before them."""


@dataclass(frozen=True)
class Part:
    """One recording in a file.

    Attributes:
        pieces: the stretches of the file to give to a decoder, in their order.
        lead: samples at its beginning that are not the recording's. With them its length is known only once it has been
            decoded.
    """

    pieces: tuple[Piece, ...]
    lead: int = 0


@dataclass
class Recordings:
    """The recordings in one file.

    Attributes:
        parts: each of them, in their order.
        notes: things a user should hear of, each a clause.
    """

    parts: list[Part] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def split(data: Buffer, starts: list[int]) -> Recordings | None:
    """Cut where another recording begins; None if there is one only."""
    if not starts:
        return None
    bounds = [0, *starts, len(data)]
    return Recordings([Part(((data, first, last),)) for first, last in pairwise(bounds)])


def later(data: Buffer, magic: bytes) -> Iterator[int]:
    """Yield the positions of a magic number, but for the first byte's."""
    position = 1
    while (position := data.find(magic, position)) >= 0:
        yield position
        position += len(magic)


def another_begins(data: Buffer, position: int) -> bool:
    """True if a recording of any format begins at a position."""
    head = bytes(data[position : position + 16])
    if head.startswith(_BEGINNINGS) or head[4:8] == b"ftyp":
        return True
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"FORM"):
        return head[8:12] in (b"WAVE", b"AIFF", b"AIFC")
    start = after_tags(data, position, len(data))
    return is_mp3(bytes(data[start : start + 2**16]))


def refuse_another_format(
    data: Buffer, name: str, landmarks: tuple[tuple[bytes, int], ...] = _LANDMARKS
) -> None:
    """Refuse a file in which a recording of another format follows, which decoders pass over."""
    for landmark, before in landmarks:
        if any(another_begins(data, at - before) for at in later(data, landmark)):
            raise joined(name)


def with_rest(data: Buffer, end: int, name: str, found: Recordings | None) -> Recordings | None:
    """Add a note of what lies behind the last recording.

    Raises:
        AudioError: it is a recording of another format.
    """
    if end >= len(data):
        return found
    if another_begins(data, end):
        raise joined(name)
    if bytes(data[:4]) == W64_RIFF[:4]:  # libsndfile reads it to the end
        return found
    rest = len(data) - after_tags(data, end, len(data))
    if rest >= _REST_BYTES and any(bytes(data[end : end + 4096])):
        found = found or Recordings([Part(((data, 0, len(data)),))])
        found.notes.append(
            f"{rest:,} bytes after the end of its sound are not read; if they are sound, give them a file of their own"
        )
    return found


def is_placeholder(size: int, there: int) -> bool:
    """True for a size that a writer leaves which does not know it yet: about 2 or 4 GiB, or 2**63 and more."""
    near = 0x7FFF0000 <= size <= 0x80010000 or 0xFFFF0000 <= size <= 0xFFFFFFFF or size >= 2**63 - 2**16
    return near and size > there


def joined(name: str) -> AudioError:
    """The error of a file that holds several recordings and cannot be taken apart."""
    return AudioError(
        f"{name}: several recordings were joined in this file, and only the first would be read; split it, or "
        "convert each to WAV and join those"
    )


def cut_short(name: str, present: float, promised: float) -> AudioError:
    """The error of a file that has fewer seconds than its header promises."""
    return AudioError(
        f"{name}: the file is cut short, {present:.2f} of {promised:.2f} s are there; copy or download it again"
    )
