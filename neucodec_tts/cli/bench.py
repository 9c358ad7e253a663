"""``neucodec-tts bench``: how fast, beside what else there is."""

from __future__ import annotations

import os
from dataclasses import asdict
from enum import Enum
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.terminal import (
    DebugOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    QuietOption,
    load_codec,
    reporting,
)

if TYPE_CHECKING:
    from neucodec_tts.metrics.speed import Direction

bench = typer.Typer(
    name="bench",
    help="How fast it is, beside what else there is, and what streaming costs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class Size(str, Enum):
    """Which model is timed."""

    full = "full"
    tiny = "tiny"


SecondsOption = Annotated[float, typer.Option(min=0.1, help="Length of each item, in seconds.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Items at a time.")]
SizeOption = Annotated[
    Size,
    typer.Option(
        help="full: NeuCodec's size with random weights, which needs 6 GiB; tiny: the built-in one."
    ),
]
RepeatsOption = Annotated[int, typer.Option(min=1, help="Timed runs of each, after one to warm up.")]


@bench.command("encode")
def bench_encode(
    seconds: SecondsOption = 10.0,
    batch: BatchOption = 1,
    size: SizeOption = Size.full,
    repeats: RepeatsOption = 5,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Time waveforms to codes, beside transformers: same weights, taking turns in one run."""
    _run("encode", seconds, batch, size, repeats, device, as_json, quiet, debug)


@bench.command("decode")
def bench_decode(
    seconds: SecondsOption = 10.0,
    batch: BatchOption = 1,
    size: SizeOption = Size.full,
    repeats: RepeatsOption = 5,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Time codes to waveforms, beside transformers: same weights, taking turns in one run."""
    _run("decode", seconds, batch, size, repeats, device, as_json, quiet, debug)


@bench.command("stream")
def bench_stream(
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IN]...", help="Recordings; the one that comes with the package by default."),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Compare streamed sound with the whole decoded at once, for the default settings and others."""
    with reporting(as_json, quiet, debug) as terminal:
        codec = load_codec(terminal, model, device)
        from neucodec_tts.audio import as_waveform
        from neucodec_tts.codec.streaming import StreamSettings
        from neucodec_tts.evaluate.streaming import compare_settings, measure_streaming

        with as_file(files("neucodec_tts") / "assets" / "demo.flac") as shipped:
            waveforms = [as_waveform(path, target_rate=codec.sample_rate) for path in recordings or [shipped]]
        settings = compare_settings(StreamSettings())
        with terminal.progress("streaming", len(settings)) as advance:
            rows, best = measure_streaming(codec, waveforms, settings, advance)
        terminal.result(
            {"recordings": len(waveforms), "stoi_whole": best, "rows": [asdict(row) for row in rows]}
        )
        terminal.say(
            f"{len(waveforms)} recordings, {codec.codec_id}, chunks of up to {settings[0].chunk} frames; decoded at "
            f"once STOI {best:.3f} to the original"
        )
        terminal.say(
            "lookback  lookahead  growth  slack  first sound  work   SNR to whole  STOI to whole  STOI to original"
        )
        for row in rows:
            terminal.say(
                f"{row.lookback:8d}{row.lookahead:11d}{row.growth:8.2f}{row.slack:7.1f}"
                f"{row.first_sound * 20:10d} ms{row.work:6.2f}{row.snr:12.1f} dB"
                f"{row.stoi:15.3f}{row.stoi_original:18.3f}"
            )


def _run(
    direction: Direction,
    seconds: float,
    batch: int,
    size: Size,
    repeats: int,
    device: str | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    with reporting(as_json, quiet, debug) as terminal:
        with terminal.progress(f"timing {direction}", 2 * (repeats + 1)) as advance:
            from neucodec_tts.metrics.speed import compare_speed

            found = compare_speed(
                direction,
                seconds=seconds,
                batch=batch,
                size=size.value,
                repeats=repeats,
                device=device,
                advance=advance,
            )
        audio = found.batch * found.seconds
        terminal.result(
            asdict(found)
            | {
                "ours_median": found.ours_median,
                "theirs_median": found.theirs_median,
                "ratio": found.ratio,
                "ours_real_time_factor": found.ours_median / audio,
                "theirs_real_time_factor": found.theirs_median / audio,
                "cpu_count": os.cpu_count(),
            }
        )
        weights = "random weights" if size is Size.full else "built-in checkpoint"
        terminal.say(
            f"{direction}, {batch} x {seconds:g} s, {size.value} size ({weights}), float32, {found.device}, "
            f"{found.threads} threads, median of {repeats} runs each, taking turns"
        )
        for name, value, times in (
            ("neucodec-tts", found.ours_median, found.ours),
            (f"transformers {found.transformers_version}", found.theirs_median, found.theirs),
        ):
            terminal.say(
                f"  {name:<22}{value:8.3f} s  ({min(times):.3f} to {max(times):.3f})   "
                f"{value / audio:.4f} s per second of audio"
            )
        if direction == "encode":
            agreement = f"{100 * found.agreement:.2f} % of codes equal"
        else:
            agreement = f"{found.agreement:.0f} dB SNR between the two"
        terminal.say(f"  {'ratio':<22}{found.ratio:8.2f}    times as fast as transformers; {agreement}")
