"""Working off many files: what `encode` and `decode` have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import typer

from neucodec_tts.cli.paths import Job, make_parents
from neucodec_tts.cli.terminal import Stopwatch, Terminal, real_time
from neucodec_tts.errors import NeuCodecError
from neucodec_tts.files import cannot_write

GROUP_SECONDS = 240.0
"""Files are read, computed and written in groups of about this much audio, so that a folder of any size fits."""

Item = TypeVar("Item")  # what is read from a file
Result = TypeVar("Result")  # what is written to one


@dataclass(frozen=True)
class Task(Generic[Item, Result]):
    """The work on each file."""

    verb: str
    """Past tense, for messages: "encoded"."""
    read: Callable[[Path], Item]
    run: Callable[[list[Item], Callable[[float], None]], list[Result]]
    """Calls its second argument with the seconds of audio that are done, if it knows before all are."""
    write: Callable[[Path, Result], None]
    seconds: Callable[[Item], float]
    """Of audio in an item."""
    count: Callable[[Item, Result], int]
    """Codes of an item and its result."""


@dataclass
class Outcome:
    """The result of all files."""

    files: list[dict[str, object]] = field(default_factory=list)
    failed: list[dict[str, object]] = field(default_factory=list)
    audio_seconds: float = 0.0
    codes: int = 0
    watch: Stopwatch = field(default_factory=Stopwatch)

    def fail(self, terminal: Terminal, job: Job, problem: NeuCodecError) -> None:
        """Report a file that is left out."""
        terminal.error(problem)
        self.failed.append({"input": job.source, "error": str(problem)})


def work_off(terminal: Terminal, task: Task[Item, Result], jobs: Sequence[Job], output: Path) -> Outcome:
    """Do `task` for all of `jobs`. A file that cannot be read or written is reported and left out."""
    outcome = Outcome()
    group: list[tuple[Job, Item]] = []
    with terminal.audio_progress(task.verb) as tell:
        for number, job in enumerate(jobs, start=1):
            try:
                group.append((job, task.read(job.source)))
                tell(task.seconds(group[-1][1]), 0)
            except NeuCodecError as problem:
                outcome.fail(terminal, job, problem)
            seconds = sum(task.seconds(item) for _, item in group)
            if seconds >= GROUP_SECONDS or number == len(jobs):
                done: list[float] = []

                def told(more: float, done: list[float] = done) -> None:
                    done.append(more)
                    tell(0, more)

                _finish(terminal, task, group, output, outcome, told)
                tell(0, seconds - sum(done))
                group = []
    return outcome


def _finish(
    terminal: Terminal,
    task: Task[Item, Result],
    group: list[tuple[Job, Item]],
    output: Path,
    outcome: Outcome,
    told: Callable[[float], None],
) -> None:
    if not group:
        return
    with outcome.watch:
        results = task.run([item for _, item in group], told)
    for (job, item), result in zip(group, results, strict=True):
        try:
            make_parents(job, output)
            task.write(job.target, result)
        except NeuCodecError as problem:
            outcome.fail(terminal, job, problem)
            continue
        except OSError as problem:
            outcome.fail(terminal, job, cannot_write(job.target, problem))
            continue
        seconds, codes = task.seconds(item), task.count(item, result)
        outcome.files.append({"input": job.source, "output": job.target, "seconds": seconds, "codes": codes})
        outcome.audio_seconds += seconds
        outcome.codes += codes


def report(
    terminal: Terminal,
    task: Task[Item, Result],
    outcome: Outcome,
    output: Path,
    codec_id: str,
    device: str,
    *,
    to_stdout: bool = False,
) -> None:
    """Report the outcome, on stderr if standard output holds the result.

    Raises:
        typer.Exit: with code 1, if any file failed.
    """
    terminal.result(
        {
            "files": outcome.files,
            "failed": outcome.failed,
            "codec_id": codec_id,
            "device": device,
            "audio_seconds": outcome.audio_seconds,
            "codes": outcome.codes,
            "work_seconds": outcome.watch.seconds,
        }
    )
    if outcome.files:
        name, where = f"{len(outcome.files)} files", f"the folder {output}"
        if len(outcome.files) == 1:
            name, where = str(outcome.files[0]["input"]), str(outcome.files[0]["output"])
        speed = real_time(outcome.watch.seconds, outcome.audio_seconds, device)
        if to_stdout:
            where = "standard output"
        (terminal.note if to_stdout else terminal.say)(
            f"{task.verb} {name} to {where}: {outcome.audio_seconds:.2f} s of speech, {outcome.codes} codes ({speed})"
        )
    if outcome.failed:
        total = len(outcome.failed) + len(outcome.files)
        if total > 1:
            terminal.error(f"{len(outcome.failed)} of {total} files could not be {task.verb}")
        raise typer.Exit(1)
