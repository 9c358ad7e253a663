"""From rows of recordings to one row for each codec: Markdown, Parquet, a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.errors import NeuCodecError
from neucodec_tts.evaluation.codecs import ORIGINAL
from neucodec_tts.evaluation.run import Results
from neucodec_tts.files import atomic_path
from neucodec_tts.metrics.figure import BLUE, INK, ORANGE, new_figure, save_figure

if TYPE_CHECKING:
    from neucodec_tts.evaluation.codecs import AudioCodec

_MEANS = ("pesq", "stoi", "si_sdr", "mel_mse", "dnsmos", "dnsmos_p808", "speaker")
_NAMED_FILES = 3  # that are left out of a mean are named, before they are only counted
_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("codec", "codec", ""),
    ("token_rate", "token rate", "g"),
    ("tokens_per_second", "tokens/s", "g"),
    ("bit_rate", "bit/s", ".0f"),
    ("codebook", "codebook", "d"),
    ("quantizers", "quantizers", "d"),
    ("parameters", "parameters", "M"),
    ("autoencoding_rtf", "autoencoding RTF", ".3f"),
    ("decoding_rtf", "decoding RTF", ".3f"),
    ("wer", "WER", "%"),
    ("cer", "CER", "%"),
    ("wer_difference", "WER difference", "%"),
    ("pesq", "PESQ", ".2f"),
    ("stoi", "STOI", ".3f"),
    ("si_sdr", "SI-SDR dB", ".1f"),
    ("mel_mse", "mel MSE", ".2f"),
    ("dnsmos", "DNSMOS", ".2f"),
    ("dnsmos_p808", "P.808", ".2f"),
    ("speaker", "speaker", ".3f"),
    ("codes_used", "codes used", "%"),
    ("entropy_bits", "entropy bits", ".1f"),
)
"""Key, heading and format of each column of the Markdown table."""
_HIGHER_IS_BETTER = {
    "pesq": "PESQ",
    "stoi": "STOI",
    "dnsmos_p808": "DNSMOS P.808",
    "speaker": "speaker likeness",
}
_LOWER_IS_BETTER = {"wer": "WER", "mel_mse": "mel MSE"}


def summarise(name: str, codec: AudioCodec | None, results: Results) -> dict[str, Any]:
    """The row of a codec: means over the recordings, rates of mistakes over all words.

    Recordings for which a measure is not defined are counted under ``left_out``, with their names, and not averaged in.

    Args:
        name: of the codec, or `ORIGINAL`.
        codec: it, for its rates; None for the recordings themselves.
        results: holds its rows.
    """
    rows = [row for row in results.of(name) if "error" not in row]
    failed = [row for row in results.of(name) if "error" in row]
    summary: dict[str, Any] = {"codec": name, "files": len(rows), "failed": len(failed)}
    if failed:
        summary["error"] = f"{len(failed)} of {len(failed) + len(rows)} files: {failed[0]['error']}"
    if not rows:
        return summary
    seconds = sum(row["seconds"] for row in rows)
    summary["seconds"] = seconds
    if codec is not None:
        summary |= {
            "token_rate": codec.frame_rate,
            "codebook": codec.codebooks[0] if codec.codebooks else None,
            "quantizers": len(codec.codebooks) or None,
            "parameters": codec.parameters,
            "tokens_per_second": codec.frame_rate and codec.frame_rate * len(codec.codebooks),
            "bit_rate": codec.frame_rate * sum(map(math.log2, codec.codebooks))
            if codec.frame_rate
            else sum(row["bits"] for row in rows) / seconds,
            "autoencoding_rtf": sum(row["encode_seconds"] + row["decode_seconds"] for row in rows) / seconds,
            "decoding_rtf": sum(row["decode_seconds"] for row in rows) / seconds,
        }
        summary |= _usage(results.codes(name), codec.codebooks)
    left_out: dict[str, list[str]] = {}
    for row in rows:
        for measure in row["missing"]:
            left_out.setdefault(measure, []).append(Path(row["file"]).name)
    if left_out:
        summary["left_out"] = left_out
    for measure in _MEANS:
        values = [
            row[measure] for row in rows if row.get(measure) is not None and math.isfinite(row[measure])
        ]
        if values:
            summary[measure] = float(np.mean(values))
    counted = [row for row in rows if "words" in row]
    if counted:
        for rate, errors, total in (
            ("wer", "word_errors", "words"),
            ("cer", "character_errors", "characters"),
        ):
            summary[rate] = sum(row[errors] for row in counted) / max(1, sum(row[total] for row in counted))
    return summary


def add_differences(summaries: Sequence[dict[str, Any]]) -> None:
    """Give each row the difference of its word error rate and that of the recordings, in place."""
    original = next((row.get("wer") for row in summaries if row["codec"] == ORIGINAL), None)
    for row in summaries:
        if original is not None and "wer" in row and row["codec"] != ORIGINAL and "source" not in row:
            row["wer_difference"] = row["wer"] - original


def _usage(codes: list[np.ndarray], codebooks: tuple[int, ...]) -> dict[str, Any]:
    """The share of the codes that occur and the bits of their entropy a frame, means and sums over the codebooks."""
    if not codes or not codebooks:
        return {}
    joined = np.concatenate(codes, axis=1)
    shares, entropy = [], 0.0
    for row, size in zip(joined, codebooks, strict=True):
        counts = np.bincount(row, minlength=size)
        likely = counts[counts > 0] / row.size
        shares.append(np.count_nonzero(counts) / size)
        entropy -= float((likely * np.log2(likely)).sum())
    return {"codes_used": float(np.mean(shares)), "entropy_bits": max(0.0, entropy)}


def markdown(summaries: Sequence[dict[str, Any]]) -> str:
    """A table of all columns that have a figure, and below it what was left out and what failed."""
    columns = [c for c in _COLUMNS if any(row.get(c[0]) is not None for row in summaries)]
    lines = ["| " + " | ".join(heading for _, heading, _ in columns) + " |"]
    lines.append("|" + "---|" * len(columns))
    notes = []
    for row in summaries:
        name = f"{row['codec']} ({row['by']})" if "source" in row else row["codec"]
        cells = [name, *(_cell(row.get(key), form) for key, _, form in columns[1:])]
        lines.append("| " + " | ".join(cells) + " |")
        if "source" in row:
            notes.append(f"{name}, published: {row['source']}.")
        if "error" in row:
            notes.append(f"{row['codec']} failed: {row['error']}.")
        for measure, files in row.get("left_out", {}).items():
            named = ", ".join(files[:_NAMED_FILES]) + (" ..." if len(files) > _NAMED_FILES else "")
            notes.append(
                f"{row['codec']}: {measure} is not defined for {len(files)} of {row['files']} files ({named})."
            )
    by_ear = any("wer" in row for row in summaries) and not any(
        "wer" in row for row in summaries if row["codec"] == ORIGINAL
    )
    if by_ear:
        notes.append("WER and CER count against what the recogniser hears in the recordings.")
    return "\n".join([*lines, "", *(f"- {note}" for note in dict.fromkeys(notes)), ""])


def _cell(value: Any, form: str) -> str:
    if value is None:
        return "-"
    if form == "M":
        return f"{value / 1e6:.3g} M"
    if form == "%":
        return f"{100 * value:.3g} %"
    return format(int(value), "d") if form == "d" else format(float(value), form)


def write_parquet(path: str | os.PathLike[str], results: Results) -> None:
    """Write all rows by file.

    Raises:
        NeuCodecError: pyarrow is not installed, or the file cannot be written.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as problem:
        raise NeuCodecError(
            "the table by file needs pyarrow: pip install 'neucodec-tts[evaluate]'"
        ) from problem
    flat = []
    for row in results.rows.values():
        missing = "; ".join(f"{name}: {why}" for name, why in row.get("missing", {}).items()) or None
        flat.append({**{key: value for key, value in row.items() if key != "missing"}, "missing": missing})
    names = list(dict.fromkeys(name for row in flat for name in row))
    table = pyarrow.table({name: [row.get(name) for row in flat] for name in names})
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)


def plot_quality(path: str | os.PathLike[str], summaries: Sequence[dict[str, Any]], title: str) -> None:
    """Draw measures against bit rate, one panel each, into a PNG (or .pdf, .svg).

    Raises:
        ScoreError: matplotlib is not installed.
        NeuCodecError: nothing was measured, or the picture cannot be written.
    """
    shown = [row for row in summaries if row.get("bit_rate")]
    names = {**_HIGHER_IS_BETTER, **_LOWER_IS_BETTER}
    panels = [name for name in names if any(row.get(name) is not None for row in shown)]
    if not panels:
        raise NeuCodecError("nothing was measured that could be drawn against the bit rate")
    figure = new_figure(4.2 * min(3, len(panels)), 3.6 * math.ceil(len(panels) / 3))
    axes = list(np.atleast_1d(figure.subplots(math.ceil(len(panels) / 3), min(3, len(panels)))).flat)
    original = next((row for row in summaries if row["codec"] == ORIGINAL), {})
    for axis, name in zip(axes, panels, strict=False):
        for row in shown:
            if row.get(name) is None:
                continue
            colour = ORANGE if "source" in row else BLUE
            axis.scatter(row["bit_rate"], row[name], color=colour, s=28, zorder=3)
            axis.annotate(
                f"{row['codec']}, {row['by']}" if "source" in row else row["codec"],
                (row["bit_rate"], row[name]),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=8,
            )
        if original.get(name) is not None:
            axis.axhline(original[name], color=INK, linewidth=0.8, linestyle=":", label="the recordings")
            axis.legend(fontsize=7.5, frameon=False)
        axis.set_xscale("log")
        axis.margins(0.25)
        axis.set_xlabel("bit/s", color=INK)
        axis.set_ylabel(
            f"{names[name]}, {'higher' if name in _HIGHER_IS_BETTER else 'lower'} is better", color=INK
        )
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    save_figure(figure, axes, path)
