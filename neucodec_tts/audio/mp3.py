"""MPEG audio, Layer III: its frames, and a stream of them that a decoder reads to the end.

An MP3 file has no length of its own. A writer may put the number of frames into the first frame (the "Xing" or "Info"
header); otherwise libsndfile estimates it from the first bit rate and stops there, however much speech follows. The
same happens where files were joined: the header counts the first one's frames. Here all frames are found, and a silent
one of the lowest bit rate is put before them: then the estimate is never too short.

Sources: ISO/IEC 11172-3 and 13818-3 for the frame header; the Xing header as LAME's tag specification describes it.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from neucodec_tts.audio.splice import Buffer, Piece
from neucodec_tts.errors import AudioError

_BIT_RATES = {  # kbit/s by index, Layer III; 0 is the free format, which has no frame lengths to walk along
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_SURE = 3  # frames in a row that cannot be there by chance


@dataclass(frozen=True)
class _Frame:
    start: int
    length: int  # bytes
    samples: int
    rate: int  # Hz
    kind: tuple[int, int, bool]  # version, rate, mono: equal in all frames of a stream
    side_bytes: int
    header: bytes


@dataclass(frozen=True)
class Mp3Stream:
    """The frames of an MP3 stream.

    Attributes:
        pieces: the whole stream for a decoder: a silent frame, then all others.
        lead: samples of the silent frame, to be left out of what is decoded.
        complete: True where the stream's own first frame already counts them rightly, so that it can be read as it is.
        seconds: its length.
        notes: things a user should hear of.
    """

    pieces: tuple[Piece, ...]
    lead: int
    complete: bool
    seconds: float
    notes: tuple[str, ...]


def is_mp3(data: Buffer) -> bool:
    """True if the data begins with frames of MP3 in a row, tags and zeros before them aside."""
    start = after_tags(data, 0, len(data))
    if start:  # a tag may be padded
        start += len(padding := bytes(data[start : start + 2**16])) - len(padding.lstrip(b"\0"))
    found = next(_frames_in_a_row(data, start, min(len(data), start + 2**16)), None)
    return found is not None and found.start == start


def may_be_mp3(data: Buffer) -> bool:
    """True if libsndfile may take the data for MPEG audio: it begins with a tag or a frame."""
    head = bytes(data[:3])
    return head == b"ID3" or head[:2] >= b"\xff\xe0"


def read_frames(data: Buffer, start: int, end: int, name: str) -> Mp3Stream | None:
    """Walk along the frames between two positions.

    Returns:
        None if there are none, or if they are of the free format.

    Raises:
        AudioError: the stream ends before its header says, or changes its sample rate or channels on the way.
    """
    runs: list[tuple[int, int]] = []  # bytes of frames in a row
    count, promised, headers, ignored = 0, 0, 0, 0
    cut = False  # the last frame lacks its end
    first: _Frame | None = None
    position = after_tags(data, start, end)
    while position < end:
        frame = _frame_at(data, position, end)
        if frame is None or (first is not None and frame.kind != first.kind):
            after = after_tags(data, position, end)
            if after > position:
                position = after
                continue
            found = next(_frames_in_a_row(data, position, end, first), None)
            if found is None:
                ignored += end - position
                break
            if first is not None and found.kind != first.kind:
                raise AudioError(
                    f"{name}: its sample rate or number of channels changes at byte {found.start:,}; these are two "
                    "recordings: split the file, or convert it with ffmpeg"
                )
            ignored += found.start - position
            position = found.start
            continue
        first = first or frame
        stop = position + frame.length
        frames = _counted_frames(data, frame)
        if frames is not None:
            headers += 1
            promised += frames
        elif stop <= end:
            count += 1
            if runs and runs[-1][1] == position:
                runs[-1] = (runs[-1][0], stop)
            else:
                runs.append((position, stop))
        else:
            cut = True
        position = stop
    if first is None or count == 0:
        return None
    seconds = count * first.samples / first.rate
    frame_bytes = sum(stop - begin for begin, stop in runs) / count
    if headers and count < promised - headers:  # some writers count the header, too
        raise AudioError(
            f"{name}: the file is cut short, {seconds:.2f} of {promised * first.samples / first.rate:.2f} s are there; "
            "copy or download it again"
        )
    notes = [] if ignored < frame_bytes else [f"{ignored:,} bytes in it are not MP3 and are left out"]
    if headers > 1:
        notes.append(f"it is joined from {headers} recordings, which are read as one")
    if cut:
        notes.append("its last frame is incomplete: the file may be cut short")
    return Mp3Stream(
        (_silence(first), *((data, begin, stop) for begin, stop in runs)),
        lead=first.samples,
        complete=headers == 1 and abs(count - promised) <= 1 and len(runs) == 1,
        seconds=seconds,
        notes=tuple(notes),
    )


def _frame_at(data: Buffer, position: int, end: int) -> _Frame | None:
    header = data[position : position + 4]
    if len(header) < 4 or position + 4 > end or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, rate_index, rate_class = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or rate_index in (0, 15) or rate_class == 3 or header[3] & 3 == 2:
        return None
    rate = _SAMPLE_RATES[version][rate_class]
    samples = 1152 if version == 3 else 576
    bits = _BIT_RATES[1 if version == 3 else 2][rate_index] * 1000
    length = samples // 8 * bits // rate + (header[2] >> 1 & 1)
    mono = header[3] >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    protected = 0 if header[1] & 1 else 2
    return _Frame(position, length, samples, rate, (version, rate, mono), side + protected, bytes(header))


def _frames_in_a_row(data: Buffer, position: int, end: int, like: _Frame | None = None) -> Iterator[_Frame]:
    """Yield the first frame from a position on that others of its kind follow, or that fills the rest alone.

    Frames of the kind of `like` are believed at once, so that one that stands alone between rubbish is not lost.
    """
    while (position := data.find(b"\xff", position, end)) >= 0:
        frame = _frame_at(data, position, end)
        following, at = frame, position
        for _ in range(_SURE):
            if following is None or frame is None or following.kind != frame.kind:
                frame = None
                break
            at += following.length
            if at >= end:
                frame = frame if at == end or following is not frame or like is not None else None
                break
            following = _frame_at(data, at, end)
            if following is None and (after_tags(data, at, end) > at or end - at < 4):
                break
        if frame is not None:
            yield frame
            return
        position += 1


def _counted_frames(data: Buffer, frame: _Frame) -> int | None:
    """The number that a Xing, Info or VBRI header counts; 0 if it counts none; None for a frame of sound."""
    body = data[frame.start + 4 : frame.start + min(frame.length, 192)]
    side = frame.side_bytes
    if body[side : side + 4] in (b"Xing", b"Info"):
        flags = int.from_bytes(body[side + 4 : side + 8], "big")
        count = int.from_bytes(body[side + 8 : side + 12], "big") if flags & 1 else 0
        return count if count < 2**31 else 0  # a placeholder
    if body[32:36] == b"VBRI":
        return int.from_bytes(body[46:50], "big")
    return None


def after_tags(data: Buffer, position: int, end: int) -> int:
    """The position after all ID3 and APE tags that begin at this one."""
    while position < end:
        head = bytes(data[position : position + 32])
        if head[:3] == b"ID3" and len(head) >= 10:
            size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
            position += 10 + size + (10 if head[5] & 0x10 else 0)
        elif head[:3] == b"TAG":
            position += 128
        elif head[:8] == b"APETAGEX":
            has_header = int.from_bytes(head[20:24], "little") >> 31
            position += int.from_bytes(head[12:16], "little") + (32 if has_header else 0)
        else:
            return position
    return end


def _silence(like: _Frame) -> Piece:
    """A frame of silence at the lowest bit rate that holds one, of the kind of another frame."""
    version, _, mono = like.kind
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    rates = _BIT_RATES[1 if version == 3 else 2]
    lengths = [like.samples // 8 * kbits * 1000 // like.rate for kbits in rates]
    index = next(index for index, length in enumerate(lengths) if length >= 4 + side)
    head = bytes((0xFF, like.header[1] | 1, index << 4 | like.header[2] & 0x0C, like.header[3]))
    return head.ljust(lengths[index], b"\0"), 0, lengths[index]


class _Quiet:
    """Keeps what mpg123 prints from the terminal, as long as at least one thread decodes with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decoding = 0
        self._terminal: int | None = None
        self._kept: IO[bytes] | None = None

    def begin(self) -> None:
        """One more thread decodes."""
        with self._lock:
            self._decoding += 1
            if self._decoding > 1:
                return
            try:
                self._terminal = os.dup(2)
            except OSError:  # there is no standard error
                return
            self._kept = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
            os.dup2(self._kept.fileno(), 2)

    def end(self) -> None:
        """A thread has decoded; the last one lets the terminal hear again."""
        with self._lock:
            self._decoding -= 1
            if self._decoding or self._terminal is None or self._kept is None:
                return
            os.dup2(self._terminal, 2)
            os.close(self._terminal)
            self._kept.seek(0)
            others = [
                line for line in self._kept if b"libmpg123" not in line and not line.startswith(_MPG123_SAYS)
            ]
            self._kept.close()
            self._terminal = self._kept = None
            if others:  # of other threads
                os.write(2, b"".join(others))


_MPG123_SAYS = (b"Warning: Xing stream size off", b"Note: ")
_quiet = _Quiet()


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Decode without mpg123's remarks, which it prints to standard error of the whole process.

    libsndfile gives no way to turn them off. What other threads print meanwhile appears afterwards.
    """
    _quiet.begin()
    try:
        yield
    finally:
        _quiet.end()
