"""The engine "ray": it gives the units of a data set to actors on all machines of a Ray cluster."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Read when Ray is imported or started: nothing is sent to anybody, and Ray's C++ part writes about its actors into its
# log files instead of between our lines.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
# Of processes of a Ray that is started here. Its own choice, 15, would let everything else go before the encoders.
os.environ.setdefault("RAY_worker_niceness", "0")

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from neucodec_tts import errors
from neucodec_tts.dataset import (
    CodecInfo,
    Prepared,
    PrepareSettings,
    Progress,
    Recipe,
    Source,
    TokenSettings,
    preparing,
)
from neucodec_tts.dataset.places import place
from neucodec_tts.errors import DatasetError
from neucodec_tts_ray.actor import UnitActor

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0  # between looks at the size of the cluster
_MOST_DEATHS = 5  # of encoders at one unit
_DEATHS = (RayActorError, WorkerCrashedError, ObjectLostError, NodeDiedError, OutOfMemoryError)
GPU_WORKERS = 8
"""Reader processes of an encoder with a GPU, if the cluster has so many cores."""


@dataclass(frozen=True)
class Placement:
    """The use of the cluster.

    Attributes:
        encoders: number of actors.
        num_gpus: of each.
        num_cpus: of each; one for every reader process and one for itself.
        workers: reader processes of each.
        device: of the codec.
        units_at_once: units that an encoder works on at the same time, so that one is read while another is encoded.
    """

    encoders: int
    num_gpus: float
    num_cpus: int
    workers: int
    device: str
    units_at_once: int

    @classmethod
    def of(
        cls,
        resources: dict[str, float],
        *,
        device: str | None = None,
        workers: int | None = None,
        num_gpus: float | None = None,
        concurrency: int | None = None,
    ) -> Placement:
        """Fit encoders into a cluster.

        Args:
            resources: ``ray.cluster_resources()``.
            device: see `PrepareEngine`, also for `workers`, `num_gpus` and `concurrency`.

        Raises:
            DatasetError: the cluster is too small for what is asked for.
        """
        gpus, cpus = resources.get("GPU", 0.0), int(resources.get("CPU", 1.0))
        for name, value in (("num_gpus", num_gpus), ("concurrency", concurrency), ("workers", workers)):
            if value is not None and (not math.isfinite(value) or value < (name == "concurrency")):
                raise DatasetError(f"{name} is {value}; it must be at least {int(name == 'concurrency')}")
        if num_gpus is None:
            num_gpus = 1.0 if gpus >= 1 and not (device or "").startswith("cpu") else 0.0
        if device is None:
            device = "cuda" if num_gpus else "cpu"
        if device.startswith("cpu") and num_gpus:
            raise DatasetError(f"num_gpus is {num_gpus:g} and the device {device!r}; leave one of them out")
        if num_gpus > gpus:
            raise DatasetError(
                f"each encoder is to have {num_gpus:g} GPUs, and the cluster has {gpus:g}; give a smaller --num-gpus"
            )
        by_gpu = int(gpus / num_gpus) if num_gpus else cpus
        if workers is None:
            share = cpus // max(1, min(concurrency or by_gpu, by_gpu))
            workers = max(1, min(GPU_WORKERS if num_gpus else 1, share - 1))
        num_cpus = min(workers + 1, cpus)
        room = max(1, min(by_gpu, cpus // num_cpus))
        if concurrency is not None and concurrency > room:
            raise DatasetError(
                f"{concurrency} encoders of {num_cpus} CPUs and {num_gpus:g} GPUs do not fit a cluster of {cpus} CPUs "
                f"and {gpus:g} GPUs; at most {room} do (--concurrency, --workers, --num-gpus)"
            )
        return cls(concurrency or room, num_gpus, num_cpus, workers, device, 2 if num_gpus else 1)

    def room_in(self, resources: dict[str, float]) -> int:
        """Return how many such encoders a cluster has room for, at least one."""
        by_cpu = int(resources.get("CPU", 0.0)) // self.num_cpus
        by_gpu = int(resources.get("GPU", 0.0) / self.num_gpus) if self.num_gpus else by_cpu
        return max(1, min(by_cpu, by_gpu))


def prepare(
    source: str | os.PathLike[str] | Source,
    out: str | os.PathLike[str],
    codec: str,
    settings: PrepareSettings | None = None,
    *,
    tokens: TokenSettings | None = None,
    device: str | None = None,
    workers: int | None = None,
    num_gpus: float | None = None,
    concurrency: int | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Prepared:
    """Turn a corpus into a data set of codes on the machines of a Ray cluster; see `PrepareEngine`.

    The cluster is the one that this process is connected to, or that the environment variable ``RAY_ADDRESS`` names,
    else one is started on this machine for as long as it takes. Each machine must see the corpus and the data set's
    folder under the same paths, and have the same release of this library.

    An encoder that dies, alone or with its machine, is replaced, and what it was at is done again. Machines may join
    and leave while it works.
    """
    from neucodec_tts import NeuCodec

    info = CodecInfo.of(NeuCodec.from_pretrained(codec, device="cpu"))
    there = place(out)
    out = there.absolute() if isinstance(there, Path) else str(there)
    with cluster():
        placement = Placement.of(
            ray.cluster_resources(),
            device=device,
            workers=workers,
            num_gpus=num_gpus,
            concurrency=concurrency,
        )
        info = replace(info, on_cpu=placement.device.startswith("cpu"))
        with preparing(source, out, info, settings, tokens=tokens) as preparation:
            progress, pending = preparation.progress, preparation.pending
            if pending:
                logger.info("%s", placement)

                def room() -> int:
                    return concurrency or placement.room_in(ray.cluster_resources())

                for report in _reports(preparation.recipe, pending, codec, placement, room):
                    if "error" in report:
                        raise getattr(errors, report["kind"])(report["error"])
                    progress.add(report["counts"], placement.encoders)
                    on_progress(progress)
            return preparation.finish()


@contextmanager
def cluster() -> Iterator[None]:
    """Be connected to a cluster while the block runs.

    Raises:
        DatasetError: there is none at ``RAY_ADDRESS``, or Ray does not start.
    """
    if ray.is_initialized():
        yield
        return
    asked_to_end = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    except (ConnectionError, RayError, OSError, RuntimeError) as problem:
        raise DatasetError(
            f"Ray cannot be reached or started: {problem}; look at RAY_ADDRESS (now "
            f"{os.environ.get('RAY_ADDRESS', 'not set')}) and at `ray status`"
        ) from problem
    if threading.current_thread() is threading.main_thread() and asked_to_end is not None:
        signal.signal(
            signal.SIGTERM, asked_to_end
        )  # Ray would abort, and leave us no time to end in good order
    try:
        yield
    finally:
        ray.shutdown()


class _Encoders:
    """Actors on the machines of a cluster, which come and go.

    An actor that dies is replaced; the new one waits until a machine has room for it, and the others go on.

    Args:
        start: starts one.
        units_at_once: units that each works on at the same time.
    """

    def __init__(self, start: Callable[[], Any], units_at_once: int) -> None:
        self._start, self._units_at_once = start, units_at_once
        self._starting: dict[Any, Any] = {}  # actors, by what says that they are ready
        self._working: dict[Any, tuple[Any, int]] = {}  # actors and units, by what brings the report
        self._actors: list[Any] = []
        self._deaths = 0  # in a row
        self.free: list[Any] = []
        """An actor is in it once for each unit that it has room for."""

    def __len__(self) -> int:
        return len(self._actors)

    def add(self) -> None:
        """Start another one; it is free when it is ready."""
        actor = self._start()
        self._actors.append(actor)
        self._starting[actor.ready.remote()] = actor

    def give(self, unit: int) -> None:
        """Let a free one do a unit."""
        actor = self.free.pop(0)
        self._working[actor.do.remote(unit)] = actor, unit

    def wait(self, seconds: float) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """Wait for something to happen; yield units with their reports, or None for those whose actor has died.

        Raises:
            RayError: nothing but deaths happens.
        """
        done, _ = ray.wait([*self._starting, *self._working], num_returns=1, timeout=seconds)
        for each in done:
            actor, unit = (
                self._working.pop(each) if each in self._working else (self._starting.pop(each), None)
            )
            report = None
            try:
                report = ray.get(each)
            except _DEATHS as problem:
                self._deaths += 1
                if self._deaths == 2 * _MOST_DEATHS:
                    raise
                if actor in self._actors:
                    logger.warning("an encoder died, and is replaced: %s", str(problem).partition("\n")[0])
                    self._actors.remove(actor)
                    self.free = [other for other in self.free if other != actor]
                    self.add()
            else:
                self._deaths = 0
                self.free += [actor] * (self._units_at_once if unit is None else 1)
            if unit is not None:
                yield unit, report

    def end(self) -> None:
        """End all of them."""
        for actor in self._actors:
            ray.kill(actor)


def _reports(
    recipe: Recipe, units: list[int], codec: str, placement: Placement, room: Callable[[], int]
) -> Iterator[dict[str, Any]]:
    """Yield the actors' report of each unit, in the order in which they finish.

    Args:
        recipe: the data set.
        units: numbers of the units to do.
        codec: of the actors.
        placement: of the actors.
        room: tells how many of them the cluster has room for now.

    Raises:
        DatasetError: Ray gives up, or encoders die again and again at one unit.
    """
    actors = ray.remote(UnitActor).options(
        num_cpus=placement.num_cpus,
        num_gpus=placement.num_gpus,
        max_concurrency=placement.units_at_once,
        max_restarts=0,
    )
    settings = codec, placement.device, placement.workers, placement.num_cpus, os.getcwd()
    encoders = _Encoders(lambda: actors.remote(recipe, *settings), placement.units_at_once)
    waiting, left = deque(units), len(units)
    deaths: Counter[int] = Counter()
    looked = -_LOOK_SECONDS
    try:
        while left:
            if time.monotonic() - looked >= _LOOK_SECONDS:
                while len(encoders) < min(room(), left):
                    encoders.add()
                looked = time.monotonic()
            while waiting and encoders.free:
                encoders.give(waiting.popleft())
            for unit, report in encoders.wait(_LOOK_SECONDS):
                if report is not None:
                    left -= 1
                    yield report
                    continue
                waiting.appendleft(unit)
                deaths[unit] += 1
                if deaths[unit] == _MOST_DEATHS:
                    raise DatasetError(
                        f"{_MOST_DEATHS} encoders died at shard {unit}; if memory ran out, take smaller batches "
                        "(--batch-seconds) or fewer encoders (--concurrency); finished shards are kept"
                    )
    except RayTaskError:
        raise  # a bug, and wants its traceback
    except RayError as problem:
        raise DatasetError(
            f"Ray gave up: {' '.join(str(problem).split())[:500]}; run the same command again: finished shards "
            "are kept"
        ) from problem
    finally:
        encoders.end()
