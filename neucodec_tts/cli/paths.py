"""The files that a command reads, and the names under which it writes."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from neucodec_tts.files import cannot_write

CODE_SUFFIXES = frozenset((".safetensors", ".npy"))


@dataclass(frozen=True)
class Job:
    """One file to read and the file to write for it."""

    source: Path
    target: Path


def plan(
    inputs: Sequence[Path],
    output: Path,
    *,
    read: Collection[str],
    write: Sequence[str],
    suffix: str | None,
    things: str,
) -> list[Job]:
    """Pair what is to be read with what is to be written.

    A folder among `inputs` stands for all files in and below it that end in one of `read`, and its structure is
    kept. `output` is a file if it ends in one of `write`, else a folder, made if need be; only a lone file can go to
    a file.

    Args:
        inputs: files and folders.
        output: where to write.
        read: suffixes to look for in folders.
        write: suffixes that can be written; the first is the default in a folder.
        suffix: the one wanted in a folder, if it is not the default.
        things: what is read, for messages.

    Raises:
        typer.BadParameter: the two do not go together, two inputs would have one output, or there is nothing to do.
    """
    sources: list[tuple[Path, Path]] = []  # the file, and its name in an output folder
    for path in inputs:
        if os.path.isdir(path):
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in read and file.is_file())
            found = [file for file in found if not file.name.startswith(".")]
            if not found:
                raise typer.BadParameter(
                    f"there are no {things} in the folder {path} ({', '.join(sorted(read))})"
                )
            sources += [(file, file.relative_to(path)) for file in found]
        else:
            sources.append((path, Path("standard-input" if path == Path("-") else path.name)))
    if output.suffix.lower() in write and not os.path.isdir(output):
        if len(sources) > 1 or os.path.isdir(inputs[0]):
            raise typer.BadParameter(
                f"-o {output} is one file, and there are {len(sources)} {things}: name a folder"
            )
        if suffix is not None and suffix != output.suffix.lower():
            raise typer.BadParameter(f"-o {output} and --format {suffix[1:]} contradict each other")
        jobs = [Job(sources[0][0], output)]
    else:
        lone_file = len(sources) == 1 and not os.path.isdir(inputs[0])
        if lone_file and output.suffix and not os.path.exists(output) and not str(output).endswith(os.sep):
            raise typer.BadParameter(
                f"-o {output}: a file must end in {' or '.join(write)}; a folder must exist"
            )
        jobs = [Job(file, output / name.with_suffix(suffix or write[0])) for file, name in sources]
    _refuse_clashes(jobs)
    return jobs


def make_parents(job: Job, output: Path) -> None:
    """Make the folders of an output folder, before the first file goes there.

    Raises:
        NeuCodecError: they cannot be made.
    """
    if job.target == output:
        return
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise cannot_write(job.target.parent, problem) from problem


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    writer: dict[Path, Path] = {}
    sources = {os.path.realpath(job.source) for job in jobs}
    for job in jobs:
        other = writer.setdefault(job.target, job.source)
        if other != job.source:
            raise typer.BadParameter(
                f"{other} and {job.source} would both be written to {job.target}; rename one of them"
            )
        if os.path.realpath(job.target) in sources:
            raise typer.BadParameter(f"{job.target} is an input, too; give another output")
