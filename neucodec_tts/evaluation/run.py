"""Many recordings by many codecs. Each result is on disk as soon as it is there, so that a killed run goes on."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from neucodec_tts.audio import AUDIO_SUFFIXES, as_waveform
from neucodec_tts.errors import AudioError, NeuCodecError
from neucodec_tts.evaluation.codecs import AudioCodec
from neucodec_tts.evaluation.measuring import Measures
from neucodec_tts.files import atomic_path
from neucodec_tts.metrics.scores import SCORE_RATE

ORIGINAL = "original"
"""The row of the recordings themselves."""
SETTINGS, ROWS, CODES = "settings.json", "rows.jsonl", "codes"
Row = dict[str, Any]


@dataclass(frozen=True)
class Clip:
    """One recording, and its transcript if there is one."""

    path: Path
    text: str | None

    @classmethod
    def of(cls, path: Path) -> Clip:
        """A recording with the transcript in the text file of the same name, if there is one."""
        beside = path.with_suffix(".txt")
        try:
            text = beside.read_text("utf-8-sig").strip() if beside.is_file() else None
        except (OSError, UnicodeDecodeError) as problem:
            raise AudioError(f"{beside} cannot be read as UTF-8: {problem}; mend or remove it") from problem
        return cls(path, text or None)


def find_clips(inputs: Sequence[Path], limit: int | None = None, seed: int = 0) -> list[Clip]:
    """Find recordings.

    Args:
        inputs: files, and folders for all recordings in and below them.
        limit: take so many, drawn at random.
        seed: of the draw.

    Raises:
        AudioError: a file or folder is missing, or a folder holds no recordings.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
            if not inside:
                raise AudioError(f"there are no recordings in the folder {path}; name another")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise AudioError(f"{path}: there is no such file or folder; check the path (now in {Path.cwd()})")
    chosen = list(dict.fromkeys(found))
    if limit is not None and limit < len(chosen):
        chosen = sorted(random.Random(seed).sample(chosen, limit))
    return [Clip.of(path) for path in chosen]


class Results:
    """The folder of an evaluation: one row for each codec and recording, and the codes.

    Args:
        folder: made if need be.
        settings: what the results depend on.

    Raises:
        NeuCodecError: the folder cannot be written, or holds an evaluation with other settings.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.rows: dict[tuple[str, str], Row] = {}
        path = folder / SETTINGS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            known = json.loads(path.read_text("utf-8")) if path.is_file() else None
            lines = (folder / ROWS).read_text("utf-8").splitlines() if (folder / ROWS).is_file() else []
        except (OSError, ValueError) as problem:
            raise NeuCodecError(f"the folder {folder} cannot be used: {problem}; name another") from problem
        if known is not None and known != settings:
            differing = [name for name in settings if known.get(name) != settings[name]]
            raise NeuCodecError(
                f"{folder} holds an evaluation with other settings ({', '.join(differing)}); name another folder, or "
                "remove this one"
            )
        if known is None:
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(settings, indent=1) + "\n", "utf-8")
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue  # the last line of a run that was killed
            self.rows[row["codec"], row["file"]] = row

    def add(self, row: Row, codes: Tensor | None = None) -> None:
        """Keep a row, and codes (codebooks, frames)."""
        key = row["codec"], row["file"]
        if codes is not None:
            path = self.codes_path(*key)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.save(file, codes.numpy().astype(np.uint32))
        with open(self.folder / ROWS, "a", encoding="utf-8") as rows:
            rows.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.rows[key] = row

    def codes_path(self, codec: str, file: str) -> Path:
        """Where the codes of a recording lie."""
        return self.folder / CODES / _plain(codec) / f"{_plain(file)}.npy"

    def of(self, codec: str) -> list[Row]:
        """The rows of a codec."""
        return [row for (name, _), row in self.rows.items() if name == codec]

    def codes(self, codec: str) -> list[np.ndarray]:
        """All codes of a codec, uint32 (codebooks, frames) each."""
        paths = (self.codes_path(codec, row["file"]) for row in self.of(codec) if "error" not in row)
        return [np.load(path) for path in paths if path.is_file()]


def evaluate_originals(
    clips: Iterable[Clip], measures: Measures, results: Results, advance: Callable[[int], None]
) -> None:
    """Measure the recordings themselves, beside which all else is read."""
    for clip in clips:
        if (ORIGINAL, str(clip.path)) not in results.rows:
            row: Row = {"codec": ORIGINAL, "file": str(clip.path)}
            try:
                wave = as_waveform(clip.path, target_rate=SCORE_RATE)
                found, missing = measures.alone(wave, clip.text)
                row |= {"seconds": wave.numel() / SCORE_RATE, **found, "missing": missing}
                row["has_transcript"] = clip.text is not None
            except NeuCodecError as problem:
                row["error"] = str(problem)
            results.add(row)
        advance(1)


def evaluate_codec(
    name: str,
    codec: AudioCodec,
    clips: Iterable[Clip],
    measures: Measures,
    results: Results,
    advance: Callable[[int], None],
    change: Callable[[Tensor, int], Tensor] | None = None,
) -> None:
    """Encode, decode and measure each recording that has no row yet; one that fails keeps its reason.

    Args:
        name: of the row.
        codec: to evaluate.
        clips: recordings.
        measures: to take.
        results: where they go.
        advance: called with 1 after each recording.
        change: makes other codes of the codes and the number of the recording, before they are decoded.
    """
    for number, clip in enumerate(clips):
        file = str(clip.path)
        if (name, file) not in results.rows:
            row: Row = {"codec": name, "file": file}
            codes = None
            try:
                wave = as_waveform(clip.path, target_rate=codec.input_sample_rate)
                codes, encoding = _timed(codec.encode, wave)
                sent = codes if change is None else change(codes, number)
                decoded, decoding = _timed(codec.decode, sent)
                seconds = wave.numel() / codec.input_sample_rate
                reference = as_waveform(clip.path, target_rate=SCORE_RATE)
                heard = results.rows.get((ORIGINAL, file), {}).get("heard")
                found, missing = measures.of(
                    reference, SCORE_RATE, decoded, codec.output_sample_rate, clip.text, heard
                )
                row |= {"seconds": seconds, "bits": codec.bits(codes), "encode_seconds": encoding}
                row |= {"decode_seconds": decoding, "codes": codes.numel() if codec.codebooks else None}
                row |= {**found, "missing": missing}
            except Exception as problem:  # a codec may raise anything, and the others go on
                row["error"] = str(problem) if isinstance(problem, NeuCodecError) else repr(problem)
                codes = None
            results.add(row, codes if codec.codebooks and change is None else None)
        advance(1)


def _timed(work: Callable[[Tensor], Tensor], given: Tensor) -> tuple[Tensor, float]:
    begun = time.perf_counter()
    return work(given), time.perf_counter() - begun


def _plain(name: str) -> str:
    """A name as one of a file: no two that differ become one."""
    return "".join(c if c.isalnum() or c in "-_." else f"%{ord(c):x}" for c in name)[-200:]
