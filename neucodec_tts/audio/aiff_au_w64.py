"""AIFF, AU and W64: files in a row, told apart by the sizes in their headers."""

from __future__ import annotations

from collections.abc import Iterator

from neucodec_tts.audio.recordings import Part, Recordings, is_placeholder, split, with_rest
from neucodec_tts.audio.splice import Buffer

_UNTOLD = b"\xff\xff\xff\xff"  # the size of an AU file whose writer does not know it


def of_sized(data: Buffer, name: str) -> Recordings | None:
    """AIFF, AU and W64 files in a row."""
    if data[:4] == b".snd" and len(data) > 24:
        begin, size = (int.from_bytes(data[at : at + 4], "big") for at in (4, 8))
        there = len(data) - begin
        if (size == 0 < there or is_placeholder(size, there)) and data[8:12] != _UNTOLD:
            header = bytes(data[:8]) + _UNTOLD + bytes(data[12:24])
            return Recordings([Part(((header, 0, 24), (data, 24, len(data))))])
    starts, end = [], len(data)
    for end in _sized(data):
        starts.append(end)
    found = split(data, starts[:-1])
    return with_rest(data, end, name, found)


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
