"""A corpus, decoded once: every recording as 16-bit samples at one rate, one after the other in one file.

A folder of it holds ``speech.int16`` and ``clips.jsonl``, a line for each recording. Both only grow: packing can be
interrupted, and a corpus that has become longer is packed on from where it was.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neucodec_tts.audio.resampling import resample
from neucodec_tts.dataset.items import Item, Source, TooLong
from neucodec_tts.errors import AudioError, DatasetError

log = logging.getLogger(__name__)

_SAMPLES, _CLIPS, _ABOUT = "speech.int16", "clips.jsonl", "packed.json"


@dataclass(frozen=True)
class Clip:
    """One recording of the packed file."""

    id: str
    speaker: str
    start: int
    """Where it begins, in samples of the file."""
    samples: int
    bandwidth: float
    """Hz above which it holds nothing, because it was recorded at twice that rate."""
    gain: float = 1.0
    """What its samples were divided by to fit into 16 bits."""


class PackedSpeech:
    """The packed recordings of a folder, opened without reading them.

    Args:
        folder: made by ``pack``.

    Raises:
        DatasetError: it holds none, or is damaged.
    """

    def __init__(self, folder: Path) -> None:
        about = folder / _ABOUT
        if not about.is_file():
            raise DatasetError(f"{folder} holds no packed speech ({_ABOUT} is missing); pack a corpus into it first")
        self.folder = folder
        self.rate: int = json.loads(about.read_text("utf-8"))["rate"]
        """Of all recordings, Hz."""
        self.clips = [clip for _, clip in _read_clips(folder)]
        self._samples = (
            np.memmap(folder / _SAMPLES, np.int16, mode="r") if self.clips else np.zeros(0, np.int16)
        )
        if self.clips and self.clips[-1].start + self.clips[-1].samples > len(self._samples):
            raise DatasetError(f"{folder}: {_SAMPLES} is shorter than {_CLIPS} says; pack the corpus again")

    def part(self, wanted: Callable[[int], bool]) -> PackedSpeech:
        """The recordings whose number is wanted, of the same files."""
        part = copy(self)
        part.clips = [clip for number, clip in enumerate(self.clips) if wanted(number)]
        return part

    @property
    def seconds(self) -> float:
        """Of all recordings."""
        return sum(clip.samples for clip in self.clips) / self.rate

    def samples(self, clip: Clip, first: int = 0, count: int | None = None) -> np.ndarray:
        """Some samples of a recording, or all, float32 (count,)."""
        stop = clip.samples if count is None else min(first + count, clip.samples)
        pcm = self._samples[clip.start + first : clip.start + stop]
        return pcm.astype(np.float32) * np.float32(clip.gain / 32767)

    def waveform(self, clip: Clip) -> Tensor:
        """A whole recording, float32 (samples,)."""
        return torch.from_numpy(self.samples(clip))


def pack(
    sources: Iterable[Source],
    folder: Path,
    *,
    rate: int,
    least_rate: int | None = None,
    shortest: float = 0.2,
    longest: float = 60.0,
) -> PackedSpeech:
    """Decode corpora into a folder, or what of them is not there yet.

    Args:
        sources: what ``open_source`` finds.
        folder: to pack into; made if there is none.
        rate: to bring all recordings to, Hz.
        least_rate: recordings below are left out and named in the log; ``rate`` if None. A lower one keeps them,
            with their bandwidth noted.
        shortest: seconds; a shorter recording is left out.
        longest: seconds; a longer recording is left out.

    Returns:
        All that is packed.

    Raises:
        DatasetError: the folder holds speech at another rate, there is no speech in the sources, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = folder / _ABOUT
    if about.is_file():
        packed_rate = json.loads(about.read_text("utf-8"))["rate"]
        if packed_rate != rate:
            raise DatasetError(f"{folder} holds speech at {packed_rate} Hz, not {rate}; give another folder")
    try:
        rejected = _append(sources, folder, rate, rate if least_rate is None else least_rate, shortest, longest)
        if not about.is_file():
            about.write_text(json.dumps({"rate": rate}) + "\n", "utf-8")
    except OSError as problem:
        raise DatasetError(f"cannot pack speech into {folder}: {problem.strerror or problem}") from problem
    for reason, count in sorted(rejected.items()):
        log.warning("%d recordings left out: %s", count, reason)
    packed = PackedSpeech(folder)
    if not packed.clips:
        raise DatasetError(f"there is no speech in the corpus to train on: all {sum(rejected.values())} were left out")
    return packed


def _append(
    sources: Iterable[Source], folder: Path, rate: int, least_rate: int, shortest: float, longest: float
) -> Counter[str]:
    known: set[tuple[str, str]] = set()
    end = 0
    for source_name, clip in _read_clips(folder):
        known.add((source_name, clip.id))
        end = clip.start + clip.samples
    rejected: Counter[str] = Counter()
    with (folder / _SAMPLES).open("ab") as samples, (folder / _CLIPS).open("a", encoding="utf-8") as lines:
        samples.truncate(2 * end)  # what a kill left without a line
        for source in sources:
            for item, wave, original in _readings(source, known, longest, rejected):
                if original < least_rate:
                    log.warning("%s is left out: its rate is %d Hz", item.where, original)
                    rejected[f"recorded at less than {least_rate} Hz"] += 1
                    continue
                waveform = resample(torch.as_tensor(wave), original, rate).numpy()
                if len(waveform) < shortest * rate:
                    rejected[f"shorter than {shortest:g} s"] += 1
                    continue
                gain = max(1.0, float(np.abs(waveform).max()))
                samples.write(np.rint(waveform * (32767 / gain)).astype(np.int16).tobytes())
                samples.flush()
                clip = Clip(
                    item.id, item.speaker or "", end, len(waveform), min(original, rate) / 2, gain
                )
                lines.write(json.dumps({"source": source.name, **asdict(clip)}, ensure_ascii=False) + "\n")
                lines.flush()
                end += len(waveform)
    return rejected


def _readings(
    source: Source, known: set[tuple[str, str]], longest: float, rejected: Counter[str]
) -> Iterator[tuple[Item, np.ndarray, int]]:
    """What can be read of a source and is not known yet: item, samples (n,), rate."""
    for item in source.items():
        if (source.name, item.id) in known:
            continue
        if item.problem is not None:
            rejected[item.problem] += 1
            continue
        try:
            wave, rate = source.read(item, longest)
        except TooLong:
            rejected[f"longer than {longest:g} s"] += 1
            continue
        except AudioError as problem:
            log.warning("%s is left out: %s", item.where, problem)
            rejected["unreadable"] += 1
            continue
        if wave.ndim > 1:
            wave = wave.mean(axis=-1)
        if not math.isfinite(float(np.abs(wave).sum())):
            rejected["not finite"] += 1
            continue
        yield item, wave.astype(np.float32), rate


def _read_clips(folder: Path) -> Iterator[tuple[str, Clip]]:
    """The name of the source and the clip of each whole line; half a line at the end is taken away."""
    path = folder / _CLIPS
    if not path.exists():
        return
    text = path.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        os.truncate(path, len(whole.encode()))
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            values = json.loads(line)
            name = values.pop("source")
            yield name, Clip(**values)
        except (ValueError, KeyError, TypeError) as problem:
            raise DatasetError(f"{path}, line {number}: damaged ({problem}); pack the corpus again") from problem
