"""Engines that prepare a data set elsewhere; packages bring them by an entry point."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol, cast

from neucodec_tts.errors import DatasetError

if TYPE_CHECKING:
    from neucodec_tts.dataset.items import Source
    from neucodec_tts.dataset.preparation import Prepared
    from neucodec_tts.dataset.progress import Progress
    from neucodec_tts.dataset.settings import PrepareSettings
    from neucodec_tts.dataset.tokens import TokenSettings

GROUP = "neucodec_tts.prepare_engines"
LOCAL = "local"
"""The name of `preparation.prepare`, which takes a loaded codec and needs no entry point."""


class PrepareEngine(Protocol):
    """An entry point in the group `GROUP` refers to one: `preparation.prepare`, done by others.

    It must leave what `preparation.prepare` leaves, and keep its promises; with `preparation.preparing` and
    `units.run_units` it does.
    """

    def __call__(
        self,
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
        """Turn a corpus into a data set of codes.

        Args:
            source: see `preparation.prepare`; so `out`, `settings`, `tokens` and `on_progress`.
            codec: hub id, folder, or ``"tiny"``; each encoder loads its own.
            device: of the codec, as ``"cpu"`` or ``"cuda"``; None takes a GPU where there is one.
            workers: reader processes of each encoder; None leaves it to the engine.
            num_gpus: GPUs of each encoder, or a share of one; None takes one where there is one.
            concurrency: encoders; None takes as many as there is room for.

        Raises:
            DatasetError: see `preparation.prepare`, or the machines cannot be had.
        """
        ...


def engine_names() -> list[str]:
    """Names of the engines that are installed, `LOCAL` first."""
    return [LOCAL, *sorted(point.name for point in entry_points(group=GROUP))]


def prepare_engine(name: str) -> PrepareEngine:
    """Return the engine called `name`, any but `LOCAL`.

    Raises:
        DatasetError: none is called so, or what it needs is not installed.
    """
    found = [point for point in entry_points(group=GROUP) if point.name == name]
    if not found:
        raise DatasetError(f"there is no engine {name!r}; installed are {', '.join(engine_names())}")
    try:
        return cast("PrepareEngine", found[0].load())
    except ImportError as problem:
        raise DatasetError(
            f"the engine {name!r} needs more than is installed ({problem}); to get it: "
            f'pip install "neucodec-tts[{name}]"'
        ) from problem
