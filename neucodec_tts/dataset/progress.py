"""The progress of a run, and the time that each stage takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_COUNTS = (
    *("items_done", "kept", "audio_seconds", "encoded_frames", "padded_frames"),
    *("read_seconds", "encode_seconds", "write_seconds"),
)
_WAITS = ("reader_waits", "encoder_waits", "writer_waits")


@dataclass
class Progress:
    """The progress of a run, and the time that each stage takes."""

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
        """Estimate for the rest; None before anything is done."""
        done = self.items_done - self.items_before
        return self.seconds / done * (self.items_total - self.items_done) if done else None

    def counts(self) -> dict[str, Any]:
        """Return what adds up over encoders, as JSON values for `add`."""
        counted = {name: getattr(self, name) for name in (*_COUNTS, *_WAITS)}
        return {**counted, "rejects": dict(self.rejects)}

    def add(self, counts: Mapping[str, Any], encoders: int) -> None:
        """Add the `counts` of one of several encoders that work at the same time."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + counts[name])
        for name in _WAITS:
            setattr(self, name, getattr(self, name) + counts[name] / encoders)
        self.rejects.update(counts["rejects"])
