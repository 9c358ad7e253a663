"""A picture of a data set: how long its utterances are, and how its codes are used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from neucodec_tts.errors import NeuCodecError
from neucodec_tts.files import atomic_path
from neucodec_tts.metrics.scores import ScoreError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _FAINT, _BARS, _LINE = "#22282f", "#8a929c", "#2f5d8a", "#b4562b"


def plot_dataset(
    path: str | os.PathLike[str],
    lengths: np.ndarray,
    bin_seconds: float,
    code_counts: np.ndarray,
    title: str,
    subtitle: str = "",
) -> None:
    """Draw a histogram of lengths, and the codes by how often they occur, into a PNG (or .pdf, .svg).

    Args:
        path: the picture to write; its folder must exist.
        lengths: integers (bins,): utterances of each length.
        bin_seconds: width of a bin, in seconds.
        code_counts: integers (codebook_size,): how often each code occurs.
        title: first line above the picture, and `subtitle` the second.

    Raises:
        ScoreError: matplotlib is not installed.
        NeuCodecError: the picture cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as problem:
        raise ScoreError("a picture needs matplotlib: pip install 'neucodec-tts[evaluate]'") from problem

    figure = Figure(figsize=(11, 4.6), dpi=130, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _lengths(left, lengths, bin_seconds)
    _codes(right, code_counts)
    for axis in (left, right):
        axis.tick_params(colors=_INK, labelsize=8.5, length=3)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axis.spines[side].set_color(_FAINT)
    figure.suptitle(f"{title}\n{subtitle}", x=0.01, ha="left", fontsize=11, color=_INK)
    with atomic_path(path) as temporary:
        try:
            figure.savefig(temporary)
        except (ValueError, OSError) as problem:
            raise NeuCodecError(
                f"cannot draw {os.fspath(path)}: {problem}; end the name in .png"
            ) from problem


def _lengths(axis: Axes, lengths: np.ndarray, bin_seconds: float) -> None:
    starts = np.arange(lengths.size) * bin_seconds
    axis.bar(starts, lengths, width=0.9 * bin_seconds, align="edge", color=_BARS)
    axis.set_xlabel("seconds", color=_INK)
    axis.set_ylabel("utterances", color=_INK)


def _codes(axis: Axes, counts: np.ndarray) -> None:
    """The share of all frames that the so many most frequent codes have."""
    ordered = np.sort(counts)[::-1]
    total = max(1, int(ordered.sum()))
    ranks = np.arange(1, ordered.size + 1)
    axis.plot(ranks, np.cumsum(ordered) / total, color=_BARS, linewidth=1.6, label="this data set")
    axis.plot(
        ranks,
        ranks / ordered.size,
        color=_LINE,
        linewidth=1,
        linestyle="--",
        label="every code equally often",
    )
    axis.set_xscale("log")
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("codes, the most frequent first", color=_INK)
    axis.set_ylabel("share of all frames", color=_INK)
    axis.legend(fontsize=8.5, frameon=False, loc="upper left")
