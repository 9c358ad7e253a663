"""Pictures: a round trip with its input, codes and output; a text in several voices."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from neucodec_tts.audio.resampling import resample
from neucodec_tts.metrics.figure import BLUE, FAINT, INK, ORANGE, new_figure, save_figure
from neucodec_tts.metrics.scores import SCORE_RATE, Waveform, align, log_mel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

LONGEST_SECONDS = 30.0
"""Of a longer recording the beginning is drawn: more would be a smear at the width of a page."""
_MEL_TICKS_HZ = (250, 1000, 2000, 4000, 8000)
_DECIBELS_SHOWN = 70.0
_DECIBELS = 20 / np.log(10)  # of a neper


def plot_roundtrip(
    path: str | os.PathLike[str],
    original: Waveform,
    original_rate: int,
    reconstruction: Waveform,
    reconstruction_rate: int,
    digits: np.ndarray,
    levels: int,
    frame_rate: float,
    title: str,
    subtitle: str = "",
) -> None:
    """Draw both waveforms, both mel spectrograms and the code track, on one time axis, into a PNG (or .pdf, .svg).

    Args:
        path: the picture to write; its folder must exist.
        original: floats (samples,) at `original_rate` Hz.
        reconstruction: floats (samples,) at `reconstruction_rate` Hz.
        digits: the codes as their FSQ digits, integers (frames, D) from 0 to `levels` - 1, ``codec.quantizer.digits``.
        levels: the most levels that a digit has.
        frame_rate: codes a second, in Hz.
        title: first line above the picture, and `subtitle` the second.

    Raises:
        ScoreError: matplotlib is not installed.
        NeuCodecError: the picture cannot be written.
    """
    figure = new_figure(11, 9)
    before, after = align(original, original_rate, reconstruction, reconstruction_rate)
    whole = before.size / SCORE_RATE
    shown = min(whole, LONGEST_SECONDS)
    if shown < whole:
        subtitle = f"the first {shown:g} s of {whole:.0f} s" + (f" · {subtitle}" if subtitle else "")
    before, after = before[: round(shown * SCORE_RATE)], after[: round(shown * SCORE_RATE)]
    digits = np.asarray(digits)[: round(shown * frame_rate)]

    axes = figure.subplots(5, 1, sharex=True, height_ratios=(1, 1, 2, 2, 1.7))
    peak = max(1e-3, float(np.abs(before).max()), float(np.abs(after).max())) * 1.05
    _waveform(axes[0], before, peak, BLUE, "original")
    _waveform(axes[1], after, peak, ORANGE, "reconstruction")
    _mel_spectrograms(axes[2], axes[3], before, after)
    _code_track(axes[4], digits, levels, frame_rate)
    axes[4].set_xlim(0, shown)
    axes[4].set_xlabel("seconds", color=INK)
    _title(axes[0], title, subtitle)
    figure.align_ylabels(axes)
    save_figure(figure, axes, path)


def plot_voices(
    path: str | os.PathLike[str],
    spoken: Mapping[str, tuple[Waveform, np.ndarray]],
    sample_rate: int,
    levels: int,
    frame_rate: float,
    title: str,
    subtitle: str = "",
) -> None:
    """Draw one text in several voices, each as mel spectrogram and code track, on one time axis, into a PNG (or .pdf,
    .svg).

    Args:
        path: the picture to write; its folder must exist.
        spoken: by the name of the voice, floats (samples,) at `sample_rate` Hz, and the codes as their FSQ digits,
            floats (frames, D) from 0 to `levels` - 1, NaN where there are none.
        sample_rate: in Hz.
        levels: the most levels that a digit has.
        frame_rate: codes a second, in Hz.
        title: first line above the picture, and `subtitle` the second.

    Raises:
        ScoreError: matplotlib is not installed.
        NeuCodecError: the picture cannot be written.
    """
    import torch

    figure = new_figure(11, 3.3 * len(spoken) + 1)
    axes = figure.subplots(2 * len(spoken), 1, sharex=True, height_ratios=(2, 1.3) * len(spoken))
    longest = max(np.size(samples) for samples, _ in spoken.values()) / sample_rate
    for row, (voice, (samples, digits)) in enumerate(spoken.items()):
        heard = resample(torch.as_tensor(samples, dtype=torch.float32), sample_rate, SCORE_RATE)
        picture = log_mel(heard) * _DECIBELS
        image = _mel_spectrogram(axes[2 * row], picture - float(picture.max()), len(heard), voice, ORANGE)
        _decibel_bar(image, [axes[2 * row]])
        _code_track(axes[2 * row + 1], np.asarray(digits), levels, frame_rate)
    axes[-1].set_xlim(0, min(longest, LONGEST_SECONDS))
    axes[-1].set_xlabel("seconds", color=INK)
    _title(axes[0], title, subtitle)
    figure.align_ylabels(axes)
    save_figure(figure, axes, path)


def _title(axis: Axes, title: str, subtitle: str) -> None:
    axis.set_title(title, loc="left", fontsize=14, fontweight="bold", color=INK, pad=26)
    axis.annotate(
        subtitle,
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(0, 9),
        textcoords="offset points",
        fontsize=9.5,
        color=FAINT,
    )


def _waveform(axis: Axes, samples: np.ndarray, peak: float, colour: str, name: str) -> None:
    """Lowest and highest sample of each of some 2,000 columns: as it looks on paper, at any length."""
    step = max(1, samples.size // 2000)
    columns = samples[: samples.size // step * step].reshape(-1, step)
    time = np.arange(columns.shape[0]) * step / SCORE_RATE
    axis.fill_between(
        time, columns.min(axis=1), columns.max(axis=1), color=colour, linewidth=0.4, edgecolor=colour
    )
    axis.set_ylim(-peak, peak)
    axis.set_ylabel(name, color=colour, fontsize=9.5)


def _mel_spectrograms(upper: Axes, lower: Axes, before: np.ndarray, after: np.ndarray) -> None:
    # Natural logarithms of magnitudes to decibels below the loudest spot of the original.
    pictures = [log_mel(samples) * _DECIBELS for samples in (before, after)]
    loudest = float(pictures[0].max())
    for axis, picture, name, colour in zip(
        (upper, lower), pictures, ("original", "reconstruction"), (BLUE, ORANGE), strict=True
    ):
        image = _mel_spectrogram(axis, picture - loudest, before.size, name, colour)
    _decibel_bar(image, [upper, lower])


def _mel_spectrogram(axis: Axes, picture: np.ndarray, samples: int, name: str, colour: str) -> AxesImage:
    """Decibels (bands, frames) of so many samples at `SCORE_RATE`."""
    bands = picture.shape[0]
    image = axis.imshow(
        picture,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0, samples / SCORE_RATE, 0, bands),
        cmap="magma",
        vmin=-_DECIBELS_SHOWN,
        vmax=0,
    )
    axis.set_yticks([_mel_band(hertz, bands) for hertz in _MEL_TICKS_HZ])
    axis.set_yticklabels([f"{hertz / 1000:g}k" if hertz >= 1000 else str(hertz) for hertz in _MEL_TICKS_HZ])
    axis.set_ylabel(f"{name}\nmel, Hz", color=colour, fontsize=9.5)
    return image


def _decibel_bar(image: AxesImage, axes: list[Axes]) -> None:
    bar = axes[0].figure.colorbar(image, ax=axes, pad=0.01, aspect=20 * len(axes))
    bar.set_label("dB", color=INK, fontsize=8.5)
    bar.ax.tick_params(labelsize=8, colors=INK, length=2)
    bar.outline.set_visible(False)


def _mel_band(hertz: float, bands: int) -> float:
    """The place of a frequency on the axis of `log_mel`'s bands."""

    def mel(value: float) -> float:
        return float(2595 * np.log10(1 + value / 700))

    return mel(hertz) / mel(SCORE_RATE / 2) * bands


def _code_track(axis: Axes, digits: np.ndarray, levels: int, frame_rate: float) -> None:
    from matplotlib.colors import ListedColormap

    shades = ["#f1eee6", "#b9c8cf", "#6b93a8", "#1f4e66"] if levels == 4 else None
    colours = ListedColormap(shades) if shades else "YlGnBu"
    image = axis.imshow(
        digits.T,
        origin="upper",
        aspect="auto",
        interpolation="nearest",
        extent=(0, digits.shape[0] / frame_rate, digits.shape[1] + 0.5, 0.5),
        cmap=colours,
        vmin=-0.5,
        vmax=levels - 0.5,
    )
    axis.set_yticks(range(1, digits.shape[1] + 1))
    axis.set_ylabel(f"codes, {frame_rate:g} a second\ndigit", color=INK, fontsize=9.5)
    bar = axis.figure.colorbar(
        image, ax=axis, pad=0.01, aspect=11, ticks=range(levels) if levels <= 8 else None
    )
    bar.ax.tick_params(labelsize=8, colors=INK, length=0)
    bar.set_label("level", color=INK, fontsize=8.5)
    bar.outline.set_visible(False)
