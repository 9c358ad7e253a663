"""MP4 and M4A (ISO/IEC 14496-12): files in a row, of which decoders read the first."""

from __future__ import annotations

from neucodec_tts.audio.recordings import another_begins, joined
from neucodec_tts.audio.splice import Buffer


def check_boxes(data: Buffer, name: str) -> None:
    """Refuse MP4 files in a row (ISO/IEC 14496-12): another one begins with a box of its own type."""
    position = 0
    while len(head := bytes(data[position : position + 16])) >= 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if position and (kind == b"ftyp" or another_begins(data, position)):
            raise joined(name)
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8:
            return  # to the end of the file
        position += size
