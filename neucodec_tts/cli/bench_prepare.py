"""``neucodec-tts bench prepare``: how much of the codec's speed arrives in a data set."""

from __future__ import annotations

import os
from dataclasses import asdict
from importlib.resources import as_file, files
from statistics import median
from typing import Annotated

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


def bench_prepare(
    utterances: Annotated[int, typer.Option(min=1, help="Of the corpus that is made for it.")] = 200,
    batch_seconds: Annotated[
        float | None,
        typer.Option("--batch-seconds", min=1, help="As of prepare.", show_default=False),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each.")] = 3,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="As of prepare.", show_default=False)
    ] = None,
    memory: Annotated[
        bool,
        typer.Option("--memory", help="Compare the peak memory for 200 and for 2,000 short utterances, too."),
    ] = False,
    model: ModelOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Prepare a corpus of lengths like LibriSpeech's, beside the codec alone on equal lengths in memory."""
    with reporting(as_json, quiet, debug) as terminal:
        codec = load_codec(terminal, model, device)
        from neucodec_tts.audio import load_audio
        from neucodec_tts.dataset.benchmark import measure_prepare, peak_memory

        with as_file(files("neucodec_tts") / "assets" / "demo.flac") as shipped:
            speech, rate = load_audio(shipped)
        with terminal.progress("preparing", 2 * repeats) as advance:
            found = measure_prepare(
                codec,
                speech,
                rate,
                utterances=utterances,
                batch_seconds=batch_seconds,
                repeats=repeats,
                workers=workers,
                advance=advance,
            )
        peaks: dict[str, int] = {}
        if memory:
            with terminal.progress("measuring memory", 2) as advance:
                for count in (200, 2000):
                    peaks[str(count)] = peak_memory(speech, rate, count, model=model or "tiny")
                    advance(1)
        terminal.result(
            asdict(found)
            | {
                "ratio": found.ratio,
                "processor_ratio": found.processor_ratio,
                "peak_memory": peaks,
                "codec_id": codec.codec_id,
                "cpu_count": os.cpu_count(),
            }
        )
        terminal.say(
            f"{found.utterances} utterances, {found.audio_seconds:.0f} s, batches of {found.batch_seconds:g} s, "
            f"{found.workers} reader processes, {codec.device}, median of {repeats} runs each, taking turns"
        )
        for name, times in (
            (f"codec alone, {found.batch} x {found.item_seconds:.1f} s", found.encode),
            ("prepare", found.prepare),
        ):
            terminal.say(
                f"  {name:<28}{1 / median(times):8.1f} times real time  "
                f"({1 / max(times):.1f} to {1 / min(times):.1f})"
            )
        terminal.say(f"  {'prepare / codec alone':<28}{found.ratio:8.1%}")
        terminal.say(f"  {'... in processor time':<28}{found.processor_ratio:8.1%}")
        terminal.say(f"  {'padding of encoded frames':<28}{found.padding:8.1%}")
        terminal.say(f"  {'encoder waited':<28}{found.encoder_waits:8.1%} of the time")
        if peaks:
            small, large = peaks["200"], peaks["2000"]
            terminal.say(
                f"  {'peak memory':<28}{small / 2**20:8.0f} MiB for 200 utterances, {large / 2**20:.0f} MiB for 2,000 "
                f"({large / small - 1:+.1%})"
            )
