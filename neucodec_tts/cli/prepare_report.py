"""The progress and the report of ``neucodec-tts prepare``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from neucodec_tts.cli.terminal import PROGRESS_AFTER_SECONDS, Terminal, real_time

if TYPE_CHECKING:
    from neucodec_tts.dataset import Prepared, Progress, Source

_REDRAW_SECONDS = 0.25
_NOTE_SECONDS = 60.0  # between lines where there is no terminal to draw a bar on


def report_prepared(terminal: Terminal, corpus: Source, prepared: Prepared, device: object = None) -> None:
    """Report the rows, the rejects, and the time of each stage.

    Args:
        terminal: prints the report.
        corpus: the corpus.
        prepared: the result.
        device: encoded the corpus; None where an engine chose it.
    """
    manifest, progress = prepared.manifest, prepared.progress
    rejected = sum(manifest.rejects.values())
    seconds = progress.seconds
    waits = {
        "reading": progress.reader_waits / max(seconds, 1e-9),
        "encoding": progress.encoder_waits / max(seconds, 1e-9),
        "writing": progress.writer_waits / max(seconds, 1e-9),
    }
    terminal.result(
        {
            "source": corpus.name,
            "kind": corpus.kind,
            "out": prepared.folder,
            "nothing_to_do": prepared.was_complete,
            "rows": manifest.rows,
            "hours": manifest.hours,
            "frames": manifest.frames,
            "shards": len(manifest.shards),
            "shards_before": prepared.shards_before,
            "rejected": rejected,
            "rejects": manifest.rejects,
            "content": manifest.content,
            "codec_id": manifest.codec["codec_id"],
            "device": device,
            "settings": manifest.settings,
            "tokens": manifest.tokens,
            "run": {
                "seconds": seconds,
                "audio_seconds": progress.audio_seconds,
                "padding": progress.padding,
                "stage_seconds": {
                    "reading": progress.read_seconds,
                    "encoding": progress.encode_seconds,
                    "writing": progress.write_seconds,
                },
                "waits": waits,
            },
        }
    )
    where = (
        f"{prepared.folder}: {_hours(manifest.hours)} of speech, {manifest.rows} utterances in "
        f"{len(manifest.shards)} shards"
    )
    if prepared.was_complete:
        terminal.say(f"nothing to do: {where}")
        return
    again = f", {prepared.shards_before} shards were there already" if prepared.shards_before else ""
    terminal.say(f"prepared {where} ({real_time(seconds, progress.audio_seconds, device)}{again})")
    if rejected:
        terminal.say(
            f"left out {rejected}: {counted(manifest.rejects)}; {prepared.folder / 'rejects.parquet'} says which"
        )
    terminal.say(
        f"reading took {progress.read_seconds:.1f} s over all processes and waited {waits['reading']:.0%} of the time, "
        f"encoding {progress.encode_seconds:.1f} s ({waits['encoding']:.0%}), writing {progress.write_seconds:.1f} s "
        f"({waits['writing']:.0%}); {progress.padding:.1%} of encoded frames were padding"
    )


@contextmanager
def showing_progress(terminal: Terminal) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line a minute elsewhere; yields what is to be called with the progress."""
    start = time.perf_counter()
    shown = start + PROGRESS_AFTER_SECONDS
    if terminal.quiet or not sys.stderr.isatty():

        def note(progress: Progress) -> None:
            nonlocal shown
            now = time.perf_counter()
            if now >= max(shown, start + _NOTE_SECONDS):
                shown = now + _NOTE_SECONDS
                terminal.note(
                    f"{progress.items_done} of {progress.items_total} utterances, {_status(progress)}"
                )

        yield note
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = [
        TextColumn("preparing"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    ]
    bar = Bar(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
    task = bar.add_task("")

    def draw(progress: Progress) -> None:
        nonlocal shown
        now = time.perf_counter()
        if now < shown:
            return
        bar.start()
        shown = now + _REDRAW_SECONDS
        bar.update(
            task,
            total=progress.items_total,
            completed=progress.items_done,
            description=_status(progress),
            refresh=True,
        )

    try:
        yield draw
    finally:
        bar.stop()


def _status(progress: Progress) -> str:
    """Progress in words: hours, speed, waits, time left."""
    seconds = max(progress.seconds, 1e-9)
    left = progress.remaining_seconds
    parts = [
        f"{_hours(progress.audio_seconds / 3600)} done",
        f"{progress.audio_seconds / seconds:.3g}x real time",
        f"waits: reading {progress.reader_waits / seconds:.0%}, encoding {progress.encoder_waits / seconds:.0%}, "
        f"writing {progress.writer_waits / seconds:.0%}",
    ]
    if left is not None:
        parts.append(f"{_clock(left)} left")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"


def _hours(hours: float) -> str:
    return f"{hours:.2f} h" if hours >= 0.1 else f"{hours * 3600:.1f} s"


def counted(rejects: Mapping[str, int]) -> str:
    """Reasons with their numbers, the commonest first."""
    return ", ".join(
        f"{reason} {count}" for reason, count in sorted(rejects.items(), key=lambda each: -each[1])
    )
