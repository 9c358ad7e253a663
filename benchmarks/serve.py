"""Load a server of speech as clients do, and say what they see."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from dataclasses import asdict
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from neucodec_tts.cli.environment import set_threads
from neucodec_tts.cli.terminal import Terminal, command
from neucodec_tts.errors import EngineError

if TYPE_CHECKING:
    from serving.report import Phase, ServingReport


@command
def main(
    terminal: Terminal,
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL]",
            help="A server that runs, as http://127.0.0.1:8000; without it, one is started and stopped.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Hub id or folder of what is served, or is to be: a small one with random weights by default.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Of the model with random weights, a million of them each; 5 by default.",
            show_default=False,
        ),
    ] = None,
    streams: Annotated[int, typer.Option(min=1, max=10_000, help="Requests at a time.")] = 8,
    requests: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            help="Requests of each turn with so many at a time; twice --streams by default.",
            show_default=False,
        ),
    ] = None,
    turns: Annotated[int, typer.Option(min=1, max=100, help="Turns with sound and without.")] = 2,
    burst: Annotated[int, typer.Option(min=0, max=10_000, help="Requests all at once; 0 for none.")] = 32,
    distinct: Annotated[
        int, typer.Option(min=1, max=10_000, help="Requests that differ; each is first asked for alone.")
    ] = 8,
    minutes: Annotated[
        float, typer.Option(min=0, max=1440, help="Steady load in the end, to watch the server's memory.")
    ] = 0.0,
    faults: Annotated[
        bool,
        typer.Option(
            "--faults", help="In the end, clients that hang up, do not read, and ask for what is refused."
        ),
    ] = False,
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Longest speech, in frames of 20 ms; the model's own by default."),
    ] = None,
    voice: Annotated[
        str | None,
        typer.Option(
            "--voice",
            "-v",
            metavar="NAME",
            help="A voice that the server knows; the small model of random weights brings demo.",
        ),
    ] = None,
    initial_codec_chunk_frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Frames of the first chunk of each stream; the server's own by default.",
            show_default=False,
        ),
    ] = None,
    gapless: Annotated[
        bool,
        typer.Option(
            "--gapless/--no-gapless",
            help="Let the first sound wait where codes come slowly, or ask for it at once.",
        ),
    ] = True,
    watermark: Annotated[
        bool,
        typer.Option(help="Let the server that is started mark its speech, which costs more than the codec."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the first request.")] = 0,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a server that sends nothing is given up.")
    ] = 600.0,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="VLLM_API_KEY",
            help="What the server wants to know. Better in the environment: other users see a command line.",
            show_default=False,
        ),
    ] = None,
    remote: Annotated[
        bool, typer.Option("--remote", help="Allow a server on another machine: one that is yours to load.")
    ] = False,
) -> None:
    """Load a server of speech as clients do: what is lost or mixed, when the first sound comes, what the codec costs.

    Each of a few requests is asked for alone first. Then many come at a time, and all at once, and every answer is
    compared with the same request's alone. The same generations go through vLLM's own /v1/completions in turns.
    With --faults there are clients in the end that behave as they should not.
    """
    if url is not None:
        url = _checked(url, remote)
    if layers is not None and (url is not None or model is not None):
        raise EngineError(
            "--layers is of the model with random weights: leave it out, or leave out URL and --model"
        )
    from random_models import BABBLE_LAYERS
    from serving.client import SpeechClient
    from serving.load import LoadSettings
    from serving.measure import measure_serving
    from serving.own_server import own_server
    from serving.processes import processor_time, resident_by_process, resident_bytes

    settings = LoadSettings(
        streams=streams,
        requests=requests or 2 * streams,
        turns=turns,
        burst=burst,
        distinct=distinct,
        minutes=minutes,
        faults=faults,
        longest=frames,
        voice=voice,
        seed=seed,
        first_chunk=initial_codec_chunk_frames,
        gapless=gapless,
    )

    async def measured(url: str, model: str | None, pid: int | None) -> ServingReport:
        async with SpeechClient(url, api_key=api_key, timeout=timeout) as client:
            return await measure_serving(
                client,
                settings,
                model=model,
                memory=lambda: None if pid is None else resident_bytes(pid),
                processes=lambda: {} if pid is None else resident_by_process(pid),
                processor=lambda: None if pid is None else processor_time(pid),
                advance=lambda what: terminal.note(f"{what} ..."),
            )

    with ExitStack() as stack:
        pid = None
        if url is None:
            from transformers.utils import logging

            logging.disable_progress_bar()  # saving a small model is none
            SpeechClient("http://127.0.0.1")  # before minutes of starting, what is missing is said
            terminal.note(f"starting a server with {model or 'a small model of random weights'} ...")
            environment = {"NEUCODEC_TTS_WATERMARK": str(int(watermark))}
            if api_key is not None:
                environment["VLLM_API_KEY"] = api_key
            running = stack.enter_context(
                own_server(model, layers=layers or BABBLE_LAYERS, environment=environment)
            )
            url, model, pid = running.url, running.model, running.pid
        report = asyncio.run(measured(url, model, pid))
    terminal.result(_values(report))
    _tell(terminal, report)
    if not report.whole:
        raise typer.Exit(1)


def _checked(url: str, remote: bool) -> str:
    """The address, if it may be loaded.

    Raises:
        EngineError: it is none, or on another machine and that was not allowed.
    """
    try:
        address = urlsplit(url if "://" in url else f"http://{url}")
        usable = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise EngineError(f"{url!r} is no address of a server, such as http://127.0.0.1:8000")
    host = address.hostname or ""
    try:
        here = ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost"
    if not (here or remote):
        raise EngineError(
            f"{host} is not this machine; a load test is for servers of one's own: --remote if it is yours"
        )
    return address.geturl().removesuffix("/v1")


def _values(report: ServingReport) -> dict[str, object]:
    values: dict[str, object] = {**asdict(report), "whole": report.whole, "cpu_count": os.cpu_count()}
    if report.throughput is not None:
        derived = (
            "loss",
            "whole_loss",
            "processor_loss",
            "processor_loss_whole",
            "model_streams",
            "speech_streams",
        )
        values["throughput"] = asdict(report.throughput) | {
            name: getattr(report.throughput, name) for name in derived
        }
    if report.first is not None:
        values["first"] = {**asdict(report.first), "decodes": report.first.decodes}
    return values


def _tell(terminal: Terminal, report: ServingReport) -> None:
    from serving import faults, throughput
    from serving.prefix import describe
    from serving.report import GAPLESS_SPEED

    terminal.say(f"{report.model}: times in seconds, median / 95th percentile / worst")
    terminal.say(
        "                      first sound           waiting per s of speech   dry listeners   lost  mixed  "
        "other token  other sound"
    )
    phases: list[tuple[str, Phase | None]] = [
        ("alone", report.alone),
        (f"{report.streams.at_a_time} at a time", report.streams),
        ("all at once", report.burst),
        ("for minutes", report.soak),
    ]
    for name, phase in phases:
        if phase is not None:
            terminal.say(_line(name, phase))
    for name, phase in phases:
        if phase is not None and phase.fast:
            terminal.say(
                f"  {name}: of {phase.fast} that came faster than they are played, {phase.dry_fast} listeners ran dry; "
                f"of {phase.promised} at {GAPLESS_SPEED} times as fast or more, {phase.dry_promised} "
                f"(the median of all is {phase.generation_speed:.2f})"
            )
    for _, phase in phases:
        for error, number in ({} if phase is None else phase.errors).items():
            terminal.say(f"  {number} x {error}")
    if report.lost_as_a_whole:
        terminal.say(f"  {report.lost_as_a_whole} requests for speech as a whole were not answered")
    if not report.repeatable:
        terminal.say("  the same request, twice and alone, was not the same: comparisons say little")
    if report.first is not None:
        first = report.first
        terminal.say(
            f"  first sound alone {first.first_audio:.3f} s = {first.chunk_tokens / first.first_audio:.2f} of "
            f"it tokens (the first {first.first_token:.3f} s), and {first.decodes:.2f} times one decode of the first "
            f"chunk ({first.decode:.3f} s)"
        )
    if report.throughput is not None:
        for line in throughput.describe(report.throughput):
            terminal.say(f"  {line}")
    for phase in (report.streams, report.burst):
        if phase is not None and phase.stall is not None and phase.own_stall is not None:
            terminal.say(
                f"  {phase.at_a_time} at once: /health took {phase.stall:.3f} s at worst ({report.idle_stall:.3f} s "
                f"without load); this client itself came {phase.own_stall:.3f} s late"
            )
    if report.server_stall is not None:
        terminal.say(f"  the server's event loop, by its own metrics: {report.server_stall:.3f} s at worst")
    if report.memory_before and report.memory_after:
        terminal.say(
            f"  the server's memory: {report.memory_before / 2**20:,.0f} MiB, then {report.memory_after / 2**20:,.0f} "
            f"({report.memory_after / report.memory_before:.3f} times)"
        )
    if report.memory:
        minutes, sizes = zip(*report.memory, strict=True)
        terminal.say(
            f"    within {minutes[-1]:.1f} minutes of load {sizes[0] / 2**20:,.0f} to {sizes[-1] / 2**20:,.0f} MiB, "
            f"{max(sizes) / 2**20:,.0f} at most"
        )
    for name, (before, after) in report.memory_by_process.items():
        terminal.say(f"    {name}: {before / 2**20:,.0f}, then {after / 2**20:,.0f} MiB")
    for line in faults.describe(report.faults) if report.faults else ():
        terminal.say(f"  {line}")
    if report.prefix is not None:
        terminal.say(f"  {describe(report.prefix, report.voice)}")
    if report.prefix_hit_rate is not None:
        terminal.say(
            f"  of all prompt tokens since the server's start, most of them the same again and again: "
            f"{100 * report.prefix_hit_rate:.0f} %"
        )
    for reason in report.left_out:
        terminal.note(f"left out: {reason}")


def _line(name: str, phase: Phase) -> str:
    first, factor = (
        "/".join("-" if spread is None else f"{number:.2f}" for number in numbers)
        for spread, numbers in (
            (spread, () if spread is None else (spread.median, spread.p95, spread.worst))
            for spread in (phase.first_audio, phase.real_time_factor)
        )
    )
    return (
        f"  {name:<14}{phase.requests:5d} {first or '-':>20} {factor or '-':>24} {phase.dry_listeners:9d} "
        f"({phase.silence:.1f} s) {phase.lost:5d} {phase.mixed:6d} {phase.diverged:10d} {phase.different:12d}"
    )


if __name__ == "__main__":
    set_threads()
    typer.run(main)
