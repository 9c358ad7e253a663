"""Decoding while the codes arrive."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from neucodec_tts.errors import StreamError

if TYPE_CHECKING:
    from torch import Tensor

    from neucodec_tts.codec.codes import Codes

Array = TypeVar("Array")
"""Tensors, or NumPy's arrays for a codec that does without torch. Streams cut, join and cross-fade both."""


class StreamingCodec(Protocol):
    """The part of a codec that decodes streams."""

    @property
    def output_hop_length(self) -> int:
        """Samples that one code is decoded into."""
        ...

    def check_codes(self, codes: Codes, name: str = "codes") -> Tensor:
        """Codes as a LongTensor (frames,) on the CPU."""
        ...

    def decode_windows(self, windows: list[Window[Tensor]]) -> list[Decoded[Tensor]]:
        """Decode windows of streams, all of one lookback, in one batch."""
        ...


@dataclass(frozen=True)
class Window(Generic[Array]):
    """Codes of a stream that are decoded together.

    Positions are frames of the stream: ``codes`` begin at ``start``, those up to ``stop`` are played, and those behind
    them are only foreseen.
    """

    codes: Array
    """Int64 (frames,)."""
    start: int
    stop: int
    lookback: int
    """Frames before ``start`` that the decoder's attention sees."""
    memory: Array | None
    """The decoder's memory of the frames before ``start``, (S,); None at the beginning of a stream."""

    @property
    def settled(self) -> int:
        """Frames that are played."""
        return self.stop - self.start


def stack_memories(windows: Sequence[Window[Tensor]]) -> Tensor | None:
    """The memories of windows, (B, S), zeros at the beginning of a stream; None if all windows begin one."""
    known = next((window.memory for window in windows if window.memory is not None), None)
    if known is None:
        return None
    import torch

    nothing = torch.zeros_like(known)
    return torch.stack([nothing if window.memory is None else window.memory for window in windows])


@dataclass(frozen=True)
class Decoded(Generic[Array]):
    """The samples of one decoded window, and the decoder's memory after it.

    Attributes:
        audio: float32 (hop * frames,) on the CPU, with the samples of the foresight.
        memory: for the stream's next window, (S,) on the codec's device; see ``ContinuedFrames``.
    """

    audio: Array
    memory: Array


@dataclass(frozen=True)
class StreamSettings:
    """Sizes of the windows of a stream, in frames of 20 ms.

    Attributes:
        lookback: frames before a chunk that attention sees, through the keys and values that it kept (50 = 1 s, as in
            NeuTTS). It costs no latency and little work, but memory: NeuCodec keeps 5 MB a stream.
        chunk: largest number of new frames in a window (50 = 1 s). Larger chunks are less work, and who plays codes
            that come slowly waits longer for them.
        lookahead: frames after a chunk that are decoded with it, and again with the next (5 = 100 ms of latency). By
            default ten seconds cost 1.19 times the work of decoding them at once, five 1.28, two 1.5.
        overlap: frames of a chunk that are cross-faded with the foresight of the window before it (1). It is part of
            the lookahead and costs nothing.
        first_chunk: frames of the first chunk (5). The first sound comes after first_chunk + lookahead codes: 10 by
            default, 0.2 s of speech.
        growth: expected rate of the codes, over that at which they are spoken (1.25). A chunk is generated while the
            sound before it is played, and grows with it: by default chunks are 5, 3, 4, 5, 6, 8, 10, 12 frames and so
            on, up to ``chunk``. A listener who plays the first at once then never runs dry. At 1 chunks do not grow; 2
            is less work. Where codes come more slowly, `lateness` says how long to wait.
        slack: delay that a later chunk may have against the first, as a part of the first one's length (0.4 = 40 ms, or
            50 ms if codes come 1.5 times as fast). More slack makes later chunks shorter, which is more work. No chunk
            is shorter than a frame or the overlap.

    Raises:
        StreamError: a size is negative, the overlap does not fit the first chunk or the lookahead, codes would come
            more slowly than they are spoken, or the slack is all of the first chunk.
    """

    lookback: int = 50
    chunk: int = 50
    lookahead: int = 5
    overlap: int = 1
    first_chunk: int = 5
    growth: float = 1.25
    slack: float = 0.4

    def __post_init__(self) -> None:
        for name in ("lookback", "chunk", "lookahead", "overlap", "first_chunk"):
            least = 1 if name.endswith("chunk") else 0
            if getattr(self, name) < least:
                raise StreamError(f"{name} is {getattr(self, name)} frames; it must be at least {least}")
        if self.first_chunk > self.chunk:
            raise StreamError(
                f"first_chunk is {self.first_chunk} frames; it must be at most chunk, {self.chunk}"
            )
        limit = min(self.lookahead, self.first_chunk)
        if self.overlap > limit:
            raise StreamError(
                f"overlap is {self.overlap} frames; it must be at most lookahead and first_chunk, {limit}"
            )
        if not 1 <= self.growth < float("inf"):
            raise StreamError(f"growth is {self.growth}; it must be a number of at least 1")
        if not 0 <= self.slack < 1:
            raise StreamError(f"slack is {self.slack}; it must be at least 0 and less than 1")

    def needed(self, start: int) -> int:
        """Frames that must be there before the chunk that begins at frame ``start`` can be decoded."""
        return self.chunk_end(start) + self.lookahead

    def chunk_end(self, start: int) -> int:
        """The frame after the chunk that begins at frame ``start``, unless the stream ends before."""
        if start == 0:
            return self.first_chunk
        # It must be there when all before it has been heard, less the slack; by then so many codes have come beyond
        # those before it, and what it foresees.
        frames = int(self.first_chunk * (1 - self.growth * self.slack) + (self.growth - 1) * start)
        return start + max(1, self.overlap, min(self.chunk, frames))

    def lateness(self, known: int, total: int, speed: float) -> float:
        """How late the latest chunk will be if the first is played now, in frames of speech; negative if all are early.

        So much longer must the first chunk wait for a listener who never runs dry. Decoding takes no time here.

        Args:
            known: frames that have come, those that the first chunk needs among them.
            total: frames that the stream will have.
            speed: expected rate of the codes, over that at which they are played.
        """
        latest, start = float("-inf"), self.chunk_end(0)
        while start < total:
            stop, needed = self.chunk_end(start), self.needed(start)
            if needed > total:
                stop = needed = total  # the rest comes in one piece
            latest = max(latest, (needed - known) / speed - start)
            start = stop
        return latest


class Stream(Generic[Array]):
    """The codes, the position and the cross-fade of one stream. It hands out windows that its owner decodes.

    Windows depend on the number of codes that have come, never on how they were split, and so does the sound.
    """

    def __init__(self, settings: StreamSettings, hop_length: int) -> None:
        self.settings = settings
        self._hop = hop_length
        self._codes: Any = ()  # from frame self._asked on
        self._asked = 0  # frames up to which windows have been handed out
        self._memory: Array | None = None
        self._tail: Any = None  # samples that the last window foresaw
        self._finished = False

    @property
    def started(self) -> bool:
        """True once a window has been handed out."""
        return self._asked > 0

    @property
    def done(self) -> bool:
        """True once the stream has ended and all its windows have been handed out."""
        return self._finished and self._asked == self._known

    @property
    def ready(self) -> bool:
        """True while ``next_window`` has one."""
        return self.next_length > 0

    @property
    def next_length(self) -> int:
        """Frames of the next window, 0 if its codes are not all there."""
        span = self._next_span()
        return 0 if span is None else span[1] - self._asked

    @property
    def _known(self) -> int:
        return self._asked + len(self._codes)

    def push(self, codes: Array) -> None:
        """Add codes, int64 (frames,)."""
        if self._finished:
            raise StreamError("the stream has ended; start another for more codes")
        self._codes = join([self._codes, codes] if len(self._codes) else [codes])

    def finish(self) -> None:
        """No more codes will come: the rest may be decoded without lookahead."""
        self._finished = True

    def next_window(self) -> Window[Array] | None:
        """The next window whose codes are all there, or None. It goes on from what ``play`` was given last."""
        span = self._next_span()
        if span is None:
            return None
        start = self._asked
        stop, end = span
        window = Window(self._codes[: end - start], start, stop, self.settings.lookback, self._memory)
        self._codes, self._asked = self._codes[stop - start :], stop
        return window

    def _next_span(self) -> tuple[int, int] | None:
        """Frames (stop, end) of the next window."""
        start = self._asked
        stop, end = self.settings.chunk_end(start), self.settings.needed(start)
        if end > self._known:
            if not self._finished or start == self._known:
                return None
            stop = end = self._known
        return stop, end

    def play(self, window: Window[Array], decoded: Decoded[Array]) -> Array:
        """The samples to play of a decoded window, float32 (hop * frames,)."""
        audio: Any = decoded.audio
        self._memory = decoded.memory
        settled = window.settled * self._hop
        samples = join([audio[:settled]])  # a copy
        if self._tail is not None:
            fade = min(len(self._tail), len(samples))
            weight = (np.arange(fade, dtype=np.float32) + np.float32(0.5)) / np.float32(len(self._tail))
            samples[:fade] = self._tail[:fade] + (samples[:fade] - self._tail[:fade]) * like(weight, samples)
        tail = audio[settled : settled + self.settings.overlap * self._hop]
        self._tail = join([tail]) if len(tail) else None
        found: Array = samples
        return found


def join(parts: Sequence[Any]) -> Any:
    """Tensors or arrays one after the other, a copy."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(list(parts))


def like(array: np.ndarray, other: Any) -> Any:
    """An array, as a tensor if ``other`` is one."""
    if isinstance(other, np.ndarray):
        return array
    import torch

    return torch.from_numpy(array)


class StreamingDecoder:
    """Codes of one stream in, samples out as soon as they are sound.

    The decoder is not causal, so a chunk of new codes is decoded together with a few that follow, and joined to the
    sound before it by a short cross-fade. Frames before it are not decoded again: every layer remembers what it saw
    of them (``ContinuedFrames``), as those of Transformer-XL do (Dai et al. 2019). Any split of the same codes gives
    the same samples, and every code gives ``output_hop_length`` of them.

    Args:
        codec: decodes.
        settings: sizes of the windows.
    """

    def __init__(self, codec: StreamingCodec, settings: StreamSettings | None = None) -> None:
        self.codec = codec
        self.settings = settings or StreamSettings()
        self._stream: Stream[Tensor] = Stream(self.settings, codec.output_hop_length)

    def __enter__(self) -> StreamingDecoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next codes begin a new stream."""
        self._stream = Stream(self.settings, self.codec.output_hop_length)

    def push(self, codes: Codes | int) -> Tensor:
        """Add codes (frames,), or one code, and return the samples that are now sound, float32 (n,), perhaps none.

        Raises:
            CodesError: they are not codes of this codec; the stream goes on as if they had not come.
        """
        if isinstance(codes, int):
            codes = [codes]
        if not isinstance(codes, Sized) or len(codes):
            self._stream.push(self.codec.check_codes(codes))
        return self._play()

    def flush(self) -> Tensor:
        """End the stream and return the rest of its samples, float32 (n,). The next push begins a new stream."""
        self._stream.finish()
        samples = self._play()
        self.reset()
        return samples

    def _play(self) -> Tensor:
        import torch

        parts = [torch.empty(0)]
        while (window := self._stream.next_window()) is not None:
            (decoded,) = self.codec.decode_windows([window])
            parts.append(self._stream.play(window, decoded))
        return torch.cat(parts)
