"""Memory and processor time of a process and all that it has started, where /proc tells."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from neucodec_tts.evaluate.serving.throughput import ProcessorTime

_PARENT, _TIMES, _RESIDENT = 1, slice(11, 15), 21
"""Places in /proc/PID/stat after the name: parent; user and system time of its own and of children that have ended;
pages in memory."""


def resident_bytes(pid: int) -> float | None:
    """Memory; None where /proc does not tell."""
    page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
    found = dict(_family(pid))
    return float(sum(int(fields[_RESIDENT]) * page for fields in found.values())) if found else None


def processor_time(pid: int) -> ProcessorTime | None:
    """Processor time so far; None where /proc does not tell."""
    found = {
        member: sum(map(int, fields[_TIMES])) / os.sysconf("SC_CLK_TCK") for member, fields in _family(pid)
    }
    return ProcessorTime(sum(found.values()), found[pid]) if found else None


def _family(pid: int) -> Iterator[tuple[int, list[str]]]:
    """A process and its descendants, with the fields of their /proc/PID/stat."""
    children: dict[int, list[int]] = {}
    stats: dict[int, list[str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if len(fields) > _RESIDENT:
            stats[int(folder.name)] = fields
            children.setdefault(int(fields[_PARENT]), []).append(int(folder.name))
    waiting = [pid] if pid in stats else []
    while waiting:
        process = waiting.pop()
        yield process, stats[process]
        waiting += children.get(process, [])
