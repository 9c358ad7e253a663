"""Figures of this package's pictures: one look, and files that are whole or not there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from neucodec_tts.errors import NeuCodecError
from neucodec_tts.files import atomic_path
from neucodec_tts.metrics.scores import ScoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, BLUE, ORANGE = "#22282f", "#8a929c", "#2f5d8a", "#b4562b"


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of so many inches, made without pyplot, whose state is the whole program's.

    Raises:
        ScoreError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as problem:
        raise ScoreError("a picture needs matplotlib: pip install 'neucodec-tts[evaluate]'") from problem

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, axes: Iterable[Axes], path: str | os.PathLike[str]) -> None:
    """Give `axes` the common look and write the figure, as its suffix says (.png, .pdf, .svg).

    Raises:
        NeuCodecError: the picture cannot be written.
    """
    for axis in axes:
        axis.tick_params(colors=INK, labelsize=8.5, length=3)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axis.spines[side].set_color(FAINT)
    with atomic_path(path) as temporary:
        try:
            figure.savefig(temporary)
        except (ValueError, OSError) as problem:
            raise NeuCodecError(
                f"cannot draw {os.fspath(path)}: {problem}; end the name in .png"
            ) from problem
