"""FLAC: streams in a row, and how many samples each has, whatever its header says.

The header holds their number, or 0 where its writer did not know it. libsndfile stops there, or fails at the end of
the file. Every frame names its place, so the last one tells the length.

Source: RFC 9639.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from neucodec_tts.audio.recordings import (
    FRAME_SECONDS,
    Part,
    Recordings,
    cut_short,
    later,
    refuse_another_format,
)
from neucodec_tts.audio.splice import Buffer

_FARTHEST = 2**20  # bytes before the end in which the last frame begins, rubbish behind it included
_BLOCKS = {1: 192, **{n: 144 * 2**n for n in range(2, 6)}, **{n: 2**n for n in range(8, 16)}}


@dataclass(frozen=True)
class FlacLength:
    """The length of a stream.

    Attributes:
        promised: samples of each channel that its header says; 0 if it does not say.
        present: samples up to the end of its last frame.
        rate: in Hz.
    """

    promised: int
    present: int
    rate: int


def of_flac(data: Buffer, name: str) -> Recordings | None:
    """FLAC streams, whose headers may say less or more samples than there are, or none."""
    refuse_another_format(data, name)
    starts = list(later(data, b"fLaC\x00\x00\x00\x22"))
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
            raise cut_short(name, stream.present / stream.rate, stream.promised / stream.rate)
        if missing > 0:
            found.notes.append(f"it is {1000 * missing:.1f} ms shorter than its header says")
        header = with_samples(bytes(data[first : first + 42]), stream.present)
        found.parts.append(Part(((header, 0, len(header)), (data, first + len(header), last))))
    return None if as_it_is else found


def flac_samples(data: Buffer, start: int, end: int) -> FlacLength | None:
    """Return the length of a stream between two positions; None if that cannot be told."""
    header = bytes(data[start : start + 42])
    if len(header) < 42 or header[4] & 0x7F:
        return None
    smallest, largest = int.from_bytes(header[8:10], "big"), int.from_bytes(header[10:12], "big")
    packed = int.from_bytes(header[18:26], "big")
    rate, promised = packed >> 44, packed & (2**36 - 1)
    last = _last_frame(data, start, end, largest if smallest == largest else None)
    return None if last is None or rate == 0 else FlacLength(promised, last, rate)


def with_samples(header: bytes, samples: int) -> bytes:
    """Return the first 42 bytes of a stream with another number of samples in them."""
    packed = int.from_bytes(header[18:26], "big") & ~(2**36 - 1) | samples
    return header[:18] + packed.to_bytes(8, "big") + header[26:42]


def _last_frame(data: Buffer, start: int, end: int, block: int | None) -> int | None:
    """Return the samples up to the end of the last frame: it begins where the frame before it ends."""
    ends: dict[int, int] = {}  # by the first sample of what may be a frame
    position = end
    while (position := data.rfind(b"\xff", max(start, end - _FARTHEST), position)) >= 0:
        found = _frame_header(bytes(data[position : position + 16]), block)
        if found is None:
            continue
        first, after = found[0], sum(found)
        if after in ends:
            return ends[after]
        ends[first] = after
    return ends.get(0)  # one frame is all there is


def _frame_header(head: bytes, block: int | None) -> tuple[int, int] | None:
    """Return the first sample of a frame and the number of its samples; None if no frame begins here.

    Args:
        head: the first 16 bytes.
        block: samples in a frame of a stream in which all have as many.
    """
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1 or head[3] >> 4 > 10:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    if size_code == 0 or rate_code == 15:
        return None
    # The number of the frame or of its first sample, coded as UTF-8 codes characters.
    leading = 8 - (head[4] ^ 0xFF).bit_length()
    if leading == 1 or leading > 7:
        return None
    position = 4 + max(1, leading)
    number = head[4] & (0xFF >> (leading + 1) if leading else 0x7F)
    for byte in head[5:position]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    if size_code in (6, 7):
        wide = size_code - 5
        samples = int.from_bytes(head[position : position + wide], "big") + 1
        position += wide
    else:
        samples = _BLOCKS[size_code]
    position += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if len(head) <= position or _crc8(head[:position]) != head[position]:
        return None
    variable = bool(head[1] & 1)
    if not variable and block is None:
        return None
    return (number if variable else number * (block or 0)), samples


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07) & 0xFF if value & 0x80 else value << 1
    return value
