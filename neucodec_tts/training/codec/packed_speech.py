"""A corpus, decoded once: every recording as 16-bit samples at one rate, one after the other in one file.

A folder of it holds ``speech.int16`` and ``clips.jsonl``, a line for each recording. Both only grow: packing can be
interrupted, and a corpus that has become longer is packed on from where it was.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neucodec_tts.audio.resampling import resample
from neucodec_tts.errors import AudioError, DatasetError

log = logging.getLogger(__name__)

_SAMPLES, _CLIPS, _ABOUT = "speech.int16", "clips.jsonl", "packed.json"


@dataclass(frozen=True)
class Clip:
    """One recording of the packed file."""

    id: str
    speaker: str
    start: int
    """Its first sample in the file."""
    samples: int
    bandwidth: float
    """Hz above which it holds nothing, because it was recorded at twice that rate."""
    gain: float = 1.0
    """The factor that its samples were divided by to fit into 16 bits."""


@dataclass(frozen=True)
class Recording:
    """One recording of a corpus, before anybody has looked at its audio."""

    id: str
    """Unique in its corpus."""
    speaker: str
    where: str
    """For people: a path, a member of a tar ..."""
    read: Callable[[], tuple[np.ndarray, int]]
    """Its samples (n,) or (n, channels) and their rate in Hz; raises ``AudioError`` where it cannot be used."""


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
            raise DatasetError(
                f"{folder} holds no packed speech ({_ABOUT} is missing); pack a corpus into it first"
            )
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

    def all_clips(self) -> list[Clip]:
        """Those of the whole folder, if this is a part of it."""
        return [clip for _, clip in _read_clips(self.folder)]

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
    corpora: Mapping[str, Iterable[Recording]],
    folder: Path,
    *,
    rate: int,
    least_rate: int | None = None,
    shortest: float = 0.2,
    longest: float = 60.0,
) -> PackedSpeech:
    """Decode corpora into a folder, or what of them is not there yet.

    Args:
        corpora: the recordings of each by its name.
        folder: to pack into; made if there is none.
        rate: to bring all recordings to, Hz.
        least_rate: recordings below are left out and named in the log; ``rate`` if None. A lower one keeps them,
            with their bandwidth noted.
        shortest: seconds; a shorter recording is left out.
        longest: seconds; a longer recording is left out.

    Returns:
        All that is packed.

    Raises:
        DatasetError: the folder holds speech at another rate, there is no speech in the corpora, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = folder / _ABOUT
    if about.is_file():
        packed_rate = json.loads(about.read_text("utf-8"))["rate"]
        if packed_rate != rate:
            raise DatasetError(f"{folder} holds speech at {packed_rate} Hz, not {rate}; give another folder")
    try:
        rejected = _append(
            corpora, folder, rate, rate if least_rate is None else least_rate, shortest, longest
        )
        if not about.is_file():
            about.write_text(json.dumps({"rate": rate}) + "\n", "utf-8")
    except OSError as problem:
        raise DatasetError(f"cannot pack speech into {folder}: {problem.strerror or problem}") from problem
    for reason, count in sorted(rejected.items()):
        log.warning("%d recordings left out: %s", count, reason)
    packed = PackedSpeech(folder)
    if not packed.clips:
        raise DatasetError(
            f"there is no speech in the corpus to train on: all {sum(rejected.values())} were left out"
        )
    return packed


def _append(
    corpora: Mapping[str, Iterable[Recording]],
    folder: Path,
    rate: int,
    least_rate: int,
    shortest: float,
    longest: float,
) -> Counter[str]:
    """Pack what is not there yet. Returns how many recordings were left out, by reason."""
    known: set[tuple[str, str]] = set()
    end = 0
    for corpus, clip in _read_clips(folder):
        known.add((corpus, clip.id))
        end = clip.start + clip.samples
    rejected: Counter[str] = Counter()
    with (folder / _SAMPLES).open("ab") as samples, (folder / _CLIPS).open("a", encoding="utf-8") as lines:
        samples.truncate(2 * end)  # what a kill left without a line
        for corpus, recordings in corpora.items():
            for recording in recordings:
                if (corpus, recording.id) in known:
                    continue
                try:
                    wave, original = recording.read()
                    seconds = len(wave) / original
                    if original < least_rate:
                        raise _LeftOut(f"recorded at less than {least_rate} Hz", f"its rate is {original} Hz")
                    if not shortest <= seconds <= longest:
                        raise _LeftOut(
                            f"not {shortest:g} to {longest:g} s long", f"it is {seconds:.2f} s long"
                        )
                except _LeftOut as problem:
                    log.warning("%s is left out: %s", recording.where, problem)
                    rejected[problem.reason] += 1
                    continue
                except AudioError as problem:
                    log.warning("%s is left out: %s", recording.where, problem)
                    rejected["unreadable"] += 1
                    continue
                mono = torch.as_tensor(wave if wave.ndim == 1 else wave.mean(axis=-1), dtype=torch.float32)
                waveform = resample(mono, original, rate).numpy()
                gain = max(1.0, float(np.abs(waveform).max(initial=0.0)))
                samples.write(np.rint(waveform * (32767 / gain)).astype(np.int16).tobytes())
                samples.flush()
                bandwidth = min(original, rate) / 2
                clip = Clip(recording.id, recording.speaker, end, len(waveform), bandwidth, gain)
                lines.write(json.dumps({"corpus": corpus, **asdict(clip)}, ensure_ascii=False) + "\n")
                lines.flush()
                end += len(waveform)
    return rejected


class _LeftOut(Exception):
    """A recording that is not wanted: a reason that can be counted, and what is wrong with this one."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def _read_clips(folder: Path) -> Iterator[tuple[str, Clip]]:
    """The name of the corpus and the clip of each whole line; half a line at the end is taken away."""
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
            name = values.pop("corpus")
            yield name, Clip(**values)
        except (ValueError, KeyError, TypeError) as problem:
            raise DatasetError(
                f"{path}, line {number}: damaged ({problem}); pack the corpus again"
            ) from problem
