"""``neucodec-tts bench serve``: a running server under load."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.bench import bench
from neucodec_tts.cli.terminal import DebugOption, JsonOption, QuietOption, Terminal, reporting
from neucodec_tts.errors import EngineError

if TYPE_CHECKING:
    from neucodec_tts.evaluate.load import LoadReport


@bench.command("serve")
def bench_serve(
    url: Annotated[
        str, typer.Argument(metavar="[URL]", help="The server; it must be running.")
    ] = "http://127.0.0.1:8000",
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Streams at a time.")] = 64,
    requests: Annotated[int, typer.Option("--requests", min=1, help="How many in all.")] = 256,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0, help="Go on for so long instead.", show_default=False)
    ] = 0,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare/--no-compare", help="Ask for the codes alone as well, to see what decoding costs."
        ),
    ] = True,
    voice: Annotated[
        str | None, typer.Option("--voice", metavar="NAME", help="A voice on the server.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="As the server calls it.", show_default=False),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option("--api-key", envvar="VLLM_API_KEY", help="Its key.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Drive a speech server over HTTP, and print what its clients got.

    A client plays from its first chunk on, in real time; it runs dry when the next is not there in time.
    """
    with reporting(as_json, quiet, debug) as terminal:
        try:
            from neucodec_tts.evaluate.load import first_audio_bound, measure_load
        except ImportError as error:
            raise EngineError(f"{error}; the load client needs httpx: pip install httpx") from error

        def run(decode: bool, what: str) -> LoadReport:
            with terminal.progress(what, requests if not minutes else None) as advance:
                return measure_load(
                    url,
                    requests=requests,
                    concurrency=concurrency,
                    seconds=60 * minutes,
                    api_key=api_key,
                    voice=voice,
                    model=model,
                    decode=decode,
                    advance=advance,
                )

        codes = run(False, "codes only") if compare else None
        speech = run(True, "streams")
        bound = first_audio_bound(speech)
        loss = None
        if codes is not None and codes.token_rate:
            loss = 1 - speech.token_rate / codes.token_rate
        terminal.result(_summary(speech, bound, loss, codes))
        _say(terminal, speech, bound, loss, codes, concurrency)
        if speech.lost or (codes is not None and codes.lost):
            raise typer.Exit(1)


def _summary(
    speech: LoadReport, bound: float, loss: float | None, codes: LoadReport | None
) -> dict[str, object]:
    return {
        "requests": len(speech.clients),
        "lost": speech.lost,
        "seconds": speech.seconds,
        "audio_seconds": speech.audio,
        "first_audio_p50": speech.first_audio(0.5),
        "first_audio_p95": speech.first_audio(0.95),
        "first_audio_mean": _mean_first_audio(speech),
        "first_audio_bound": bound,
        "clients_run_dry": sum(one.dry > 0 for one in speech.good),
        "dry_seconds": sum(one.dry_seconds for one in speech.good),
        "tokens_per_second": speech.token_rate,
        "tokens_per_second_codes_only": None if codes is None else codes.token_rate,
        "loss": loss,
        "worst_stall": speech.worst_stall,
        "decode_batch_streams": speech.mean("neucodec_tts:decode_batch_size"),
        "decode_batch_seconds": speech.mean("neucodec_tts:decode_batch_seconds"),
        "memory": speech.memory,
        "clients": [asdict(one) for one in speech.clients],
    }


def _mean_first_audio(report: LoadReport) -> float:
    return sum(one.first_audio for one in report.good) / max(1, len(report.good))


def _say(
    terminal: Terminal,
    speech: LoadReport,
    bound: float,
    loss: float | None,
    codes: LoadReport | None,
    concurrency: int,
) -> None:
    factor = speech.seconds / max(speech.audio, 1e-9)
    dry = sum(one.dry > 0 for one in speech.good)
    terminal.say(
        f"{len(speech.clients)} requests, {concurrency} at a time, in {speech.seconds:.1f} s; {speech.lost} lost"
    )
    lines = [
        ("speech", f"{speech.audio:.1f} s, {1 / max(factor, 1e-9):.3g} times real time in all"),
        (
            "first audio",
            f"median {1000 * speech.first_audio(0.5):.0f} ms, 95 % below {1000 * speech.first_audio(0.95):.0f} ms, "
            f"mean {1000 * _mean_first_audio(speech):.0f} ms",
        ),
        ("  first token, first chunk, 1.5 decodes", f"{1000 * bound:.0f} ms by the server's own figures"),
        (
            "ran dry",
            f"{dry} of {len(speech.good)} clients, {sum(one.dry_seconds for one in speech.good):.2f} s in all",
        ),
        ("tokens", f"{speech.token_rate:.0f} a second"),
    ]
    if codes is not None and loss is not None:
        lines.append(
            ("  without decoding", f"{codes.token_rate:.0f} a second; decoding costs {100 * loss:.1f} %")
        )
    lines += [
        (
            "codec",
            f"{speech.mean('neucodec_tts:decode_batch_size'):.1f} windows a batch, "
            f"{1000 * speech.mean('neucodec_tts:decode_batch_seconds'):.0f} ms each",
        ),
        ("event loop", f"worst stall {1000 * speech.worst_stall:.0f} ms"),
    ]
    if all(speech.memory):
        before, after = (value / 2**20 for value in speech.memory)
        lines.append(("memory of the server", f"{before:.0f} MiB before, {after:.0f} MiB after"))
    for name, value in lines:
        terminal.say(f"  {name:<40}{value}")
