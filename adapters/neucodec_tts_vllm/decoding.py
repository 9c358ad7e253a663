"""Decode the codes of all running requests by one scheduler, in a thread of its own.

The event loop hands codes over and takes samples; it never computes and never waits. All that is ready when the thread
comes round is one batch, so batches grow with the load by themselves.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from neucodec_tts.codec.cuda_graphs import FixedShapeDecoder
from neucodec_tts.codec.devices import share_of
from neucodec_tts.codec.scheduling import DecodeScheduler
from neucodec_tts.codec.streaming import Decoded, StreamSettings, Window
from neucodec_tts.errors import CodesError, EngineError
from neucodec_tts_vllm.decode_stream import DecodeStream, deliver

if TYPE_CHECKING:
    from neucodec_tts import NeuCodec

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_AHEAD_SECONDS = 10.0
_BATCH_FRAMES = {"cpu": 512, "gpu": 4096}
"""Largest padded size of a batch. On a CPU larger ones are no faster, and a first chunk may have to wait for one."""
_GPU_LENGTHS = (8, 4, 2, 1)
"""Windows are padded to the longest one divided by these, since a GPU's graphs have fixed shapes."""


@dataclass(frozen=True)
class DecodedBatch:
    """Figures about one batch.

    Attributes:
        streams: windows in it.
        seconds: that it took.
        waiting: streams that were ready and did not fit.
    """

    streams: int
    seconds: float
    waiting: int


class DecodeWorker:
    """Decodes many streams for one event loop.

    Args:
        codec: decodes; on a GPU in shapes recorded beforehand, see `warm_up`.
        settings: of every stream.
        max_batch_frames: largest padded size of one batch; by default what suits the device.
        ahead_seconds: a stream whose listener has not taken so much sound yet is not decoded any further; what waits
            then is codes, which are small.
        on_batch: called with the figures of each batch, in the thread.
        cores: of this machine that the thread computes on, where the codec is on the CPU; all by default.
    """

    def __init__(
        self,
        codec: NeuCodec,
        settings: StreamSettings | None = None,
        *,
        max_batch_frames: int | None = None,
        ahead_seconds: float = _AHEAD_SECONDS,
        on_batch: Callable[[DecodedBatch], None] | None = None,
        cores: Sequence[int] | None = None,
    ) -> None:
        self.codec = codec
        self.settings = settings or StreamSettings()
        self._fixed: FixedShapeDecoder | None = None
        if codec.device.type == "cuda":
            window = self.settings.chunk + self.settings.lookahead
            lengths = [-(-window // part) for part in _GPU_LENGTHS]
            self._fixed = FixedShapeDecoder(codec, lengths, self.settings.lookback)
        self._batch_frames = max_batch_frames or share_of(_BATCH_FRAMES, codec.device)
        self._scheduler = DecodeScheduler(
            codec,
            self.settings,
            max_batch_frames=self._batch_frames,
            max_padding=0.2 if self._fixed is None else 0.5,
            decode=self._decode,
            on_failure=self._fail,
        )
        self._ahead_samples = int(ahead_seconds * codec.output_sample_rate)
        self._on_batch = on_batch
        self._cores = cores
        self._streams: dict[int, DecodeStream] = {}
        self._numbers = itertools.count()
        # Between the loop and the thread: the work to do next. The thread alone touches the scheduler.
        self._changed = threading.Condition()
        self._commands: deque[Callable[[], None]] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._wholes: deque[tuple[Tensor, Future[Tensor]]] = deque()
        self._closed = False
        self._batch = 0
        self._thread = threading.Thread(target=self._work, name="speech-decode", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Number of streams that are open."""
        return len(self._streams)

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    async def warm_up(self) -> None:
        """Decode something in each shape that will be used, so that the first listener does not wait for it."""
        if self._fixed is not None:
            await self.call(self._fixed.warm_up)
        else:
            first = torch.zeros(self.settings.needed(0), dtype=torch.long)
            window = Window(first, 0, self.settings.chunk_end(0), self.settings.lookback, None)
            await self.call(lambda: self.codec.decode_windows([window]))

    def open(self, settings: StreamSettings | None = None) -> DecodeStream:
        """Begin a stream; call it in the event loop that will take its samples.

        Args:
            settings: if they are not those of every stream.

        Raises:
            EngineError: the worker has been closed.
        """
        if self._closed:
            raise EngineError("the decoder has been closed")
        stream = DecodeStream(
            next(self._numbers),
            settings or self.settings,
            self.codec.output_hop_length,
            asyncio.get_running_loop(),
            lambda stream: self._command(lambda: self._feed(stream)),
            self._forget,
        )
        self._streams[stream.number] = stream
        if settings is not None:
            self._command(lambda: self._scheduler.begin(stream.number, settings))
        return stream

    async def decode(self, codes: Sequence[int]) -> Tensor:
        """Decode a whole sentence, (frames,) to float32 (480 * frames,), together with others that wait.

        Raises:
            CodesError: something among them is no code.
            EngineError: the codec failed.
        """
        return await self._queued(self._wholes, self.codec.check_codes(codes))

    async def call(self, function: Callable[[], Result]) -> Result:
        """Run a function in the thread, between two batches: all work on the codec's device is done there."""
        return await self._queued(self._calls, function)

    def close(self) -> None:
        """End the thread. Open streams and calls that wait end with an error."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        problem = EngineError("the decoder has been closed")
        for stream in list(self._streams.values()):
            _soon(stream.loop, stream._end, problem)
        for _, future in (*self._calls, *self._wholes):
            if future.set_running_or_notify_cancel():
                future.set_exception(problem)

    async def _queued(self, work: deque[tuple[Any, Future[Any]]], item: Any) -> Any:
        """Give the thread something to do, and wait for its result."""
        future: Future[Any] = Future()
        with self._changed:
            if self._closed:
                raise EngineError("the decoder has been closed")
            work.append((item, future))
            self._changed.notify()
        return await asyncio.wrap_future(future)

    def _forget(self, stream: DecodeStream) -> None:
        self._streams.pop(stream.number, None)
        self._command(lambda: self._scheduler.drop(stream.number))

    # The thread

    def _command(self, command: Callable[[], None]) -> None:
        with self._changed:
            self._commands.append(command)
            self._changed.notify()

    def _work(self) -> None:
        if self._cores:
            stay_on(self._cores)
        while True:
            with self._changed:
                while not (
                    self._commands or self._calls or self._wholes or self._closed or self._scheduler.ready
                ):
                    self._changed.wait()
                if self._closed:
                    return
                commands = list(self._commands)
                self._commands.clear()
                # One at a time, so that first chunks never wait for more; taken here, so that what was asked for
                # before it is done before it.
                call = self._calls.popleft() if self._calls else None
                wholes = self._next_wholes()
            try:
                for command in commands:
                    command()
                self._step()
            except Exception as error:  # nobody must wait for ever for a thread that is gone
                self._give_up(error)
            if call is not None and call[1].set_running_or_notify_cancel():
                try:
                    call[1].set_result(call[0]())
                except Exception as error:
                    call[1].set_exception(error)
            self._decode_wholes(wholes)

    def _next_wholes(self) -> list[tuple[Tensor, Future[Tensor]]]:
        """Take sentences to decode as a whole, few enough for streams not to wait for long."""
        batch: list[tuple[Tensor, Future[Tensor]]] = []
        frames = 0
        while self._wholes:
            frames += self._wholes[0][0].numel()
            if batch and frames > self._batch_frames:
                break
            batch.append(self._wholes.popleft())
        return [item for item in batch if item[1].set_running_or_notify_cancel()]

    def _decode_wholes(self, batch: list[tuple[Tensor, Future[Tensor]]]) -> None:
        if not batch:
            return
        try:
            decoded = self.codec.decode([codes for codes, _ in batch])
        except Exception as error:
            if len(batch) > 1:  # find out whose it is
                for item in batch:
                    self._decode_wholes([item])
                return
            logger.error("a sentence could not be decoded: %s", error, exc_info=error)
            batch[0][1].set_exception(EngineError(f"the codec failed: {error}"))
            return
        for (_, future), samples in zip(batch, decoded, strict=True):
            future.set_result(samples)

    def _step(self) -> None:
        self._batch = 0
        start = time.perf_counter()
        decoded = self._scheduler.step()
        seconds = time.perf_counter() - start
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[DecodeStream, Tensor]]] = {}
        for name, samples in decoded.items():
            stream = self._streams.get(_number(name))
            if stream is not None:
                stream._fed -= samples.numel() // self.codec.output_hop_length
                by_loop.setdefault(stream.loop, []).append((stream, samples))
        for loop, parts in by_loop.items():
            _soon(loop, deliver, parts)
        if self._batch and self._on_batch is not None:
            self._on_batch(DecodedBatch(self._batch, seconds, self._scheduler.ready))

    def _decode(self, windows: list[Window]) -> list[Decoded]:
        self._batch = max(self._batch, len(windows))
        return (self._fixed or self.codec.decode_windows)(windows)

    def _fail(self, name: Hashable, error: Exception) -> None:
        logger.error("a stream could not be decoded and was ended: %s", error, exc_info=error)
        stream = self._streams.get(_number(name))
        if stream is not None:
            problem = EngineError(f"the codec failed: {str(error) or type(error).__name__}")
            _soon(stream.loop, stream._end, problem)

    def _give_up(self, error: Exception) -> None:
        logger.exception("decoding failed; all %d streams are ended", len(self._streams))
        for stream in list(self._streams.values()):
            self._scheduler.drop(stream.number)
            _soon(stream.loop, stream._end, EngineError(f"decoding failed: {error}"))

    def _feed(self, stream: DecodeStream) -> None:
        """Give the scheduler the codes that a stream may decode now; in the thread."""
        if stream.number not in self._streams:
            self._scheduler.drop(stream.number)
            return
        # A chunk beyond what can be decoded is enough to keep it busy until its listener takes more.
        enough = 2 * stream.settings.chunk + stream.settings.lookahead
        codes: list[int] = []
        while (
            stream._codes
            and stream._fed + len(codes) < enough
            and stream._waiting_samples < self._ahead_samples
        ):
            try:
                codes += stream._codes.popleft()
            except IndexError:  # closed this very moment
                return
        try:
            self._scheduler.push(stream.number, codes)
        except CodesError as error:
            self._scheduler.drop(stream.number)
            _soon(stream.loop, stream._end, error)
            return
        stream._fed += len(codes)
        if stream._finished and not stream._codes and not stream._told:
            stream._told = True
            self._scheduler.finish(stream.number)


def _soon(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in an event loop, if that has not ended."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        logger.debug("the event loop has ended before its samples came")


def stay_on(cores: Sequence[int]) -> None:
    """Let the calling thread compute on these cores only, where the system allows it."""
    try:
        os.sched_setaffinity(0, cores)  # of a thread, whatever its name says
    except (AttributeError, OSError, ValueError) as error:
        logger.warning("the codec cannot be kept to the cores %s: %s", list(cores), error)
    torch.set_num_threads(len(cores))


def _number(name: Hashable) -> int:
    assert isinstance(name, int)
    return name
