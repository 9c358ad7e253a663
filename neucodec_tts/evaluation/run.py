"""Many recordings by many codecs. Each result is on disk as soon as it is there, so that a killed run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from neucodec_tts.audio import as_waveform
from neucodec_tts.errors import AudioError, NeuCodecError
from neucodec_tts.evaluation.codecs import ORIGINAL, AudioCodec
from neucodec_tts.evaluation.corpora import Clip
from neucodec_tts.evaluation.measuring import Measures
from neucodec_tts.files import atomic_path
from neucodec_tts.metrics.scores import SCORE_RATE

SETTINGS, ROWS, CODES = "settings.json", "rows.jsonl", "codes"
Row = dict[str, Any]
_AT_ONCE = 16  # recordings that a codec has done before they are measured


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

    def measure(clip: Clip) -> Row:
        row: Row = {"codec": ORIGINAL, "file": str(clip.path)}
        try:
            wave = as_waveform(clip.path, target_rate=SCORE_RATE)
            found, missing = measures.alone(wave, clip.text)
            row |= {"seconds": wave.numel() / SCORE_RATE, **found, "missing": missing}
            row["has_transcript"] = clip.text is not None
        except Exception as problem:
            row["error"] = _reason(problem)
        return row

    clips = list(clips)
    missing = [clip for clip in clips if (ORIGINAL, str(clip.path)) not in results.rows]
    advance(len(clips) - len(missing))
    with ThreadPoolExecutor(measures.workers) as pool:
        for row in pool.map(measure, missing):
            results.add(row)
            advance(1)


@dataclass
class _Coded:
    """A recording behind a codec, before it is measured."""

    clip: Clip
    row: Row
    codes: Tensor | None = None
    decoded: Tensor | None = None


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

    The codec runs alone, for its speed is told; then a few recordings are measured at a time.

    Args:
        name: of the row.
        codec: to evaluate.
        clips: recordings.
        measures: to take.
        results: where they go.
        advance: called with a number of recordings that are done, from time to time.
        change: makes other codes of the codes and the number of the recording, before they are decoded.
    """

    def measure(coded: _Coded) -> None:
        if coded.decoded is None:
            return
        file = str(coded.clip.path)
        try:
            reference = as_waveform(coded.clip.path, target_rate=SCORE_RATE)
            heard = results.rows.get((ORIGINAL, file), {}).get("heard")
            found, missing = measures.of(
                reference, SCORE_RATE, coded.decoded, codec.output_sample_rate, coded.clip.text, heard
            )
            coded.row |= {**found, "missing": missing}
        except Exception as problem:
            coded.row["error"] = _reason(problem)

    clips = list(clips)
    left = [(number, clip) for number, clip in enumerate(clips) if (name, str(clip.path)) not in results.rows]
    advance(len(clips) - len(left))
    with ThreadPoolExecutor(measures.workers) as pool:
        for start in range(0, len(left), _AT_ONCE):
            some = [
                _code(name, codec, clip, number, change) for number, clip in left[start : start + _AT_ONCE]
            ]
            for coded, _ in zip(some, pool.map(measure, some), strict=True):
                kept = codec.codebooks and change is None and "error" not in coded.row
                results.add(coded.row, coded.codes if kept else None)
                advance(1)


def _code(
    name: str,
    codec: AudioCodec,
    clip: Clip,
    number: int,
    change: Callable[[Tensor, int], Tensor] | None,
) -> _Coded:
    coded = _Coded(clip, {"codec": name, "file": str(clip.path)})
    try:
        wave = as_waveform(clip.path, target_rate=codec.input_sample_rate)
        codes, encoding = _timed(codec.encode, wave)
        decoded, decoding = _timed(codec.decode, codes if change is None else change(codes, number))
        seconds = wave.numel() / codec.input_sample_rate
        coded.row |= {"seconds": seconds, "bits": codec.bits(codes), "encode_seconds": encoding}
        coded.row |= {"decode_seconds": decoding, "codes": codes.numel() if codec.codebooks else None}
        if not bool(decoded.isfinite().all()):
            raise AudioError("what was decoded holds values that are no numbers")
        coded.codes, coded.decoded = codes, decoded
    except Exception as problem:  # a codec may raise anything, and the others go on
        coded.row["error"] = _reason(problem)
    return coded


def _reason(problem: Exception) -> str:
    return str(problem) if isinstance(problem, NeuCodecError) else repr(problem)


def _timed(work: Callable[[Tensor], Tensor], given: Tensor) -> tuple[Tensor, float]:
    begun = time.perf_counter()
    return work(given), time.perf_counter() - begun


def _plain(name: str) -> str:
    """A name as one of a file: no two that differ become one."""
    return "".join(c if c.isalnum() or c in "-_." else f"%{ord(c):x}" for c in name)[-200:]
