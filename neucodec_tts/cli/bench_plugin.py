"""``neucodec-tts bench plugin``: what the plugin costs a vLLM that nobody asks to speak."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from neucodec_tts.cli.bench import bench
from neucodec_tts.cli.terminal import DebugOption, JsonOption, QuietOption, reporting


@bench.command("plugin")
def bench_plugin(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Hub id or folder of any model that vLLM runs: a small one with random weights by default.",
            show_default=False,
        ),
    ] = None,
    turns: Annotated[int, typer.Option(min=1, max=1000, help="Turns of each.")] = 6,
    requests: Annotated[int, typer.Option(min=1, max=10_000, help="Requests of a turn, all at once.")] = 32,
    tokens: Annotated[int, typer.Option(min=1, max=10_000, help="Tokens of each request.")] = 64,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Let two vLLMs write plain text in turns, one with the plugin loaded and one without it.

    vLLM loads the plugin's logits processor wherever it is installed. Both must write the same tokens, and as fast.
    """
    with reporting(as_json, quiet, debug) as terminal:
        from transformers.utils import logging

        from neucodec_tts.evaluate.serving.plain_text import measure_plain_text

        logging.disable_progress_bar()  # saving a small model is none
        cost = measure_plain_text(
            model,
            turns=turns,
            requests=requests,
            tokens=tokens,
            advance=lambda what: terminal.note(f"{what} ..."),
        )
        terminal.result({**asdict(cost), "loss": cost.loss, "more_work": cost.more_work})
        terminal.say(
            f"{requests} requests of {tokens} tokens of plain text, {turns} turns of each:\n"
            f"  tokens a second with the plugin {_numbers(cost.with_plugin)}, without {_numbers(cost.without_plugin)}: "
            f"it costs {100 * cost.loss:.1f} %\n"
            f"  processor time in ms a token with the plugin {_numbers(cost.work_with_plugin, 2)}, without "
            f"{_numbers(cost.work_without_plugin, 2)}: it adds {100 * cost.more_work:.1f} %\n"
            f"  both wrote {'the same' if cost.same_tokens else 'DIFFERENT tokens'}"
        )
    if not cost.same_tokens:
        raise typer.Exit(1)


def _numbers(values: list[float], digits: int = 0) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)
