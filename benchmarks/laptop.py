"""Time speech from GGUF on this machine's CPU: ours, llama.cpp alone, and Neuphonic's neutts with the same files.

    python benchmarks/laptop.py --size air --kind q4_0 --codec decoder.onnx --neutts /path/to/its/venv/bin/python

The models have random weights, and as many tokens as are asked for. All are loaded, and then they take turns.
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

from neucodec_tts.cli.environment import set_threads
from neucodec_tts.cli.terminal import Terminal, command
from random_gguf import SHAPES, write_random_gguf

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
    size: Annotated[str, typer.Option(help=f"Of the model: {' or '.join(SHAPES)}.")] = "nano",
    kind: Annotated[str, typer.Option(help="Bits of its weights: q4_0 or q8_0.")] = "q4_0",
    codec: Annotated[
        str,
        typer.Option(
            help="For our speaker: a folder of `neucodec-tts export`; - is PyTorch, random weights."
        ),
    ] = "-",
    neutts: Annotated[
        str | None, typer.Option(help="The Python of an environment with neutts and llama-cpp-python.")
    ] = None,
    neutts_codec: Annotated[
        str | None, typer.Option(help="For neutts: an ONNX decoder, a file; the one in --codec by default.")
    ] = None,
    frames: Annotated[int, typer.Option(min=30, help="Codes of the speech; 250 are 5 s.")] = 250,
    threads: Annotated[int, typer.Option(min=0, help="0 leaves their number to each speaker.")] = 0,
    repeats: Annotated[int, typer.Option(min=1, help="Timed turns, after one to warm up.")] = 3,
    models: Annotated[Path, typer.Option(help="Folder for the models, which are made once.")] = Path(
        "models"
    ),
) -> None:
    """Measure text to first sound, text to all sound, and tokens alone."""
    models.mkdir(exist_ok=True)
    path = str(write_random_gguf(models / f"{size}-{kind}.gguf", size, kind))
    numbers = [str(frames), str(threads)]
    speakers = [("ours", sys.executable, codec), ("llama.cpp", sys.executable, "-")]
    if neutts is not None:
        decoder = neutts_codec or (codec if codec == "-" else str(Path(codec) / "model.onnx"))
        speakers.insert(1, ("neutts", neutts, decoder))
    heard = ("first", "whole") if codec != "-" else ()
    wanted = {"ours": (*heard, "tokens"), "neutts": (*heard, "tokens"), "llama.cpp": ("tokens",)}
    workers = [Worker(python, who, [path, decoder, *numbers]) for who, python, decoder in speakers]
    times: dict[tuple[str, str], list[dict[str, float]]] = {}
    for turn in range(repeats + 1):
        for task in TASKS:
            for worker in workers:
                if task in wanted[worker.who]:
                    measured = worker(task)
                    if turn:
                        times.setdefault((worker.who, task), []).append(measured)
    for worker in workers:
        worker.close()
    seconds = frames * FRAME_SECONDS
    rows: list[dict[str, Any]] = []
    for (who, task), each in times.items():
        medians = {key: statistics.median(one[key] for one in each) for key in each[0]}
        rows.append({"who": who, "task": task, **medians})
    terminal.result(
        {
            "size": size,
            "kind": kind,
            "frames": frames,
            "threads": threads,
            "cpus": os.cpu_count(),
            "load_seconds": {worker.who: worker.load_seconds for worker in workers},
            "rows": rows,
        }
    )
    terminal.say(f"{size} {kind}, {seconds:.1f} s of speech, medians of {repeats} turns")
    terminal.say("                            wall  processor   of real time   peak memory")
    for line in rows:
        terminal.say(
            f"  {line['who']:<10} {TASKS[line['task']]:<12} {line['wall']:6.2f} s {line['processor']:8.2f} s"
            f"{line['wall'] / seconds:13.2f} {line['peak_bytes'] / 2**30:11.2f} GiB"
        )


if __name__ == "__main__":
    set_threads()
    typer.run(main)
