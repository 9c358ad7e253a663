"""Time speech from GGUF on this machine's CPU: ours, llama.cpp alone, and Neuphonic's neutts with the same files.

    python benchmarks/laptop.py --neutts /path/to/its/venv/bin/python

The models and the ONNX decoder have random weights, and as many tokens as are asked for. Both take the same files. For
each model all are loaded, and then they take turns. Each text is another one, in the same voice.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from neucodec_tts.cli.terminal import Terminal, command
from random_gguf import SHAPES, write_random_gguf
from random_models import write_random_decoder

WORKER = Path(__file__).with_name("laptop_worker.py")
TASKS = {"first": "first sound", "whole": "all sound", "tokens": "tokens"}
FRAME_SECONDS = 0.02


class Worker:
    """A speaker in a process of its own."""

    def __init__(self, python: str, who: str, arguments: list[str]) -> None:
        self.who = who
        command = [python, str(WORKER), who, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.load_seconds = self._answer()["load"]

    def __call__(self, task: str) -> dict[str, float]:
        """Do a task, and return its wall and processor seconds and the peak of memory."""
        assert self._process.stdin is not None
        self._process.stdin.write(task + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.who} has ended; its message is above")
        answer: dict[str, float] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@command
def main(
    terminal: Terminal,
    size: Annotated[
        list[str] | None, typer.Option(help=f"Of the model: {' or '.join(SHAPES)}; all by default.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Bits of its weights: q4_0 or q8_0; both by default.")
    ] = None,
    codec: Annotated[
        str,
        typer.Option(
            help="A folder of `neucodec-tts export`; int8 and float32 are NeuCodec's decoder with random weights."
        ),
    ] = "int8",
    neutts: Annotated[
        str | None,
        typer.Option(
            help="The Python of an environment with neutts and all its extras; it takes the same files."
        ),
    ] = None,
    frames: Annotated[int, typer.Option(min=40, help="Codes of the speech; 250 are 5 s.")] = 250,
    threads: Annotated[int, typer.Option(min=0, help="0 leaves their number to each speaker.")] = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Timed turns, after one to warm up.")] = 3,
    models: Annotated[Path, typer.Option(help="Folder for the models, which are made once.")] = Path(
        "models"
    ),
) -> None:
    """Measure text to first sound, text to all sound, and tokens alone."""
    models.mkdir(exist_ok=True)
    folder = Path(codec)
    if codec in ("int8", "float32"):
        folder = write_random_decoder(models / f"onnx-{codec}", int8=codec == "int8")
    rows: list[dict[str, Any]] = []
    for each in size or list(SHAPES):
        for bits in kind or ["q4_0", "q8_0"]:
            path = write_random_gguf(models / f"{each}-{bits}.gguf", each, bits)
            measured = _measure(path, folder, neutts, frames, threads, repeats)
            rows += [{"size": each, "kind": bits, **row} for row in measured]
            _print(terminal, f"{each} {bits}", measured, frames, repeats)
    terminal.result(
        {"frames": frames, "threads": threads, "codec": codec, "cpus": os.cpu_count(), "rows": rows}
    )


def _measure(
    model: Path, codec: Path, neutts: str | None, frames: int, threads: int, repeats: int
) -> list[dict[str, Any]]:
    """Medians of each speaker's wall and processor seconds, and its peak of memory in bytes."""
    speakers: list[tuple[str, str, str, tuple[str, ...]]] = [
        ("ours", sys.executable, str(codec), ("first", "whole", "tokens"))
    ]
    if neutts is not None:
        speakers.append(("neutts", neutts, str(codec / "model.onnx"), ("first", "whole")))
    speakers.append(("llama.cpp", sys.executable, "-", ("tokens",)))
    numbers = [str(frames), str(threads)]
    workers = [Worker(python, who, [str(model), decoder, *numbers]) for who, python, decoder, _ in speakers]
    times: dict[tuple[str, str], list[dict[str, float]]] = {}
    for turn in range(repeats + 1):
        for task in TASKS:
            for worker, (who, _, _, wanted) in zip(workers, speakers, strict=True):
                if task in wanted:
                    measured = worker(task)
                    if turn:
                        times.setdefault((who, task), []).append(measured)
    for worker in workers:
        worker.close()
    return [
        {"who": who, "task": task, **{key: statistics.median(one[key] for one in each) for key in each[0]}}
        for (who, task), each in times.items()
    ]


def _print(terminal: Terminal, model: str, rows: list[dict[str, Any]], frames: int, repeats: int) -> None:
    seconds = frames * FRAME_SECONDS
    ours = {row["task"]: row for row in rows if row["who"] == "ours"}
    terminal.say(f"{model}, {seconds:.1f} s of speech, medians of {repeats} turns")
    terminal.say("                            wall  processor   of real time   peak memory   ours is faster")
    for row in rows:
        faster = "" if row["who"] == "ours" else f"{row['wall'] / ours[row['task']]['wall']:12.2f} times"
        terminal.say(
            f"  {row['who']:<10} {TASKS[row['task']]:<12} {row['wall']:6.2f} s {row['processor']:8.2f} s"
            f"{row['wall'] / seconds:13.2f} {row['peak_bytes'] / 2**30:11.2f} GiB{faster}"
        )


if __name__ == "__main__":
    typer.run(main)
