"""One stream of the decoder of a server, as the event loop sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from neucodec_tts.codec.streaming import StreamSettings


@dataclass(eq=False)
class DecodeStream(AsyncIterator[Tensor]):
    """One stream of a `DecodeWorker`: `push` codes, `finish`, iterate over its samples, float32 (n,), and `close`.

    All methods are for the event loop that opened the stream. Only the iteration waits.

    Attributes:
        number: its name in the scheduler.
        settings: of its chunks.
        hop: samples a frame.
        loop: the event loop that opened it.
        feed: tells the thread that there is something to decode.
        forget: tells the worker that the stream is closed.
    """

    number: int
    settings: StreamSettings
    hop: int
    loop: asyncio.AbstractEventLoop
    feed: Callable[[DecodeStream], None]
    forget: Callable[[DecodeStream], None]
    _codes: deque[Sequence[int]] = field(default_factory=deque)  # not given to the scheduler yet
    _finished: bool = False
    # The thread's:
    _fed: int = 0  # frames that the scheduler has got and has not decoded
    _told: bool = False  # True when the scheduler knows that no more will come
    # The loop's:
    _asked: int = 0  # frames up to which the thread has been told that it has all that chunks need
    _samples: deque[Tensor] = field(default_factory=deque)
    _waiting_samples: int = 0  # decoded and not taken; the thread reads it
    _pushed: int = 0  # frames
    _delivered: int = 0  # frames
    _error: Exception | None = None
    _closed: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def backlog(self) -> int:
        """Frames that have been pushed and whose sound has not been taken yet."""
        return self._pushed - self._delivered + self._waiting_samples // self.hop

    def push(self, codes: Sequence[int]) -> None:
        """Add codes (frames,)."""
        if self._closed or not len(codes):
            return
        self._pushed += len(codes)
        self._codes.append(codes)
        # The thread is woken when there is something to decode, and not for every code.
        if self._pushed >= self.settings.needed(self._asked):
            while self._pushed >= self.settings.needed(self._asked):
                self._asked = self.settings.chunk_end(self._asked)
            self.feed(self)

    def finish(self) -> None:
        """No more codes will come."""
        self._finished = True
        self.feed(self)

    def close(self) -> None:
        """Forget the stream at once, in whatever state it is; harmless when it has ended."""
        if self._closed:
            return
        self._closed = True
        self._codes.clear()
        self._samples.clear()
        self._waiting_samples = 0
        self._news.set()
        self.forget(self)

    async def __anext__(self) -> Tensor:
        """Return the samples that have been decoded since, float32 (n,).

        Raises:
            CodesError: something that was pushed is no code.
            EngineError: the codec failed on this stream.
        """
        while True:
            if self._samples:
                parts = list(self._samples)
                self._samples.clear()
                self._waiting_samples = 0
                if self._codes:  # held back, for want of a listener
                    self.feed(self)
                return parts[0] if len(parts) == 1 else torch.cat(parts)
            if self._error is not None:
                raise self._error
            if self._closed or (self._finished and self._delivered == self._pushed):
                self.close()
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()

    def _take(self, samples: Tensor) -> None:
        if not self._closed:
            self._samples.append(samples)
            self._waiting_samples += samples.numel()
            self._delivered += samples.numel() // self.hop
            self._news.set()

    def _end(self, error: Exception) -> None:
        if not self._closed:
            self.close()
            self._error = error
            self._news.set()


def deliver(parts: list[tuple[DecodeStream, Tensor]]) -> None:
    """Hand samples over; in the event loop of these streams."""
    for stream, samples in parts:
        stream._take(samples)
