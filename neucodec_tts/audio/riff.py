"""WAV: RIFF files, and RF64 files (EBU Tech 3306), whose sizes may be wrong or were never filled in."""

from __future__ import annotations

import struct

from neucodec_tts.audio.mp3 import after_tags, read_frames
from neucodec_tts.audio.recordings import (
    FRAME_SECONDS,
    Part,
    Recordings,
    another_begins,
    cut_short,
    is_placeholder,
    joined,
)
from neucodec_tts.audio.splice import Buffer
from neucodec_tts.errors import AudioError

_MP3_IN_RIFF = 0x55


def of_wave(data: Buffer, name: str) -> Recordings | None:
    """WAV files in a row."""
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
            not is_placeholder(riff, len(data)) and self._sound is not None and riff + 8 > self._sound - start
        )
        self._open = self._sound is not None and (
            is_placeholder(self._size, self._there) or (self._size == 0 < self._there and not closed)
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
            if end < len(self._data) and another_begins(self._data, end):
                raise joined(self._name)
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
                raise cut_short(self._name, seconds, promised)
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
