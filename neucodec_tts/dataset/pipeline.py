"""From items to shards: reading, encoding and writing, each at its own pace, with bounded queues between them.

One unit of work of the plan becomes one shard. Which items are encoded together follows from the plan and the audio
alone, so that whoever does a unit, here or elsewhere, now or after a crash, writes the same bytes.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from neucodec_tts.dataset.items import Item, Reject, Source
from neucodec_tts.dataset.manifest import ShardEntry
from neucodec_tts.dataset.plan import read_unit
from neucodec_tts.dataset.readers import Reader
from neucodec_tts.dataset.reading import Reading, ReadingRules
from neucodec_tts.dataset.settings import CodecInfo, PrepareSettings
from neucodec_tts.dataset.shards import Row, content_sum, hexadecimal, shard_bytes
from neucodec_tts.dataset.store import DatasetFolder
from neucodec_tts.dataset.tokens import TokenSettings, add_tokens

if TYPE_CHECKING:
    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.prompts.formats import PromptFormat


@dataclass(frozen=True)
class Job:
    """What there is to do, for whoever does it: small, and can be pickled. Made by `preparation.preparing`."""

    folder: DatasetFolder
    source: Source
    settings: PrepareSettings
    codec: CodecInfo
    units: int
    tokens: TokenSettings | None = None

    @property
    def rules(self) -> ReadingRules:
        """Which items are wanted."""
        settings = self.settings
        return ReadingRules(
            settings.min_seconds,
            settings.max_seconds,
            settings.text_rule or "any",
            self.codec.sample_rate,
            self.codec.hop_length,
        )

    @property
    def about(self) -> dict[str, object]:
        """What each shard says of itself."""
        return {
            "codec_id": self.codec.codec_id,
            "codebook_size": self.codec.codebook_size,
            "frame_rate": self.codec.frame_rate,
            "tokens": self.tokens.digest if self.tokens is not None else None,
        }


@dataclass(frozen=True)
class FinishedUnit:
    """A shard that is written, and what was left out of it. Its record in the work folder is what makes it finished."""

    unit: int
    shard: ShardEntry
    rejects: tuple[Reject, ...]

    def to_dict(self) -> dict[str, object]:
        """JSON values."""
        return asdict(self)


@dataclass
class Progress:
    """How far a run is, and where its time goes."""

    items_total: int = 0
    items_done: int = 0
    """Looked at in this run or an earlier one."""
    items_before: int = 0
    """Of these, in an earlier one."""
    kept: int = 0
    audio_seconds: float = 0.0
    """Encoded in this run."""
    rejects: Counter[str] = field(default_factory=Counter)
    encoded_frames: int = 0
    padded_frames: int = 0
    """Frames of all batches, padding included."""
    started: float = field(default_factory=time.perf_counter)
    read_seconds: float = 0.0
    """Over all reader processes."""
    encode_seconds: float = 0.0
    write_seconds: float = 0.0
    """Tokens included."""
    reader_waits: float = 0.0
    """Seconds in which reading stood still, because enough had been read."""
    encoder_waits: float = 0.0
    """Seconds in which nothing could be encoded, because nothing had been read."""
    writer_waits: float = 0.0
    """Seconds in which there was nothing to write."""

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.perf_counter() - self.started

    @property
    def padding(self) -> float:
        """Share of padding among all encoded frames."""
        return 1 - self.encoded_frames / self.padded_frames if self.padded_frames else 0.0

    @property
    def remaining_seconds(self) -> float | None:
        """Estimate of what is left; None before anything is done."""
        done = self.items_done - self.items_before
        return self.seconds / done * (self.items_total - self.items_done) if done else None


def run_units(
    job: Job,
    units: Sequence[int],
    codec: NeuCodec,
    reader: Reader,
    progress: Progress | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[FinishedUnit]:
    """Do units of work: read, encode, and write the shard and the record of each.

    Reading goes on while a batch is encoded and while a shard is written. Memory holds audio of at most two windows
    (`PrepareSettings.window_seconds`), a batch inside the codec, and the codes of up to three shards.

    Args:
        job: what there is to do.
        units: which units, in the order in which they are done.
        codec: the one that the job names.
        reader: whose processes read.
        progress: is kept up to date.
        on_progress: is called with it whenever something has been done.

    Yields:
        Each unit when it is on disk.

    Raises:
        DatasetError: the disk is full, or a reader process died. What is finished stays finished.
        DeviceError: there is too little memory for a batch.
    """
    progress = Progress() if progress is None else progress
    stopped = threading.Event()
    buffer = _Buffer(job.settings.window_seconds * job.codec.sample_rate)
    feeder = threading.Thread(
        target=_feed, args=(job, units, reader, buffer, progress, stopped), name="reading", daemon=True
    )
    writer = _Writer(job, progress)
    feeder.start()
    try:
        for unit in units:
            building = _UnitBuilder(job, unit, codec, progress)
            for reading in buffer.take_unit(progress):
                building.add(reading)
                on_progress(progress)
            writer.put(building.finish())
            on_progress(progress)
            yield from writer.finished()
        yield from writer.close()
    finally:
        stopped.set()
        buffer.close()
        writer.abandon()
        feeder.join()


class _Buffer:
    """Readings between the reader and the encoder, up to so many samples; a None ends a unit."""

    def __init__(self, capacity: float) -> None:
        self._capacity = capacity
        self._held = 0
        self._queue: deque[Reading | BaseException | None] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, entry: Reading | BaseException | None, progress: Progress) -> bool:
        """Add an entry, as soon as there is room; False if nobody wants it any more."""
        size = entry.waveform.size if isinstance(entry, Reading) and entry.waveform is not None else 0
        with self._changed:
            start = time.perf_counter()
            while self._held and self._held + size > self._capacity and not self._closed:
                self._changed.wait()
            progress.reader_waits += time.perf_counter() - start
            self._held += size
            self._queue.append(entry)
            self._changed.notify_all()
            return not self._closed

    def take_unit(self, progress: Progress) -> Iterator[Reading]:
        """What was read of one unit, as it comes."""
        while True:
            with self._changed:
                start = time.perf_counter()
                while not self._queue:
                    self._changed.wait()
                progress.encoder_waits += time.perf_counter() - start
                entry = self._queue.popleft()
                if isinstance(entry, Reading) and entry.waveform is not None:
                    self._held -= entry.waveform.size
                self._changed.notify_all()
            if entry is None:
                return
            if isinstance(entry, BaseException):
                raise entry
            yield entry

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _feed(
    job: Job,
    units: Sequence[int],
    reader: Reader,
    buffer: _Buffer,
    progress: Progress,
    stopped: threading.Event,
) -> None:
    """What the reading thread does: all units one after the other, without a pause between them."""
    sizes: deque[int] = deque()

    def items() -> Iterator[Item]:
        for unit in units:
            listed = read_unit(job.folder.sources, unit)
            sizes.append(len(listed))
            yield from listed

    try:
        count = 0
        for reading in reader.read(job.source, job.rules, items()):
            progress.read_seconds = reader.seconds
            if stopped.is_set() or not buffer.put(reading, progress):
                return
            count += 1
            if count == sizes[0]:
                buffer.put(None, progress)
                sizes.popleft()
                count = 0
    except BaseException as problem:
        buffer.put(problem, progress)


class _UnitBuilder:
    """Gathers what was read of one unit and encodes it, a window of consecutive audio at a time."""

    def __init__(self, job: Job, unit: int, codec: NeuCodec, progress: Progress) -> None:
        self._job = job
        self._unit = unit
        self._codec = codec
        self._progress = progress
        self._window: list[tuple[Item, np.ndarray]] = []
        self._held = 0
        self._rows: list[Row] = []
        self._rejects: list[Reject] = []

    def add(self, reading: Reading) -> None:
        """Take one item's audio, or note why there is none."""
        self._progress.items_done += 1
        if reading.waveform is None:
            item, reason = reading.item, reading.reason or "unreadable"
            self._rejects.append(Reject(item.id, item.where, reason, reading.detail))
            self._progress.rejects[reason] += 1
            return
        self._window.append((reading.item, reading.waveform))
        self._held += reading.waveform.size
        if self._held >= self._job.settings.window_seconds * self._job.codec.sample_rate:
            self._encode()

    def finish(self) -> tuple[int, list[Row], list[Reject]]:
        """The unit's number, its rows in the order of the corpus, and what was left out."""
        self._encode()
        return self._unit, self._rows, self._rejects

    def _encode(self) -> None:
        if not self._window:
            return
        start = time.perf_counter()
        codes = encode_window(
            self._codec,
            [waveform for _, waveform in self._window],
            self._job.settings.batch_seconds or 60.0,
            self._progress,
        )
        rate = self._job.codec.sample_rate
        for (item, waveform), sequence in zip(self._window, codes, strict=True):
            seconds = waveform.size / rate
            self._rows.append(Row(item.id, item.text, sequence, seconds, item.speaker))
            self._progress.kept += 1
            self._progress.audio_seconds += seconds
        self._window.clear()
        self._held = 0
        self._progress.encode_seconds += time.perf_counter() - start


def encode_window(
    codec: NeuCodec, waveforms: Sequence[np.ndarray], batch_seconds: float, progress: Progress
) -> list[np.ndarray]:
    """Encode waveforms (samples,) at the codec's rate in batches of like length; returns uint16 (frames,) for each."""
    from neucodec_tts.codec.batching import plan_batches

    lengths = [waveform.size for waveform in waveforms]
    results: list[np.ndarray] = [np.zeros(0, np.uint16)] * len(waveforms)
    for batch in plan_batches(lengths, int(batch_seconds * codec.sample_rate)):
        encoded = codec.encode(
            [waveforms[index] for index in batch], codec.sample_rate, max_batch_seconds=batch_seconds
        )
        for index, codes in zip(batch, encoded, strict=True):
            results[index] = codes.numpy().astype(np.uint16)
        longest = max(lengths[index] for index in batch)
        progress.encoded_frames += sum(lengths[index] for index in batch) // codec.hop_length
        progress.padded_frames += longest * len(batch) // codec.hop_length
    return results


class _Writer:
    """A thread that writes units; one may wait while another is written."""

    def __init__(self, job: Job, progress: Progress) -> None:
        self._job = job
        self._progress = progress
        self._waiting: deque[tuple[int, list[Row], list[Reject]]] = deque()
        self._done: deque[FinishedUnit] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="writing", daemon=True)
        self._thread.start()

    def put(self, unit: tuple[int, list[Row], list[Reject]]) -> None:
        """Give it a unit, as soon as none is waiting."""
        with self._changed:
            while self._waiting and self._problem is None:
                self._changed.wait()
            self._check()
            self._waiting.append(unit)
            self._changed.notify_all()

    def finished(self) -> Iterator[FinishedUnit]:
        """Those that were written meanwhile."""
        with self._changed:
            self._check()
            done, self._done = self._done, deque()
        yield from done

    def close(self) -> Iterator[FinishedUnit]:
        """Wait for all to be written; the rest of those that were."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        yield from self.finished()

    def abandon(self) -> None:
        """Write nothing further than what is being written."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join()

    def _check(self) -> None:
        if self._problem is not None:
            raise self._problem

    def _work(self) -> None:
        prompt_format: PromptFormat | None = None
        try:
            if self._job.tokens is not None:
                prompt_format = self._job.tokens.make_format()
            while True:
                with self._changed:
                    start = time.perf_counter()
                    while not self._waiting and not self._closed:
                        self._changed.wait()
                    self._progress.writer_waits += time.perf_counter() - start
                    if not self._waiting:
                        return
                    unit, rows, rejects = self._waiting.popleft()
                    self._changed.notify_all()
                start = time.perf_counter()
                finished = write_unit(self._job, unit, rows, rejects, prompt_format)
                self._progress.write_seconds += time.perf_counter() - start
                with self._changed:
                    self._done.append(finished)
        except BaseException as problem:
            with self._changed:
                self._problem = problem
                self._changed.notify_all()


def write_unit(
    job: Job, unit: int, rows: Sequence[Row], rejects: Sequence[Reject], prompt_format: PromptFormat | None
) -> FinishedUnit:
    """Write the shard of a unit, and then its record, which makes it finished.

    Raises:
        DatasetError: it cannot be written.
    """
    untokenized: int | None = None
    if prompt_format is not None:
        rows, untokenized = add_tokens(rows, prompt_format)
    content = shard_bytes(rows, prompt_format is not None, job.about)
    name = job.folder.shard_name(unit, job.units)
    sha256 = job.folder.write(job.folder.path / name, content)
    frames = sum(row.codes.size for row in rows)
    seconds = sum(row.duration for row in rows)
    checksum = hexadecimal(content_sum(rows))
    entry = ShardEntry(name, len(content), sha256, len(rows), frames, seconds, checksum, untokenized)
    finished = FinishedUnit(unit, entry, tuple(rejects))
    job.folder.write_json(job.folder.record(unit), finished.to_dict())
    return finished
