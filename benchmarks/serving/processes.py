"""Memory and processor time of a process and all that it has started."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import psutil

from serving.throughput import ProcessorTime

Measured = TypeVar("Measured")


def resident_bytes(pid: int) -> float | None:
    """Memory in bytes; None if there is no such process."""
    sizes = _of_family(pid, lambda process: float(process.memory_info().rss))
    return sum(sizes.values()) if sizes else None


def resident_by_process(pid: int) -> dict[str, float]:
    """Memory in bytes of each process, by name and process id; empty if there is none."""
    sizes = _of_family(pid, lambda process: (process.name(), float(process.memory_info().rss)))
    return {f"{name} ({number})": size for number, (name, size) in sizes.items()}


def processor_time(pid: int) -> ProcessorTime | None:
    """Processor time so far, with that of children that have ended; None if there is no such process."""
    # The first four fields are user and system time of its own and of its children.
    seconds = _of_family(pid, lambda process: float(sum(process.cpu_times()[:4])))
    return ProcessorTime(sum(seconds.values()), seconds[pid]) if pid in seconds else None


def _of_family(pid: int, measure: Callable[[psutil.Process], Measured]) -> dict[int, Measured]:
    """`measure` of a process and of its descendants, by process id; those that have ended are left out."""
    found: dict[int, Measured] = {}
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(pid)
        for process in (first, *first.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                found[process.pid] = measure(process)
    return found
