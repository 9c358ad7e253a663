"""Audio files whose header does not tell how much speech is in them, and the stretches to decode instead.

A header that was written before the recording ended holds a placeholder. A file that was joined from several says
only how long the first one is. An MP3 file says nothing. Decoders believe the header; here the file itself is looked
at, so that all that can be decoded is.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePosixPath

from neucodec_tts.audio.flac import flac_samples, with_samples
from neucodec_tts.audio.mp3 import Mp3Stream, after_tags, is_mp3, read_frames
from neucodec_tts.audio.splice import Buffer, Piece
from neucodec_tts.errors import AudioError

_REST_BYTES = 1024  # behind the sound; fewer are no word
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
_BEGINNINGS = (
    b"fLaC\0\0\0\x22",
    b"OggS\0\x02",
    b"caff\0\x01",
    b"#!AMR",
    _ASF_HEADER,
    b"\x1aE\xdf\xa3",
    _W64_RIFF,
)
_BEHIND_MP3 = ((b"WAVEfmt ", 8), (b"OggS\0\x02", 0), (b"fLaC\0\0\0\x22", 0), (b"ftypM4A ", 4))
_LANDMARKS = (*_BEHIND_MP3[:2], (b"ID3\x03\0", 0), (b"ID3\x04\0", 0))
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
    if bytes(data[:3]) == b"ID3" and not is_mp3(data):
        start = after_tags(data, 0, len(data))
        if 0 < start < len(data):  # a tag before another format: libsndfile counts it as sound
            untagged = bytes(data[start:])
            return find_recordings(untagged, name) or Recordings([Part(((untagged, 0, len(untagged)),))])
    head = bytes(data[:16])
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _of_wave(data, name)
    if head[:4] == b"OggS":
        return _of_ogg(data, name)
    if head[:4] == b"caff":
        return _of_caf(data, name)
    if head[:4] == b"fLaC":
        return _of_flac(data, name)
    if head[:7] == b"NIST_1A":
        _check_sphere(data, name)
        return None
    if head[:4] in (b"FORM", b".snd") or head == _W64_RIFF:
        return _of_sized(data, name)
    if head[4:8] == b"ftyp":
        _check_boxes(data, name)
        return None
    for begins, again in _SECOND_HEADERS:
        if head.startswith(begins) and next(_later(data, again), None) is not None:
            raise _joined(name)
    if is_mp3(data):
        stream = read_frames(data, 0, len(data), name)
        if stream is not None and stream.notes:
            _refuse_another_format(data, name, _BEHIND_MP3)
        if stream is not None and not stream.complete:
            return _of_mp3(stream)
        if stream is not None and stream.notes:
            return Recordings([Part(((data, 0, len(data)),))], list(stream.notes))
        return None
    _refuse_another_format(data, name)
    return None


def _another_begins(data: Buffer, position: int) -> bool:
    """True if a recording of any format begins at a position."""
    head = bytes(data[position : position + 16])
    if head.startswith(_BEGINNINGS) or head[4:8] == b"ftyp":
        return True
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"FORM"):
        return head[8:12] in (b"WAVE", b"AIFF", b"AIFC")
    start = after_tags(data, position, len(data))
    return is_mp3(bytes(data[start : start + 2**16]))


def _refuse_another_format(
    data: Buffer, name: str, landmarks: tuple[tuple[bytes, int], ...] = _LANDMARKS
) -> None:
    """Refuse a file in which a recording of another format follows, which decoders pass over."""
    for landmark, before in landmarks:
        if any(_another_begins(data, at - before) for at in _later(data, landmark)):
            raise _joined(name)


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
    """Yield where AIFF, AU and W64 files end, by the sizes in their headers; another may begin there."""
    position, magic = 0, bytes(data[:4])
    while len(head := bytes(data[position : position + 24])) == 24 and head[:4] == magic:
        if magic == b"FORM":
            size = 8 + int.from_bytes(head[4:8], "big")
            size += size & 1
        elif magic == b".snd":
            size = int.from_bytes(head[4:8], "big") + int.from_bytes(head[8:12], "big")
        else:
            size = int.from_bytes(head[16:24], "little")
            size += -size % 8
        if size < 24:
            yield len(data)
            return
        position += size
        yield position


_UNTOLD = b"\xff\xff\xff\xff"  # the size of an AU file whose writer does not know it


def _of_sized(data: Buffer, name: str) -> Recordings | None:
    """AIFF, AU and W64 files in a row."""
    if data[:4] == b".snd" and len(data) > 24:
        begin, size = (int.from_bytes(data[at : at + 4], "big") for at in (4, 8))
        there = len(data) - begin
        if (size == 0 < there or _is_placeholder(size, there)) and data[8:12] != _UNTOLD:
            header = bytes(data[:8]) + _UNTOLD + bytes(data[12:24])
            return Recordings([Part(((header, 0, 24), (data, 24, len(data))))])
    starts, end = [], len(data)
    for end in _sized(data):
        starts.append(end)
    found = _split(data, starts[:-1])
    return _with_rest(data, end, name, found)


def _with_rest(data: Buffer, end: int, name: str, found: Recordings | None) -> Recordings | None:
    """Add a note of what lies behind the last recording.

    Raises:
        AudioError: it is a recording of another format.
    """
    if end >= len(data):
        return found
    if _another_begins(data, end):
        raise _joined(name)
    if bytes(data[:4]) == _W64_RIFF[:4]:  # libsndfile reads it to the end
        return found
    rest = len(data) - after_tags(data, end, len(data))
    if rest >= _REST_BYTES and any(bytes(data[end : end + 4096])):
        found = found or Recordings([Part(((data, 0, len(data)),))])
        found.notes.append(
            f"{rest:,} bytes after the end of its sound are not read; if they are sound, give them a file of their own"
        )
    return found


def _of_flac(data: Buffer, name: str) -> Recordings | None:
    """FLAC streams, whose headers may say less or more samples than there are, or none."""
    _refuse_another_format(data, name)
    starts = list(_later(data, b"fLaC\x00\x00\x00\x22"))
    found = Recordings()
    as_it_is = not starts
    for first, last in pairwise([0, *starts, len(data)]):
        stream = flac_samples(data, first, last)
        if stream is None or stream.present == stream.promised:
            found.parts.append(Part(((data, first, last),)))
            continue
        as_it_is = False
        missing = (stream.promised - stream.present) / stream.rate
        if missing >= FRAME_SECONDS:
            raise _cut_short(name, stream.present / stream.rate, stream.promised / stream.rate)
        if missing > 0:
            found.notes.append(f"it is {1000 * missing:.1f} ms shorter than its header says")
        header = with_samples(bytes(data[first : first + 42]), stream.present)
        found.parts.append(Part(((header, 0, len(header)), (data, first + len(header), last))))
    return None if as_it_is else found


def _check_sphere(data: Buffer, name: str) -> None:
    """Refuse NIST SPHERE files that libsndfile reads wrongly.

    Raises:
        AudioError: it is compressed, joined from several, or has fewer samples than its header says.
    """
    if next(_later(data, b"NIST_1A\n"), None) is not None:
        raise _joined(name)
    fields = dict(re.findall(rb"^(\w+) -\w+ (\S+)", bytes(data[:1024]), re.MULTILINE))
    coding = fields.get(b"sample_coding", b"").decode("ascii", "replace")
    if "," in coding:
        raise AudioError(
            f"{name}: its samples are compressed ({coding}); convert it: sph2pipe -f wav {PurePosixPath(name).name} "
            "plain.wav"
        )
    try:
        size = int(bytes(data[8:16]))
        count, wide, channels, rate = (
            int(fields[field])
            for field in (b"sample_count", b"sample_n_bytes", b"channel_count", b"sample_rate")
        )
    except (KeyError, ValueError):
        return
    present = (len(data) - size) // max(1, wide * channels)
    if count - present >= FRAME_SECONDS * rate > 0:
        raise _cut_short(name, present / rate, count / rate)


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
            break  # what may follow is no WAV file
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
        self._more = [] if self._open or self._sound is None else self._later_sound()

    def _later_sound(self) -> list[tuple[int, int]]:
        """The stretches of further data chunks: some recorders begin another one after a pause."""
        found = []
        position = (self._sound or 0) + self._size + (self._size & 1)
        while position + 8 <= self.end:
            kind = bytes(self._data[position : position + 4])
            size = int.from_bytes(self._data[position + 4 : position + 8], "little")
            if not kind.isascii() or not kind.decode("ascii").isprintable():
                break
            if kind == b"data":
                found.append((position + 8, min(position + 8 + size, len(self._data))))
            position += 8 + size + (size & 1)
        return found

    def _left_behind(self) -> int:
        """Bytes after the sound that are no chunk: sound, where a writer could not correct the size at its end."""
        position = (self._sound or 0) + self._size + (self._size & 1)
        position = after_tags(self._data, position, self.end)
        kind = bytes(self._data[position : position + 4])
        is_chunk = len(kind) < 4 or (kind.isascii() and kind.decode("ascii").isprintable())
        zeros = not any(bytes(self._data[position : position + 4096]))
        return 0 if is_chunk or zeros else self.end - position

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
            if end < len(self._data) and _another_begins(self._data, end):
                raise _joined(self._name)
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
        promised = size / max(1, self._bytes_per_second)
        if self._format == _MP3_IN_RIFF:  # its bytes a second are an estimate, if they are there
            stream = read_frames(data, sound, sound + min(size, self._there), self._name)
            if stream is None:
                raise AudioError(
                    f"{self._name}: no MP3 frames are in this WAV file; convert it to WAV or FLAC"
                )
            seconds = stream.seconds
            promised = seconds * size / max(1, self._there)
        if missing > 0:
            if promised - seconds >= FRAME_SECONDS or not seconds:
                raise _cut_short(self._name, seconds, promised)
            size = self._there
            found.notes.append(f"it is {1000 * (promised - seconds):.1f} ms shorter than its header says")
        if stream is not None:
            found.parts.append(Part(stream.pieces, stream.lead))
            found.notes += stream.notes
            return False
        left = self._left_behind() if not self._open and missing <= 0 else 0
        if left > FRAME_SECONDS * self._bytes_per_second > 0:
            found.notes.append(
                f"{left:,} bytes after the end of its sound are not read; if they are sound "
                f"({left / self._bytes_per_second:.2f} s), its header is wrong: set the size of its data anew"
            )
        if not self._open and missing <= 0 and not self._more:
            found.parts.append(Part(((data, self._start, self.end),)))
            return not found.notes
        later = sum(last - first for first, last in self._more)
        if later:
            found.notes.append(
                f"its sound stands in {1 + len(self._more)} data chunks, which are read as one"
            )
        size -= size % max(1, self._align)
        if size + later > 0xFFFF0000:  # such a size does not fit; libsndfile reads what is there
            found.parts.append(Part(((data, self._start, self.end),)))
            return True
        header = bytearray(data[self._start : sound])
        header[:4] = b"RIFF"
        header[4:8] = struct.pack("<I", len(header) - 8 + size + later)
        header[-4:] = struct.pack("<I", size + later)
        ds64 = header.find(b"ds64")
        if ds64 >= 0:  # a chunk that a plain RIFF file may hold, but need not believe
            header[ds64 : ds64 + 4] = b"JUNK"
        pieces = ((data, first, last) for first, last in [(sound, sound + size), *self._more])
        found.parts.append(Part(((bytes(header), 0, len(header)), *pieces)))
        return False


def _is_placeholder(size: int, there: int) -> bool:
    """True for a size that a writer leaves which does not know it yet: about 2 or 4 GiB, or 2**63 and more."""
    near = 0x7FFF0000 <= size <= 0x80010000 or 0xFFFF0000 <= size <= 0xFFFFFFFF or size >= 2**63 - 2**16
    return near and size > there


# OGG and CAF


def _of_ogg(data: Buffer, name: str) -> Recordings | None:
    """Chained streams (RFC 3533): another begins with a page that is marked as the first of a stream.

    Raises:
        AudioError: pages are damaged or missing. Decoders stop there, or go on behind a hole, without a word.
    """
    starts: list[int] = []
    position, beginning, ended = 0, True, True
    numbers: dict[bytes, int] = {}  # of the last page of each stream
    while len(head := bytes(data[position : position + 27])) == 27 and head[:4] == b"OggS":
        first = bool(head[5] & 2)
        if first and not beginning:
            starts.append(position)
        beginning, ended = first, bool(head[5] & 4)
        table = bytes(data[position + 27 : position + 27 + head[26]])
        page = bytes(data[position : position + 27 + head[26] + sum(table)])
        if len(page) == 27 + head[26] + sum(table) and _ogg_checksum(page) != page[22:26]:
            raise _damaged(name, position)
        serial, number = head[14:18], int.from_bytes(head[18:22], "little")
        if not first and number != numbers.get(serial, number - 1) + 1:
            raise _damaged(name, position)
        numbers[serial] = number
        position += 27 + head[26] + sum(table)
    if position < len(data) and data.find(b"OggS", position) >= 0:
        raise _damaged(name, position)
    found = _with_rest(data, position, name, _split(data, starts))
    if not ended or position > len(data):
        found = found or Recordings([Part(((data, 0, len(data)),))])
        found.notes.append("it has no end mark: its writer was interrupted, or the file is cut short")
    return found


_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _ogg_checksum(page: bytes) -> bytes:
    """The CRC of a page, as its bytes 22 to 25 hold it: zlib's polynomial with the bits in the other order."""
    bits = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED_BITS)
    value = zlib.crc32(bits, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return value.to_bytes(4, "little").translate(_REVERSED_BITS)[::-1]


def _damaged(name: str, position: int) -> AudioError:
    return AudioError(
        f"{name}: pages of it are damaged or missing from byte {position:,} on; copy or download it again, or, to keep "
        f"what is there, convert it: ffmpeg -i {PurePosixPath(name).name} mended.wav"
    )


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
        if kind == b"data" and (size in (-1, 0) or _is_placeholder(size, len(data) - body)):
            header = bytes(data[starts[-1] if starts else 0 : position + 4]) + struct.pack(
                ">q", len(data) - body
            )
            patched = Part(((header, 0, len(header)), (data, body, len(data))))
            break
        if size < 0 or _another_begins(data, position):
            break
        if kind == b"data" and body + size > len(data) + 1:
            share = (len(data) - body) / size
            raise AudioError(
                f"{name}: the file is cut short, {100 * share:.0f} % of its sound are there; copy or download it again"
            )
        if body + size > len(data) + 1:
            break  # no chunk
        position = body + size
    if patched is None:
        return _with_rest(data, position, name, _split(data, starts))
    bounds = [0, *starts]
    before = [Part(((data, first, last),)) for first, last in pairwise(bounds)]
    return Recordings([*before, patched])


def _check_boxes(data: Buffer, name: str) -> None:
    """Refuse MP4 files in a row (ISO/IEC 14496-12): another one begins with a box of its own type."""
    position = 0
    while len(head := bytes(data[position : position + 16])) >= 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if position and (kind == b"ftyp" or _another_begins(data, position)):
            raise _joined(name)
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8:
            return  # to the end of the file
        position += size
