"""Check and time the codec on a GPU, part by part, and write the tables of ``docs/benchmarks_gpu.md``.

Each part leaves a JSON file in the output folder; a part that is done is not done again. The parts run in a process
of their own: one that fails, hangs or kills it says so, and the others go on in another. Weights are random, so that
nothing is downloaded.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from card.report import goals, read_results, section, write_section
from neucodec_tts.cli.environment import set_threads
from neucodec_tts.cli.options import DeviceOption
from neucodec_tts.cli.terminal import Terminal, command
from neucodec_tts.files import atomic_path

if TYPE_CHECKING:
    from card.bench import Bench

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks_gpu.md"


@dataclass(frozen=True)
class Part:
    """A part of the run.

    Attributes:
        name: of its file.
        module: in ``card``.
        function: there, from ``Bench`` to rows.
        seconds: that it may take; cases that do not fit are left out, and after twice as long it is ended.
    """

    name: str
    module: str
    function: str
    seconds: float


PARTS = (
    Part("machine", "speed", "machine", 20),
    Part("correct-encode", "correctness", "encoding", 40),
    Part("correct-decode", "correctness", "decoding", 15),
    Part("correct-streams", "correctness", "streaming", 25),
    Part("correct-activation", "correctness", "activation", 15),
    Part("correct-attention", "correctness", "attention", 30),
    Part("correct-half", "correctness", "half_precision", 15),
    Part("correct-distilled", "correctness", "distilled", 20),
    Part("correct-batches", "correctness", "batches_do_not_matter", 15),
    Part("streams", "speed", "streams", 55),
    Part("decode", "speed", "decoding", 45),
    Part("encode", "speed", "encoding", 75),
    Part("ragged", "speed", "ragged", 30),
    Part("memory", "speed", "memory", 20),
    Part("compile", "speed", "compiled", 35),
)
NAMES = [part.name for part in PARTS]
_STARTING_SECONDS = 60.0
"""For making the codec, which the first part of a process pays."""
_STICKY = 75
"""The exit status of a process whose card does not answer any more after a failure."""


class Size(Enum):
    """How much is computed."""

    full = "full"
    toy = "toy"


def do_part(bench: Bench, part: Part, out: Path) -> dict[str, Any]:
    """Do a part and write its file, whatever happens in it."""
    import importlib

    from card.correctness import Warnings

    warnings = Warnings()
    logger = logging.getLogger("neucodec_tts")
    logger.addHandler(warnings)
    begun = time.perf_counter()
    result: dict[str, Any] = {"part": part.name, "size": bench.size.name, "date": time.strftime("%F")}
    try:
        bench.begin(part.seconds)
        function: Callable[[Bench], list[dict[str, Any]]] = getattr(
            importlib.import_module(f"card.{part.module}"), part.function
        )
        result |= {"status": "done", "rows": function(bench)}
    except Exception as error:
        why = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
        result |= {"status": "failed", "why": why, "traceback": traceback.format_exc()}
    finally:
        logger.removeHandler(warnings)
    result |= {"seconds": time.perf_counter() - begun, "warnings": warnings.messages}
    _write(out, part.name, result)
    return result


def _write(out: Path, name: str, result: dict[str, Any]) -> None:
    with atomic_path(out / f"{name}.json") as path:
        path.write_text(json.dumps(_plain(result), indent=1, allow_nan=False), encoding="utf-8")


def _plain(value: Any) -> Any:
    """JSON has no infinity."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None if value != value else (1e3 if value > 0 else -1e3)
    return value


def work(names: Sequence[str], out: Path, size: str, device: str) -> int:
    """Do parts in this process; the exit status."""
    import torch

    from card.bench import FULL, TOY, Bench
    from neucodec_tts.codec.devices import find_device

    bench = Bench(FULL if size == "full" else TOY, find_device(device))
    for part in PARTS:
        if part.name not in names:
            continue
        (out / "running").write_text(f"{part.name} {part.seconds}")
        result = do_part(bench, part, out)
        if result["status"] != "done" and bench.device.type == "cuda":
            try:
                torch.cuda.synchronize(bench.device)
                torch.cuda.empty_cache()
            except Exception:
                return _STICKY
    return 0


def missing(out: Path, names: Sequence[str], size: str) -> list[str]:
    """Parts that are not there yet, or not of this size."""
    results = read_results(out)
    return [name for name in names if results.get(name, {}).get("size") != size]


def supervise(names: Sequence[str], out: Path, size: str, device: str, tell: Callable[[str], None]) -> None:
    """Do parts in processes of their own: another after each that dies or hangs."""
    while left := missing(out, names, size):
        (out / "running").unlink(missing_ok=True)
        started = time.time()
        with tempfile.TemporaryFile() as log:
            command_line = [sys.executable, __file__, *left, "--worker", "--out", str(out), "--size", size]
            process = subprocess.Popen([*command_line, "--device", device], stdout=log, stderr=log)
            why = _watch(process, out, started)
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
        now = missing(out, names, size)
        for name in left:
            if name not in now:
                tell(name)
        if why is not None or now == left:
            # The part that was running, or the first one if none began.
            running = _running(out)[0] or next(iter(now), None)
            if running in now:
                detail = why or (lines[-1] if lines else "the process ended without a word")
                failed = {"part": running, "size": size, "date": time.strftime("%F"), "status": "failed"}
                _write(out, running, {**failed, "why": detail, "log": lines[-40:], "warnings": []})
                tell(running)
    (out / "running").unlink(missing_ok=True)


def _running(out: Path) -> tuple[str | None, float]:
    try:
        name, seconds = (out / "running").read_text().split()
        return name, float(seconds)
    except (OSError, ValueError):
        return None, 0.0


def _watch(process: subprocess.Popen[bytes], out: Path, started: float) -> str | None:
    """Wait for a process; why its part failed, if it died or took much too long."""
    while True:
        try:
            status = process.wait(1)
            return None if status in (0, _STICKY) else f"the process ended with status {status}"
        except subprocess.TimeoutExpired:
            pass
        try:
            begun = max(started, (out / "running").stat().st_mtime)
        except OSError:
            begun = started
        if time.time() - begun > 2 * _running(out)[1] + _STARTING_SECONDS:
            process.kill()
            process.wait()
            return f"it took over {time.time() - begun:.0f} s and was ended"


@command
def main(
    terminal: Terminal,
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PART]...", help=f"Of {', '.join(NAMES)}. The default is all.", show_default=False
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The folder of the results.")] = Path("gpu-results"),
    size: Annotated[
        Size, typer.Option("--size", help="full: NeuCodec's size; toy: seconds on a CPU, to try the script.")
    ] = Size.full,
    page: Annotated[
        Path | None,
        typer.Option(
            "--page",
            help="The page whose tables are written; docs/benchmarks_gpu.md after a full run on a GPU.",
            show_default=False,
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Do parts again that are done.")] = False,
    worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False,
    device: DeviceOption = None,
) -> None:
    """Check and time the codec on a GPU, in under eight minutes; run it again to go on where it was ended."""
    names = list(dict.fromkeys(parts or NAMES))
    for name in names:
        if name not in NAMES:
            raise typer.BadParameter(f"there is no part {name!r}; there are {', '.join(NAMES)}")
    out.mkdir(parents=True, exist_ok=True)
    if worker:
        raise typer.Exit(work(names, out, size.value, device or "cpu"))
    if device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cpu" and size is Size.full:
            raise typer.BadParameter("there is no GPU here; --size toy tries the script on a CPU")
    for name, result in read_results(out).items():
        if name in names and (again or result["status"] != "done"):
            (out / f"{name}.json").unlink()

    def tell(name: str) -> None:
        result = read_results(out)[name]
        wrong = [row for row in result.get("rows", []) if row.get("right") is False]
        state = f"failed: {result['why']}" if result["status"] != "done" else "WRONG" if wrong else "done"
        terminal.note(f"{name}: {state} ({result.get('seconds', 0):.1f} s)")

    supervise(names, out, size.value, device, tell)
    results = read_results(out)
    text = section(results, NAMES)
    if page is None and size is Size.full and device.startswith("cuda"):
        page = PAGE
    if page is not None:
        write_section(page, text)
    (out / "report.md").write_text(text + "\n", encoding="utf-8")
    bad = [
        name
        for name in names
        if results[name]["status"] != "done"
        or any(row.get("right") is False for row in results[name]["rows"])
    ]
    terminal.result({"out": str(out), "bad": bad, "results": results})
    for goal, wanted, measured in goals(results):
        terminal.say(f"{goal}: {measured} (wanted: {wanted})")
    terminal.say(
        f"{len(names) - len(bad)} of {len(names)} parts are right; {page or out / 'report.md'} has the tables"
    )
    if bad:
        terminal.error(f"look at {', '.join(f'{name}.json' for name in bad)} in {out}")
        raise typer.Exit(1)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    set_threads()
    typer.run(main)
