"""Ogg (RFC 3533): streams in a row, and pages that are damaged or missing."""

from __future__ import annotations

import zlib
from pathlib import PurePosixPath

from neucodec_tts.audio.recordings import Part, Recordings, split, with_rest
from neucodec_tts.audio.splice import Buffer
from neucodec_tts.errors import AudioError

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def of_ogg(data: Buffer, name: str) -> Recordings | None:
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
    found = with_rest(data, position, name, split(data, starts))
    if not ended or position > len(data):
        found = found or Recordings([Part(((data, 0, len(data)),))])
        found.notes.append("it has no end mark: its writer was interrupted, or the file is cut short")
    return found


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
