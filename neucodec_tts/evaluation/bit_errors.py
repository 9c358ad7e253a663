"""Codes with flipped bits, as a noisy channel would deliver them (the experiment of arXiv:2509.09550)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from neucodec_tts.metrics.figure import INK, new_figure, save_figure

if TYPE_CHECKING:
    from neucodec_tts.evaluation.codecs import AudioCodec


def flip_bits(codes: Tensor, codebooks: Sequence[int], share: float, seed: int) -> Tensor:
    """Flip each bit of codes with the probability `share`, independently.

    A code of a codebook of n takes ceil(log2 n) bits, in the order in which the codec numbers its codes; what a flip
    makes of a code that is beyond the codebook is wrapped into it.

    Args:
        codes: LongTensor (codebooks, frames).
        codebooks: their sizes.
        share: from 0 to 1.
        seed: the same seed flips the same bits.

    Returns:
        LongTensor (codebooks, frames).
    """
    random = np.random.default_rng(seed)
    flipped = []
    for row, size in zip(codes.numpy(), codebooks, strict=True):
        width = max(1, math.ceil(math.log2(size)))
        masks = (random.random((row.size, width)) < share) @ (1 << np.arange(width))
        flipped.append((row ^ masks) % size)
    return torch.from_numpy(np.stack(flipped).astype(np.int64))


def channel(codec: AudioCodec, share: float, seed: int) -> Callable[[Tensor, int], Tensor]:
    """A channel that flips bits, as `evaluate_codec` takes it; each recording has bits of its own."""
    return lambda codes, number: flip_bits(codes, codec.codebooks, share, seed + number)


def plot_bit_errors(
    path: str | os.PathLike[str], curves: dict[str, list[dict[str, Any]]], title: str
) -> None:
    """Draw quality against the share of flipped bits, a line for each codec, into a PNG (or .pdf, .svg).

    Args:
        path: the picture to write.
        curves: by codec, its summaries, each with ``bit_errors``.
        title: above the picture.

    Raises:
        ScoreError: matplotlib is not installed.
        NeuCodecError: the picture cannot be written.
    """
    names = {
        "pesq": "PESQ",
        "stoi": "STOI",
        "dnsmos_p808": "DNSMOS P.808",
        "wer": "WER",
        "mel_mse": "mel MSE",
    }
    panels = [name for name in names if any(name in row for curve in curves.values() for row in curve)]
    figure = new_figure(4.2 * max(1, len(panels)), 3.6)
    axes = list(np.atleast_1d(figure.subplots(1, max(1, len(panels)))).flat)
    for axis, name in zip(axes, panels, strict=False):
        for codec, curve in curves.items():
            points = [(row["bit_errors"], row[name]) for row in curve if name in row]
            axis.plot(*zip(*points, strict=True), marker="o", markersize=4, label=codec)
        axis.set_xscale("symlog", linthresh=1e-3)
        axis.set_xlabel("share of bits that are flipped", color=INK)
        axis.set_ylabel(names[name], color=INK)
        axis.legend(fontsize=8, frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    save_figure(figure, axes, path)
