"""The engine "ray": it gives the units of a data set to actors on all machines of a Ray cluster."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
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
import ray.data
from ray.exceptions import RayError, RayTaskError

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

    An encoder that dies is replaced, and what it was at is done again.
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
                placement = replace(placement, encoders=min(placement.encoders, len(pending)))
                logger.info("%s", placement)
                for report in _reports(preparation.recipe, pending, codec, placement):
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


def _reports(recipe: Recipe, units: list[int], codec: str, placement: Placement) -> Iterator[dict[str, Any]]:
    """Yield the actors' report of each unit, in the order in which they finish.

    Raises:
        DatasetError: Ray gives up.
    """
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    with ray.data.DataContext.current(context), _quiet():
        reports = ray.data.from_items(
            [{"unit": unit} for unit in units], override_num_blocks=len(units)
        ).map_batches(
            UnitActor,
            batch_size=1,
            fn_constructor_kwargs={
                "recipe": recipe,
                "codec": codec,
                "device": placement.device,
                "workers": placement.workers,
                "threads": placement.num_cpus,
                "folder": os.getcwd(),
            },
            compute=ray.data.ActorPoolStrategy(
                size=placement.encoders,
                max_concurrent_calls_per_actor=placement.units_at_once,
                enable_true_multi_threading=True,
            ),
            num_gpus=placement.num_gpus,
            num_cpus=placement.num_cpus,
        )
        try:
            for row in reports.iter_rows():
                yield json.loads(row["report"])
        except RayTaskError:
            raise  # a bug, and wants its traceback
        except RayError as problem:
            raise DatasetError(
                f"Ray gave up: {' '.join(str(problem).split())[:500]}; run the same command again: finished shards "
                "are kept"
            ) from problem


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Data's account of its own execution from the user."""
    loggers = [logging.getLogger(name) for name in ("ray.data", "ray")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
