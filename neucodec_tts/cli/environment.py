"""The environment of a command's process: its threads, its standard streams, and which warnings are shown.

OpenMP and the dependencies read these variables once, when they are imported. Processes that a command starts inherit
them. A variable that is set stays as it is.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neucodec_tts.speech import TextToSpeech

_PROCESS_GROUPS = Path("/proc/self/cgroup")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_CORES = Path("/sys/devices/system/cpu")

_SMALL = 2**19
"""A network whose matrices have fewer numbers than this on average is faster in one thread than in two of which one
sleeps between the products: waking it takes 0.1 to 0.2 ms (two cores of a virtual machine, four sentences together)."""

_free = False
"""True where the caller of the command left the number of threads to it."""


def set_threads(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads of OpenMP sleep while they wait, and start no more of them than there are CPUs for this process.

    PyTorch knows the CPUs of the machine and those that the process is bound to. It does not know a container's CPU
    quota, and its threads spin while they wait, which takes the time of others on a shared machine.
    """
    global _free
    _free = "OMP_NUM_THREADS" not in environment
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    cpus = usable_cpus()
    if cpus < (os.cpu_count() or 1):
        environment.setdefault("OMP_NUM_THREADS", str(cpus))


def speak_in_one_thread_if_small(tts: TextToSpeech, environment: Mapping[str, str] = os.environ) -> bool:
    """Let PyTorch compute in one thread if both networks are small and on the CPU; returns whether they are.

    Nothing changes where the caller of the command has chosen a number of threads, or threads that do not sleep.
    """
    sleep = environment.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"
    if not _free or not sleep or "torch" not in sys.modules:  # llama.cpp with exported files does without it
        return False
    from torch import nn, set_num_threads

    from neucodec_tts.codec.arrays import TensorCodec

    codec = tts.decoder.codec if isinstance(tts.decoder, TensorCodec) else None
    for network in (getattr(tts.engine, "model", None), codec):
        if not isinstance(network, nn.Module):
            return False  # other threads than PyTorch's compute it
        matrices = [each for each in network.parameters() if each.ndim > 1]
        on_cpu = all(each.device.type == "cpu" for each in matrices)
        if not on_cpu or sum(each.numel() for each in matrices) >= _SMALL * len(matrices):
            return False
    set_num_threads(1)
    return True


def open_standard_streams() -> None:
    """Let the standard streams that the caller has closed, which are None in Python, be empty ones."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            opened = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - it stays open
            setattr(sys, name, opened)


def usable_cpus() -> int:
    """The CPUs that this process may use: those it is bound to, at one thread a core, within its quota; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        bound = os.sched_getaffinity(0)
    else:
        bound = set(range(os.cpu_count() or 1))
    cores = {_read(_CORES / f"cpu{cpu}" / "topology" / "thread_siblings_list") or str(cpu) for cpu in bound}
    quota = cpu_quota(_PROCESS_GROUPS, _CONTROL_GROUPS)
    return max(1, min(len(cores), len(cores) if quota is None else int(quota)))


def cpu_quota(process_groups: Path, control_groups: Path) -> float | None:
    """The CPUs that the control groups of a process leave it, version 1 or 2; None where they set no limit.

    Args:
        process_groups: ``/proc/PID/cgroup``, lines of ``number:controllers:/path``; version 2 names no controllers.
        control_groups: where the control groups are mounted. A group and all above it hold; inside a container the
            path may be the host's, of which only the uppermost group can be seen.
    """
    quotas = []
    for line in _read(process_groups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in {controllers, "cpu"} if controllers else {"", "unified"}:
            top = control_groups / mount
            group = top / path.lstrip("/")
            for folder in (group, *group.parents):
                quota = _quota_of(folder)
                if quota is not None:
                    quotas.append(quota)
                if folder == top:
                    break
    return min(quotas, default=None)


def _quota_of(group: Path) -> float | None:
    fields = _read(group / "cpu.max").split()  # version 2: "max 100000" or "150000 100000"
    if not fields:
        fields = [_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")]
    with suppress(ValueError, ZeroDivisionError):
        quota = int(fields[0]) / int(fields[1])
        return quota if quota > 0 else None  # -1 is no limit
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


@contextmanager
def quiet_dependencies() -> Iterator[None]:
    """Keep warnings of other packages from the terminal. This package's own go through its own logger."""
    variables = {
        "PYTHONWARNINGS": "ignore",  # of processes that are started
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_VERBOSITY": "error",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    silence = logging.NullHandler()  # without any handler Python prints what is logged as a warning
    logging.getLogger().addHandler(silence)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda *message, **options: None  # packages set filters of their own
            yield
    finally:
        logging.getLogger().removeHandler(silence)
        for name in added:
            os.environ.pop(name, None)
