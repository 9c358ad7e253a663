"""``neucodec-tts evaluate``: codecs compared on recordings, as a table."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neucodec_tts.cli.options import DeviceOption
from neucodec_tts.cli.terminal import Terminal, command
from neucodec_tts.errors import NeuCodecError
from neucodec_tts.files import atomic_path

if TYPE_CHECKING:
    from neucodec_tts.evaluation.codecs import AudioCodec
    from neucodec_tts.evaluation.run import Results

_WITHOUT = {"dnsmos": "speechmos", "speaker": "resemblyzer", "pesq": "pesq", "stoi": "pystoi"}
"""Packages that measures need, and are left out without, unless they are asked for."""


@command
def evaluate(
    terminal: Terminal,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="AUDIO",
            help="Recordings, or folders of them; transcripts are text files beside them. cmu-arctic is downloaded.",
        ),
    ],
    codecs: Annotated[
        str,
        typer.Option(
            "--codecs",
            metavar="NAMES",
            help="Codecs with commas between: tiny, neucodec, distill-neucodec, neucodec-44k, xcodec2, dac, mimi@8, "
            "encodec, opus@6k, codec2@1200, folders and hub ids.",
        ),
    ] = "tiny",
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder of the results; a run that was stopped goes on."
        ),
    ] = Path("evaluation"),
    measures: Annotated[
        str | None,
        typer.Option(
            "--measures",
            metavar="NAMES",
            help="Of pesq, stoi, si_sdr, mel_mse, dnsmos, speaker, wer; the default is all whose packages are there.",
            show_default=False,
        ),
    ] = None,
    recogniser: Annotated[
        str | None,
        typer.Option(
            "--recogniser",
            metavar="NAME",
            help="For error rates: pocketsphinx, a folder of faster-whisper, or a hub id (openai/whisper-tiny.en).",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Take so many recordings.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the draw of recordings, and of flipped bits.")] = 0,
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Put the figures of NeuCodec's model card and paper beside the measured ones.",
        ),
    ] = False,
    bit_errors: Annotated[
        str | None,
        typer.Option(
            "--bit-errors",
            metavar="SHARES",
            help="Also flip these shares of the bits of the codes, as in 0,0.001,0.01,0.1.",
            show_default=False,
        ),
    ] = None,
    agreement: Annotated[
        str | None,
        typer.Option(
            "--agreement",
            metavar="A,B",
            help="Also compare the codes of two of the codecs.",
            show_default=False,
        ),
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Compare codecs on recordings: rates, speed, error rates and quality, as a table.

    It writes table.md, table.json, files.parquet and table.png into the folder. A recording or a codec that fails says
    why, and the others go on.

    For example: evaluate recordings --codecs tiny,opus@6k --recogniser pocketsphinx -o results
    """
    from transformers.utils import logging

    from neucodec_tts.evaluation.codecs import ORIGINAL, check_codec_name, load_codec
    from neucodec_tts.evaluation.corpora import find_clips
    from neucodec_tts.evaluation.measuring import MEASURES, Measures
    from neucodec_tts.evaluation.published import PUBLISHED, PUBLISHED_BIT_ERRORS, PUBLISHED_IN_PAPER
    from neucodec_tts.evaluation.run import Results, evaluate_codec, evaluate_originals
    from neucodec_tts.evaluation.table import (
        add_differences,
        markdown,
        plot_quality,
        summarise,
        write_parquet,
    )

    logging.disable_progress_bar()  # this command has its own
    names = _names(codecs, "--codecs")
    shares = _shares(bit_errors)
    pair = [] if agreement is None else _names(agreement, "--agreement")
    if pair and (len(pair) != 2 or not set(pair) <= set(names)):
        raise typer.BadParameter(
            "--agreement takes two of the codecs that --codecs names, as in neucodec,distill-neucodec"
        )
    for name in names:
        check_codec_name(name)
    wanted = _names(measures, "--measures") if measures is not None else _available(MEASURES, recogniser)
    clips = find_clips(inputs, limit, seed)
    with terminal.progress("loading what listens"):
        taken = Measures(wanted, recogniser, device)
    results = Results(
        output,
        {
            "files": [str(clip.path) for clip in clips],
            "measures": [*wanted],
            "recogniser": recogniser,
            "seed": seed,
        },
    )
    with terminal.progress("the recordings", len(clips)) as advance:
        evaluate_originals(clips, taken, results, advance)
    summaries = [summarise(ORIGINAL, None, results)]
    curves: dict[str, list[dict[str, Any]]] = {}
    loaded: dict[str, AudioCodec] = {}
    for name in names:
        try:
            with terminal.progress(f"loading {name}"):
                codec = load_codec(name, device)
        except Exception as problem:  # codecs of other packages may raise anything, and the others go on
            why = problem if isinstance(problem, NeuCodecError) else NeuCodecError(f"{name}: {problem!r}")
            terminal.error(why)
            summaries.append({"codec": name, "files": 0, "error": str(why)})
            continue
        with terminal.progress(name, len(clips)) as advance:
            evaluate_codec(name, codec, clips, taken, results, advance)
        summaries.append(summarise(name, codec, results))
        if pair and name in pair:
            loaded[name] = codec
        if shares:
            found = _with_bit_errors(terminal, name, codec, clips, taken, results, shares, seed)
            if found:
                curves[name] = found
        del codec
    if published:
        summaries += [*PUBLISHED, *PUBLISHED_IN_PAPER]
    add_differences(summaries)
    shown = markdown(summaries)
    report: dict[str, Any] = {"output": output, "codecs": summaries}
    if curves:
        report["bit_errors"] = curves
        shown += "\n" + markdown([row for curve in curves.values() for row in curve])
        if published:
            report["published_bit_errors"] = PUBLISHED_BIT_ERRORS
            shown += f"- {PUBLISHED_BIT_ERRORS}.\n"
    if len(loaded) == 2:
        try:
            report["agreement"], said = _agreement(loaded, results, published)
        except NeuCodecError as problem:
            terminal.error(problem)
            report["agreement"], said = {"error": str(problem)}, f"- No agreement: {problem}.\n"
        shown += f"\n{said}"
    # The tables first: a picture needs a package that may be missing.
    with atomic_path(output / "table.md") as path:
        path.write_text(shown, "utf-8")
    with atomic_path(output / "table.json") as path:
        path.write_text(json.dumps({**report, "output": str(output)}, indent=1, default=str) + "\n", "utf-8")
    write_parquet(output / "files.parquet", results)
    if any(row.get("bit_rate") and row.get("files") for row in summaries):
        plot_quality(output / "table.png", summaries, f"{len(clips)} recordings")
    if curves:
        from neucodec_tts.evaluation.bit_errors import plot_bit_errors

        plot_bit_errors(output / "bit-errors.png", curves, f"{len(clips)} recordings")
    terminal.say(shown.rstrip())
    terminal.say(f"{output}: table.md, table.json, files.parquet, table.png")
    terminal.result(report)
    if not any(row.get("files") for row in summaries[1 : len(names) + 1]):
        raise typer.Exit(1)


def _names(text: str, option: str) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise typer.BadParameter(f"{option} names nothing; give names with commas between")
    return names


def _shares(text: str | None) -> list[float]:
    try:
        shares = [] if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        shares = [-1.0]
    if not all(0 <= share <= 1 for share in shares):
        raise typer.BadParameter(f"--bit-errors {text}: give shares from 0 to 1, as in 0,0.001,0.01,0.1")
    return shares


def _available(measures: tuple[str, ...], recogniser: str | None) -> list[str]:
    return [
        name
        for name in measures
        if (name != "wer" or recogniser is not None)
        and (name not in _WITHOUT or importlib.util.find_spec(_WITHOUT[name]) is not None)
    ]


def _with_bit_errors(
    terminal: Terminal,
    name: str,
    codec: AudioCodec,
    clips: Any,
    measures: Any,
    results: Results,
    shares: list[float],
    seed: int,
) -> list[dict[str, Any]]:
    from neucodec_tts.evaluation.bit_errors import channel
    from neucodec_tts.evaluation.run import evaluate_codec
    from neucodec_tts.evaluation.table import summarise

    if not codec.codebooks:
        terminal.note(f"{name} has no codes whose bits could be flipped; it is left out there")
        return []
    curve = []
    for share in shares:
        row = f"{name}, {share:g} of bits flipped"
        with terminal.progress(row, len(clips)) as advance:
            evaluate_codec(row, codec, clips, measures, results, advance, channel(codec, share, seed))
        curve.append({**summarise(row, codec, results), "bit_errors": share})
    return curve


def _agreement(
    loaded: dict[str, AudioCodec], results: Results, published: bool
) -> tuple[dict[str, object], str]:
    """What is reported, and a table of it."""
    import numpy as np

    from neucodec_tts.evaluation.agreement import compare
    from neucodec_tts.evaluation.published import PUBLISHED_AGREEMENT

    (first, one), (second, other) = loaded.items()
    files = [row["file"] for row in results.of(first) if "error" not in row]
    paths = [(results.codes_path(first, file), results.codes_path(second, file)) for file in files]
    found = compare(one, other, [(np.load(a), np.load(b)) for a, b in paths if a.is_file() and b.is_file()])
    measured = {
        "codes": found.codes,
        "digits": sum(found.digits) / len(found.digits),
        "near_digits": found.near_digits,
        "cosine": found.cosine,
    }
    rows = [(f"{first}, {second}", measured)]
    report: dict[str, object] = {"first": first, "second": second, **asdict(found)}
    if published:
        rows.append(("NeuCodec, Distill-NeuCodec (arXiv:2509.09550)", PUBLISHED_AGREEMENT))
        report["published"] = PUBLISHED_AGREEMENT
    lines = ["| encoders | equal codes | equal digits | digits within a level | cosine of vectors |"]
    lines.append("|" + "---|" * 5)
    for name, shares in rows:
        cells = [f"{100 * shares[key]:.3g} %" for key in ("codes", "digits", "near_digits")]
        lines.append(f"| {name} | {' | '.join(cells)} | {shares['cosine']:.2f} |")
    return report, "\n".join(lines) + "\n"
