"""Units of work: each is read, encoded and written, and becomes a shard.

Reading, encoding and writing go on at the same time, each at its own pace, with bounded room between them. The items
that are encoded together follow from the listing and the audio alone, so that whoever does a unit, here or elsewhere,
now or after a crash, writes the same bytes.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from neucodec_tts.dataset.folder import DatasetFolder
from neucodec_tts.dataset.item_audio import ItemAudio
from neucodec_tts.dataset.items import Item, Reject, Source
from neucodec_tts.dataset.listing import read_unit
from neucodec_tts.dataset.manifest import ShardEntry
from neucodec_tts.dataset.places import forget_listings, is_dir, list_folder, look_once, read_bytes
from neucodec_tts.dataset.progress import Progress
from neucodec_tts.dataset.reader_pool import ReaderPool
from neucodec_tts.dataset.settings import CodecInfo, PrepareSettings
from neucodec_tts.dataset.shards import Row, content_sum, hexadecimal, shard_bytes
from neucodec_tts.dataset.tokens import TokenSettings, add_tokens
from neucodec_tts.run_ahead import RunAhead

if TYPE_CHECKING:
    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.prompts.formats import PromptFormat

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """All that doing a unit takes, besides the codec: small, and can be pickled. Made by `preparation.preparing`."""

    folder: DatasetFolder
    source: Source
    settings: PrepareSettings
    codec: CodecInfo
    units: int
    """The number of all units."""
    tokens: TokenSettings | None = None
    split_seconds: float | None = None
    """Greatest length of the pieces that recordings are cut into; None if they stay whole."""

    @property
    def about(self) -> dict[str, object]:
        """The metadata of each shard."""
        about: dict[str, object] = {
            "codec_id": self.codec.codec_id,
            "codebook_size": self.codec.codebook_size,
            "frame_rate": self.codec.frame_rate,
            "tokens": self.tokens.digest if self.tokens is not None else None,
        }
        return about if self.split_seconds is None else {**about, "split_seconds": self.split_seconds}

    @property
    def window_samples(self) -> float:
        """Samples of consecutive audio that batches are chosen from."""
        return self.settings.window_seconds * self.codec.sample_rate


@dataclass(frozen=True)
class FinishedUnit:
    """A shard that is written, and what was left out of it. Its record in the work folder is what makes it finished."""

    unit: int
    shard: ShardEntry
    rejects: tuple[Reject, ...]


def run_units(
    recipe: Recipe,
    units: Sequence[int],
    codec: NeuCodec,
    readers: ReaderPool,
    progress: Progress | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[FinishedUnit]:
    """Do units of work: read, encode, and write the shard and the record of each.

    Reading goes on while a batch is encoded and while a shard is written. Memory holds audio of about two windows
    (`PrepareSettings.window_seconds`), a batch inside the codec, and the codes of up to three shards.

    Args:
        recipe: the data set.
        units: numbers of the units, in the order in which they are done.
        codec: the one that the recipe names.
        readers: read the items.
        progress: is kept up to date.
        on_progress: is called with it whenever something has been done.

    Yields:
        Each unit when it is on disk.

    Raises:
        DatasetError: the disk is full, or a reader process died. Finished units stay finished.
        DeviceError: there is too little memory for a batch.
    """
    progress = Progress() if progress is None else progress
    ahead = RunAhead(_read(recipe, units, readers, progress), _samples, recipe.window_samples)
    writer = _Writer(recipe, progress)
    thread = ThreadPoolExecutor(1, "writing")
    writing: deque[Future[FinishedUnit]] = deque()
    try:
        for unit in units:
            rows, rejects = _encode_unit(recipe, ahead, codec, progress, on_progress)
            while len(writing) > 1 or (writing and writing[0].done()):
                yield writing.popleft().result()
            writing.append(thread.submit(writer.write, unit, rows, rejects))
            on_progress(progress)
        while writing:
            yield writing.popleft().result()
    finally:
        ahead.close()
        thread.shutdown(wait=True, cancel_futures=True)


def read_records(folder: DatasetFolder, units: int) -> Iterator[FinishedUnit | None]:
    """Yield the records of all units in their order; None for one that is not finished.

    A unit whose shard is not there as it was written is not finished either.

    Raises:
        StorageError: the object store that they lie in cannot be reached.
    """
    forget_listings()
    names = {*list_folder(folder.records)} if is_dir(folder.records) else set[str]()
    for unit in range(units):
        yield _read_record(folder, unit) if folder.record(unit).name in names else None


def _read_record(folder: DatasetFolder, unit: int) -> FinishedUnit | None:
    try:
        values = json.loads(read_bytes(folder.record(unit)))
        rejects = tuple(Reject(**reject) for reject in values["rejects"])
        finished = FinishedUnit(values["unit"], ShardEntry(**values["shard"]), rejects)
        shard = look_once(folder.path / finished.shard.file)
        return finished if shard is not None and shard.size == finished.shard.bytes else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        logger.warning("the record of shard %d is damaged (%s); the shard is made again", unit, problem)
        return None


def _read(
    recipe: Recipe, units: Sequence[int], readers: ReaderPool, progress: Progress
) -> Iterator[ItemAudio | None]:
    """Read units one after the other, without a pause between them; a None ends each."""
    sizes: deque[int] = deque()

    def items() -> Iterator[Item]:
        for unit in units:
            listed = read_unit(recipe.folder.sources, unit)
            sizes.append(len(listed))
            yield from listed

    count = 0
    for audio in readers.read(recipe.source, recipe.settings, recipe.codec, items()):
        progress.read_seconds = readers.seconds
        handed = time.perf_counter()
        yield audio
        progress.reader_waits += time.perf_counter() - handed
        count += 1
        if count == sizes[0]:
            yield None
            sizes.popleft()
            count = 0


def _samples(audio: ItemAudio | None) -> int:
    return 0 if audio is None or audio.waveform is None else audio.waveform.size


def _encode_unit(
    recipe: Recipe,
    ahead: Iterator[ItemAudio | None],
    codec: NeuCodec,
    progress: Progress,
    on_progress: Callable[[Progress], None],
) -> tuple[list[Row], list[Reject]]:
    """Take the items of one unit as they come, and encode them, a window of consecutive audio at a time."""
    rows: list[Row] = []
    rejects: list[Reject] = []
    window: list[ItemAudio] = []
    held = 0
    while True:
        start = time.perf_counter()
        audio = next(ahead)
        progress.encoder_waits += time.perf_counter() - start
        if audio is None or held >= recipe.window_samples:
            rows += _encode_window(recipe, window, codec, progress)
            window, held = [], 0
        if audio is None:
            return rows, rejects
        progress.items_done += 1
        if audio.waveform is None:
            rejects.append(Reject(audio.item.id, audio.item.where, audio.reason, audio.detail))
            progress.rejects[audio.reason] += 1
        else:
            window.append(audio)
            held += audio.waveform.size
        on_progress(progress)


def _encode_window(
    recipe: Recipe, window: Sequence[ItemAudio], codec: NeuCodec, progress: Progress
) -> list[Row]:
    """Encode a window in batches of like length; rows in the order of the window."""
    from neucodec_tts.codec.batching import plan_batches

    start = time.perf_counter()
    batch_seconds = recipe.settings.batch_seconds or 60.0
    waveforms = [audio.waveform for audio in window if audio.waveform is not None]
    lengths = [waveform.size for waveform in waveforms]
    rows: dict[int, Row] = {}
    for batch in plan_batches(lengths, int(batch_seconds * codec.input_sample_rate)):
        encoded = codec.encode(
            [waveforms[index] for index in batch], codec.input_sample_rate, max_batch_seconds=batch_seconds
        )
        for index, codes in zip(batch, encoded, strict=True):
            item, seconds = window[index].item, lengths[index] / codec.input_sample_rate
            rows[index] = Row(
                item.id,
                item.text,
                codes.numpy().astype(np.uint16),
                seconds,
                item.speaker,
                start=item.start,
                end=item.end,
            )
            progress.audio_seconds += seconds
        progress.encoded_frames += sum(lengths[index] for index in batch) // codec.input_hop_length
        progress.padded_frames += (
            max(lengths[index] for index in batch) * len(batch) // codec.input_hop_length
        )
    progress.kept += len(rows)
    progress.encode_seconds += time.perf_counter() - start
    return [rows[index] for index in range(len(window))]


class _Writer:
    """Writes units, in a thread of its own."""

    def __init__(self, recipe: Recipe, progress: Progress) -> None:
        self._recipe = recipe
        self._progress = progress
        self._prompt_format: PromptFormat | None = None
        self._idle_since = time.perf_counter()

    def write(self, unit: int, rows: Sequence[Row], rejects: Sequence[Reject]) -> FinishedUnit:
        """Write the shard of a unit, and then its record, which makes it finished.

        Raises:
            DatasetError: it cannot be written.
        """
        start = time.perf_counter()
        self._progress.writer_waits += start - self._idle_since
        recipe, untokenized = self._recipe, None
        if recipe.tokens is not None:
            self._prompt_format = self._prompt_format or recipe.tokens.make_format()
            rows, untokenized = add_tokens(rows, self._prompt_format)
        content = shard_bytes(rows, recipe.tokens is not None, recipe.about)
        name = recipe.folder.shard_name(unit, recipe.units)
        shard = ShardEntry(
            file=name,
            bytes=len(content),
            sha256=recipe.folder.write(recipe.folder.path / name, content),
            rows=len(rows),
            frames=sum(row.codes.size for row in rows),
            seconds=sum(row.duration for row in rows),
            content=hexadecimal(content_sum(rows)),
            untokenized=untokenized,
        )
        finished = FinishedUnit(unit, shard, tuple(rejects))
        recipe.folder.write_json(recipe.folder.record(unit), asdict(finished))
        self._idle_since = time.perf_counter()
        self._progress.write_seconds += self._idle_since - start
        return finished
