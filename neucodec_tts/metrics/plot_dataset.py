"""A picture of a data set: how long its utterances are, and how its codes are used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from neucodec_tts.metrics.figure import BLUE, INK, ORANGE, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    figure = new_figure(11, 4.6)
    left, right = figure.subplots(1, 2)
    _lengths(left, lengths, bin_seconds)
    _codes(right, code_counts)
    figure.suptitle(f"{title}\n{subtitle}", x=0.01, ha="left", fontsize=11, color=INK)
    save_figure(figure, (left, right), path)


def _lengths(axis: Axes, lengths: np.ndarray, bin_seconds: float) -> None:
    starts = np.arange(lengths.size) * bin_seconds
    axis.bar(starts, lengths, width=0.9 * bin_seconds, align="edge", color=BLUE)
    axis.set_xlabel("seconds", color=INK)
    axis.set_ylabel("utterances", color=INK)


def _codes(axis: Axes, counts: np.ndarray) -> None:
    """The share of all frames that the so many most frequent codes have."""
    ordered = np.sort(counts)[::-1]
    total = max(1, int(ordered.sum()))
    ranks = np.arange(1, ordered.size + 1)
    axis.plot(ranks, np.cumsum(ordered) / total, color=BLUE, linewidth=1.6, label="this data set")
    axis.plot(
        ranks,
        ranks / ordered.size,
        color=ORANGE,
        linewidth=1,
        linestyle="--",
        label="every code equally often",
    )
    axis.set_xscale("log")
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("codes, the most frequent first", color=INK)
    axis.set_ylabel("share of all frames", color=INK)
    axis.legend(fontsize=8.5, frameon=False, loc="upper left")
