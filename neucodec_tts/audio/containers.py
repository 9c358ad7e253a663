"""Audio files whose header does not tell how much speech is in them, and the stretches to decode instead.

A header that was written before the recording ended holds a placeholder. A file that was joined from several says
only how long the first one is. An MP3 file says nothing. Decoders believe the header; here the file itself is looked
at, so that all that can be decoded is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from neucodec_tts.audio.mp3 import Mp3Stream, is_mp3, read_frames
from neucodec_tts.audio.splice import Buffer, Piece
from neucodec_tts.errors import AudioError

FRAME_SECONDS = 0.02
"""One code of NeuCodec: a file that is shorter than its header says by less than this is taken."""
_MP3_IN_RIFF = 0x55
_W64_RIFF = bytes.fromhex("72696666 2e91cf11 a5d628db 04c10000")
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")

_SECOND_HEADERS = (
    # (first bytes of the file, bytes that begin another recording of the same format)
    (_ASF_HEADER, _ASF_HEADER),
    (b"FLV\x01", b"FLV\x01"),
    (b"TTA1", b"TTA1\x01\x00"),
    (b"\x1aE\xdf\xa3", b"\x1aE\xdf\xa3"),
    (b"#!AMR", b"#!AMR"),
)
"""Formats that ffmpeg reads. Of joined files it gives the first one only, or fails."""


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


def find_recordings(data: Buffer, name: str) -> Recordings | None:
    """Look for recordings that a decoder would not read as they are.

    Args:
        data: the content of the file.
        name: of the file, for errors.

    Returns:
        None if a decoder reads all of it as it is.

    Raises:
        AudioError: the file is cut short, or joined from recordings in a format that cannot be taken apart.
    """
    head = bytes(data[:16])
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _of_wave(data, name)
    if head[:4] == b"OggS":
        return _of_ogg(data, name)
    if head[:4] == b"caff":
        return _of_caf(data, name)
    if head[:4] == b"fLaC":
        return _split(data, list(_later(data, b"fLaC\x00\x00\x00\x22")))
    if head[:4] in (b"FORM", b".snd") or head == _W64_RIFF:
        return _split(data, list(_sized(data)))
    if head[4:8] == b"ftyp":
        _check_boxes(data, name)
        return None
    for begins, again in _SECOND_HEADERS:
        if head.startswith(begins) and next(_later(data, again), None) is not None:
            raise _joined(name)
    if is_mp3(data):
        stream = read_frames(data, 0, len(data), name)
        if stream is not None and not stream.complete:
            return _of_mp3(stream)
    return None


def _joined(name: str) -> AudioError:
    return AudioError(
        f"{name}: several recordings were joined in this file, and only the first would be read; split it, or "
        "convert each to WAV and join those"
    )


def _cut_short(name: str, present: float, promised: float) -> AudioError:
    return AudioError(
        f"{name}: the file is cut short, {present:.2f} of {promised:.2f} s are there; copy or download it again"
    )


def _split(data: Buffer, starts: list[int]) -> Recordings | None:
    """Cut where another recording begins; None if there is one only."""
    if not starts:
        return None
    bounds = [0, *starts, len(data)]
    return Recordings([Part(((data, first, last),)) for first, last in pairwise(bounds)])


def _later(data: Buffer, magic: bytes) -> Iterator[int]:
    """Yield the positions of a magic number, but for the first byte's."""
    position = 1
    while (position := data.find(magic, position)) >= 0:
        yield position
        position += len(magic)


def _sized(data: Buffer) -> Iterator[int]:
    """Yield where AIFF, AU and W64 files begin that follow the first, by the sizes in their headers."""
    position, magic = 0, bytes(data[:4])
    while len(head := bytes(data[position : position + 24])) == 24 and head[:4] == magic:
        if position:
            yield position
        if magic == b"FORM":
            size = 8 + int.from_bytes(head[4:8], "big")
            size += size & 1
        elif magic == b".snd":
            size = int.from_bytes(head[4:8], "big") + int.from_bytes(head[8:12], "big")
        else:
            size = int.from_bytes(head[16:24], "little")
            size += -size % 8
        if size < 24:
            return
        position += size


def _of_mp3(stream: Mp3Stream) -> Recordings:
    return Recordings([Part(stream.pieces, stream.lead)], list(stream.notes))


# RIFF


def _of_wave(data: Buffer, name: str) -> Recordings | None:
    found = Recordings()
    position = 0
    as_it_is = True
    while position < len(data):
        wave = _Wave(data, position, name)
        as_it_is &= wave.add_to(found)
        position = wave.end
        if bytes(data[position : position + 4]) not in (b"RIFF", b"RF64", b"BW64"):
            break  # what may follow is no recording
    return None if as_it_is and len(found.parts) == 1 else found


class _Wave:
    """One RIFF file, or RF64 file (EBU Tech 3306), that begins at a position."""

    def __init__(self, data: Buffer, start: int, name: str) -> None:
        self._data, self._start, self._name = data, start, name
        self._format, self._bytes_per_second, self._align = 0, 0, 1
        self._sound: int | None = None  # its first byte
        self._size = 0
        riff = int.from_bytes(data[start + 4 : start + 8], "little")
        wide: dict[bytes, int] = {}
        position = start + 12
        while position + 8 <= len(data):
            kind, size = (
                bytes(data[position : position + 4]),
                int.from_bytes(data[position + 4 : position + 8], "little"),
            )
            body = position + 8
            if len(data) < body + 16 and kind in (b"ds64", b"fmt "):
                break
            if kind == b"ds64":
                riff, wide[b"data"] = struct.unpack("<QQ", bytes(data[body : body + 16]))
            elif kind == b"fmt " and size >= 16:
                self._format, _, _, self._bytes_per_second, self._align = struct.unpack(
                    "<HHIIH", bytes(data[body : body + 14])
                )
            elif kind == b"data":
                if size == 0xFFFFFFFF and b"data" in wide:
                    size = wide[b"data"]
                self._sound, self._size = body, size
                break
            position = body + size + (size & 1)
        self._there = len(data) - (self._sound or len(data))
        closed = (
            not _is_placeholder(riff, len(data))
            and self._sound is not None
            and riff + 8 > self._sound - start
        )
        self._open = self._sound is not None and (
            _is_placeholder(self._size, self._there) or (self._size == 0 < self._there and not closed)
        )
        if self._open and self._sound is not None:
            again = data.find(b"WAVEfmt ", self._sound)
            self._there = (len(data) if again < 8 else again - 8) - self._sound
        self.end = self._end(riff)

    def _end(self, riff: int) -> int:
        """The byte after it."""
        if self._sound is None:
            return len(self._data)
        if self._open:
            return self._sound + self._there
        after = self._sound + self._size + (self._size & 1)
        whole = self._start + 8 + riff
        for end in (whole + (whole - self._start & 1), after):
            if bytes(self._data[end : end + 4]) in (b"RIFF", b"RF64", b"BW64"):
                return end
        return len(self._data)

    def add_to(self, found: Recordings) -> bool:
        """Add it; returns True if a decoder reads it as it is."""
        data, sound = self._data, self._sound
        if sound is None:
            found.parts.append(Part(((data, self._start, self.end),)))
            return True
        size = self._there if self._open else self._size
        missing = size - self._there
        stream = None
        seconds = min(size, self._there) / max(1, self._bytes_per_second)
        if self._format == _MP3_IN_RIFF:  # its bytes a second are an estimate, if they are there
            stream = read_frames(data, sound, sound + min(size, self._there), self._name)
            if stream is None:
                raise AudioError(
                    f"{self._name}: no MP3 frames are in this WAV file; convert it to WAV or FLAC"
                )
            seconds = stream.seconds
        if missing > 0:
            promised = seconds * size / max(1, self._there)
            if promised - seconds >= FRAME_SECONDS or not seconds:
                raise _cut_short(self._name, seconds, promised)
            size = self._there
            found.notes.append(f"it is {1000 * (promised - seconds):.1f} ms shorter than its header says")
        if stream is not None:
            found.parts.append(Part(stream.pieces, stream.lead))
            found.notes += stream.notes
            return False
        if not self._open and missing <= 0:
            found.parts.append(Part(((data, self._start, self.end),)))
            return True
        size -= size % max(1, self._align)
        if size > 0xFFFF0000:  # such a size does not fit; libsndfile reads what is there
            found.parts.append(Part(((data, self._start, self.end),)))
            return True
        header = bytearray(data[self._start : sound])
        header[:4] = b"RIFF"
        header[4:8] = struct.pack("<I", len(header) - 8 + size)
        header[-4:] = struct.pack("<I", size)
        ds64 = header.find(b"ds64")
        if ds64 >= 0:  # a chunk that a plain RIFF file may hold, but need not believe
            header[ds64 : ds64 + 4] = b"JUNK"
        found.parts.append(Part(((bytes(header), 0, len(header)), (data, sound, sound + size))))
        return False


def _is_placeholder(size: int, there: int) -> bool:
    """True for a size that a writer leaves which does not know it yet: about 2 or 4 GiB, or 2**63 and more."""
    near = 0x7FFF0000 <= size <= 0x80010000 or 0xFFFF0000 <= size <= 0xFFFFFFFF or size >= 2**63 - 2**16
    return near and size > there


# OGG and CAF


def _of_ogg(data: Buffer, name: str) -> Recordings | None:
    """Chained streams (RFC 3533): another begins with a page that is marked as the first of a stream."""
    starts: list[int] = []
    position, beginning, ended = 0, True, True
    while len(head := bytes(data[position : position + 27])) == 27 and head[:4] == b"OggS":
        first = bool(head[5] & 2)
        if first and not beginning:
            starts.append(position)
        beginning, ended = first, bool(head[5] & 4)
        table = bytes(data[position + 27 : position + 27 + head[26]])
        position += 27 + head[26] + sum(table)
    found = _split(data, starts)
    if not ended or position > len(data):
        found = found or Recordings([Part(((data, 0, len(data)),))])
        found.notes.append("it has no end mark: its writer was interrupted, or the file is cut short")
    return found


def _of_caf(data: Buffer, name: str) -> Recordings | None:
    """Core Audio Format: chunks with sizes of 64 bits, -1 for sound that goes on to the end of the file."""
    starts: list[int] = []
    patched: Part | None = None
    position = 8
    while position + 12 <= len(data):
        kind = bytes(data[position : position + 4])
        if kind == b"caff":
            starts.append(position)
            position += 8
            continue
        size = int.from_bytes(data[position + 4 : position + 12], "big", signed=True)
        body = position + 12
        if kind == b"data" and (size == -1 or _is_placeholder(size, len(data) - body)):
            header = bytes(data[starts[-1] if starts else 0 : position + 4]) + struct.pack(
                ">q", len(data) - body
            )
            patched = Part(((header, 0, len(header)), (data, body, len(data))))
            break
        if size < 0:
            break
        if kind == b"data" and body + size > len(data) + 1:
            share = (len(data) - body) / size
            raise AudioError(
                f"{name}: the file is cut short, {100 * share:.0f} % of its sound are there; copy or download it again"
            )
        position = body + size
    if patched is None:
        return _split(data, starts)
    bounds = [0, *starts]
    before = [Part(((data, first, last),)) for first, last in pairwise(bounds)]
    return Recordings([*before, patched])


def _check_boxes(data: Buffer, name: str) -> None:
    """Refuse MP4 files in a row (ISO/IEC 14496-12): another one begins with a box of its own type."""
    position = 0
    while len(head := bytes(data[position : position + 16])) >= 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if position and kind == b"ftyp":
            raise _joined(name)
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8:
            return  # to the end of the file
        position += size
