"""Measure the cost of the plugin for plain text: the same generations with it and without, in turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from neucodec_tts.cli.environment import set_threads
from neucodec_tts.cli.terminal import Terminal, command
from neucodec_tts.errors import EngineError
from random_models import save_babbling_model
from serving.own_server import end_of_log

WRITER = (sys.executable, str(Path(__file__).with_name("plain_text_writer.py")))
"""Runs a vLLM that writes text when asked to; the model follows, and whether to hide the plugin."""
_END_SECONDS = 30


@dataclass(frozen=True)
class PlainTextCost:
    """The same generations, turn by turn.

    Attributes:
        with_plugin: tokens a second of each turn.
        without_plugin: tokens a second of each turn.
        work_with_plugin: processor time of each turn, in milliseconds a token, which other programs disturb less.
        work_without_plugin: likewise.
        same_tokens: whether both have written the same.
    """

    with_plugin: list[float]
    without_plugin: list[float]
    work_with_plugin: list[float]
    work_without_plugin: list[float]
    same_tokens: bool

    @property
    def loss(self) -> float:
        """Share of the tokens a second that the plugin costs."""
        return 1 - _ratio(self.with_plugin, self.without_plugin)

    @property
    def more_work(self) -> float:
        """Share of processor time that the plugin adds."""
        return _ratio(self.work_with_plugin, self.work_without_plugin) - 1


def _ratio(ours: list[float], plain: list[float]) -> float:
    """Mean of the medians of both halves of the turns: the vLLM that was started first may be the faster one."""
    pairs = [one / other for one, other in zip(ours, plain, strict=True)]
    half = _first_half(len(pairs))
    return statistics.mean(statistics.median(part) for part in (pairs[:half], pairs[half:]) if part)


def _first_half(turns: int) -> int:
    return (turns + 1) // 2


def measure_plain_text(
    model: str | None = None,
    *,
    turns: int = 6,
    requests: int = 32,
    tokens: int = 64,
    advance: Callable[[str], None] = lambda what: None,
    writer: Sequence[str] = WRITER,
) -> PlainTextCost:
    """Let two vLLMs write, one with the plugin and one without, and never both at once.

    Args:
        model: folder or hub id; without it a small one of random weights, for which the plugin would matter most.
        turns: of each, after one to warm up; half of them with the one started first, half with the other.
        requests: of each turn, all at once.
        tokens: of each request.
        advance: told what begins.
        writer: program that writes.

    Raises:
        EngineError: vLLM does not start, or the plugin is there or missing where it should not be.
    """
    results: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="neucodec-tts-bench-") as name:
        folder = Path(name)
        if model is None:
            save_babbling_model(folder / "model")
            model = str(folder / "model")
        # Halfway both start anew, the other one first: what comes of that is no cost of the plugin.
        half = _first_half(turns)
        for order, its_turns in (((True, False), range(half)), ((False, True), range(half, turns))):
            if not its_turns:
                continue
            with ExitStack() as stack:
                writers = {}
                for plugin in order:
                    advance(f"starting vLLM {'with' if plugin else 'without'} the plugin")
                    options = [model, *([] if plugin else ["--without-plugin"])]
                    log = folder / f"{plugin}.log"
                    writers[plugin] = stack.enter_context(_writing([*writer, *options], log))
                    _check_plugin(plugin, writers[plugin].started["plugin"])
                for turn in (-1, *its_turns):  # the first warms up
                    advance("warming up" if turn < 0 else f"turn {turn + 1} of {turns}")
                    # The next turn goes the other way round: what is first in each is not always the same.
                    for plugin in (True, False) if turn % 2 else (False, True):
                        asked = {"requests": requests, "tokens": tokens, "seed": turn + 1}
                        answer = writers[plugin].write(asked)
                        if turn >= 0:
                            results[plugin].append(answer)
    ours, plain = results[True], results[False]
    return PlainTextCost(
        _speeds(ours),
        _speeds(plain),
        _works(ours),
        _works(plain),
        [one["digest"] for one in ours] == [one["digest"] for one in plain],
    )


def _check_plugin(wanted: bool, loaded: bool) -> None:
    if wanted and not loaded:
        raise EngineError("vLLM has not loaded the plugin: is neucodec-tts installed where it is?")
    if loaded and not wanted:
        raise EngineError("vLLM has loaded the plugin though it was hidden; there is nothing to compare")


def _speeds(answers: list[dict[str, Any]]) -> list[float]:
    return [one["tokens"] / one["seconds"] for one in answers]


def _works(answers: list[dict[str, Any]]) -> list[float]:
    return [1000 * one["processor_seconds"] / one["tokens"] for one in answers]


@dataclass(frozen=True)
class _Writer:
    """A program that is asked and answers in lines of JSON."""

    process: subprocess.Popen[str]
    log: Path
    started: dict[str, Any]

    def write(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # that it has no answer says more
            print(json.dumps(asked), file=self.process.stdin, flush=True)
        return _answer(self.process, self.log)


@contextmanager
def _writing(command: list[str], log: Path) -> Iterator[_Writer]:
    with open(log, "wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8"
        )
    try:
        yield _Writer(process, log, _answer(process, log))
    finally:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _answer(process: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise EngineError(f"vLLM has ended: {end_of_log(log)}")
    answer: dict[str, Any] = json.loads(line)
    return answer


@command
def main(
    terminal: Terminal,
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
) -> None:
    """Let two vLLMs write plain text in turns, one with the plugin loaded and one without it.

    vLLM loads the plugin's logits processor wherever it is installed. Both must write the same tokens, and as fast.
    """
    from transformers.utils import logging

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


if __name__ == "__main__":
    set_threads()
    typer.run(main)
