"""Core Audio Format: files in a row, and files whose size was never filled in."""

from __future__ import annotations

import struct
from itertools import pairwise

from neucodec_tts.audio.recordings import Part, Recordings, another_begins, is_placeholder, split, with_rest
from neucodec_tts.audio.splice import Buffer
from neucodec_tts.errors import AudioError


def of_caf(data: Buffer, name: str) -> Recordings | None:
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
        if kind == b"data" and (size in (-1, 0) or is_placeholder(size, len(data) - body)):
            header = bytes(data[starts[-1] if starts else 0 : position + 4]) + struct.pack(
                ">q", len(data) - body
            )
            patched = Part(((header, 0, len(header)), (data, body, len(data))))
            break
        if size < 0 or another_begins(data, position):
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
        return with_rest(data, position, name, split(data, starts))
    bounds = [0, *starts]
    before = [Part(((data, first, last),)) for first, last in pairwise(bounds)]
    return Recordings([*before, patched])
