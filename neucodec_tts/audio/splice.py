"""A file put together from stretches of others, for a decoder to read without a copy on disk."""

from __future__ import annotations

import io
import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import TypeAlias

Buffer: TypeAlias = "bytes | mmap.mmap"
Piece: TypeAlias = "tuple[Buffer, int, int]"
"""A buffer, the first byte of a stretch of it, and the one after its last."""


@contextmanager
def opened_buffer(source: str | os.PathLike[str] | bytes) -> Iterator[Buffer]:
    """The bytes of a file that is not empty, mapped into memory, or the bytes themselves."""
    if isinstance(source, bytes):
        yield source
        return
    with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped


class SplicedFile(io.RawIOBase):
    """Stretches of buffers, one after the other, as one file to read.

    Args:
        pieces: the stretches, in their order.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = [piece for piece in pieces if piece[2] > piece[1]]
        self._starts = [0, *accumulate(stop - start for _, start, stop in self._pieces)]
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a position; returns it."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def readinto(self, into: object, /) -> int:
        """Fill a buffer with what follows; returns the number of bytes."""
        view = memoryview(into).cast("B")  # type: ignore[arg-type]
        done = 0
        while done < len(view) and self._position < self._starts[-1]:
            index = bisect_right(self._starts, self._position) - 1
            buffer, start, stop = self._pieces[index]
            begin = start + self._position - self._starts[index]
            chunk = buffer[begin : min(stop, begin + len(view) - done)]
            view[done : done + len(chunk)] = chunk
            done += len(chunk)
            self._position += len(chunk)
        return done
