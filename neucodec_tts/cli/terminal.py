"""The output of commands: results on stdout, all else on stderr, errors in one line."""

from __future__ import annotations

import functools
import inspect
import json
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from neucodec_tts.cli.environment import quiet_dependencies
from neucodec_tts.cli.options import DebugOption, JsonOption, Precision, QuietOption
from neucodec_tts.errors import NeuCodecError
from neucodec_tts.files import printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from neucodec_tts.codec.arrays import ArrayCodec
    from neucodec_tts.codec.neucodec import NeuCodec

PROGRESS_AFTER_SECONDS = 2.0
"""Work that is done sooner shows no progress bar."""


@dataclass(frozen=True)
class Terminal:
    """The output of one command."""

    json: bool
    quiet: bool

    def say(self, line: str = "") -> None:
        """A line about the result, on stdout, for people."""
        if not (self.json or self.quiet):
            _print(printable(line))

    def note(self, line: str) -> None:
        """A line that is no result, on stderr."""
        if not self.quiet:
            typer.echo(printable(line), err=True)

    def error(self, problem: object) -> None:
        """One line about what failed, on stderr."""
        typer.echo(f"error: {printable(' '.join(str(problem).split()))}", err=True)

    def result(self, values: Mapping[str, object]) -> None:
        """The result for machines, on stdout; numbers that JSON lacks (infinity, NaN) become null.

        A file name that is not UTF-8 has JSON's escapes, which Python reads back as the same name.
        """
        if self.json:
            _print(printable(json.dumps(_plain(values), ensure_ascii=False, allow_nan=False)))

    @contextmanager
    def audio_progress(self, what: str) -> Iterator[Callable[[float, float], None]]:
        """As `progress`, in seconds of audio, of which more may become known on the way.

        Yields:
            A function that is told how many seconds have become known, and how many have been done.
        """
        with self._bar(what, 0, "{task.completed:.0f} of {task.total:.0f} s of audio") as bar:
            known = 0.0

            def tell(more: float, done: float) -> None:
                nonlocal known
                known += more
                if bar is not None:
                    bar.update(bar.task_ids[0], total=known, advance=done)

            yield tell

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """A progress bar on stderr, only on a terminal and only for work that takes a while.

        Yields:
            A function that moves the bar on by so many of `total`; without a total it only shows the time.
        """
        with self._bar(what, total, "" if total is None else "{task.completed:.0f}/{task.total:.0f}") as bar:
            yield lambda count: None if bar is None else bar.advance(bar.task_ids[0], count)

    @contextmanager
    def _bar(self, what: str, total: float | None, counted: str) -> Iterator[Progress | None]:
        """A bar that is drawn when the work takes a while; None where there is no terminal."""
        if self.quiet or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = [TextColumn("{task.description}"), BarColumn(), TextColumn(counted), TimeElapsedColumn()]
        bar = Progress(*columns, console=Console(stderr=True), transient=True)
        bar.add_task(what, total=total)
        delay = threading.Timer(PROGRESS_AFTER_SECONDS, bar.start)
        delay.daemon = True
        delay.start()
        try:
            yield bar
        finally:
            delay.cancel()
            delay.join()
            bar.stop()


@contextmanager
def reporting(as_json: bool, quiet: bool, debug: bool) -> Iterator[Terminal]:
    """Run the body of a command: errors of ours become one line and exit code 1, Ctrl-C exit code 130.

    Warnings of other packages are shown with `debug` only.
    """
    terminal = Terminal(as_json, quiet)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handler.setLevel(logging.DEBUG if debug else logging.WARNING)
    logger = logging.getLogger("neucodec_tts")
    level = logger.level
    if not quiet:
        logger.addHandler(handler)
        logger.setLevel(handler.level)
    try:
        with nullcontext() if debug else quiet_dependencies():
            yield terminal
    except NeuCodecError as problem:
        if debug:
            raise
        terminal.error(problem)
        raise typer.Exit(1) from problem
    except KeyboardInterrupt as interrupt:
        terminal.error("interrupted; what was finished is kept, and nothing is left half-written")
        raise typer.Exit(130) from interrupt
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def command(body: Callable[..., None]) -> Callable[..., None]:
    """Make a typer command of a function whose first argument is a `Terminal`.

    The command has the function's other arguments as its options, and ``--json``, ``--quiet`` and ``--debug``.
    """
    signature = inspect.signature(body, eval_str=True)
    parameters = list(signature.parameters.values())[1:]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
        for name, option in (("as_json", JsonOption), ("quiet", QuietOption), ("debug", DebugOption))
    ]

    @functools.wraps(body)
    def run(*, as_json: bool, quiet: bool, debug: bool, **options: object) -> None:
        with reporting(as_json, quiet, debug) as terminal:
            body(terminal, **options)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def default_codec(terminal: Terminal, codec: str | None) -> str:
    """The codec that an option names; without one the built-in codec, with a note."""
    if codec is None:
        terminal.note(
            "using the small built-in codec 'tiny'; for NeuCodec's quality: --codec neuphonic/neucodec"
        )
    return "tiny" if codec is None else codec


def default_model(terminal: Terminal, model: str | None) -> str:
    """The language model that an option names; without one the built-in model, with a note."""
    if model is None:
        terminal.note(
            "using the small built-in model 'tiny'; for a model that speaks well: --model neuphonic/neutts-air"
        )
    return "tiny" if model is None else model


def load_codec(
    terminal: Terminal,
    codec: str | None,
    device: str | None,
    *,
    backend: str | None = None,
    decoder: str | None = None,
    dtype: Precision = Precision.float32,
) -> NeuCodec:
    """Load the codec that the options name, perhaps with the decoder of another.

    Raises:
        CheckpointError: there is no such codec, it has no files for the backend or cannot have the format there, or the
            decoder is for other codes.
        DeviceError: there is no such device.
    """
    name = default_codec(terminal, codec)
    with terminal.progress("loading the codec"):
        from neucodec_tts.codec.neucodec import NeuCodec

        return NeuCodec.from_pretrained(
            name, device=device, dtype=dtype.value, backend=backend, decoder=decoder
        )


def load_decoder(
    terminal: Terminal,
    codec: str | None,
    device: str | None,
    *,
    backend: str | None = None,
    decoder: str | None = None,
    dtype: Precision = Precision.float32,
) -> ArrayCodec:
    """Load the codec as `load_codec` does, for decoding only: with ONNX Runtime that does without torch."""
    name = default_codec(terminal, codec)
    with terminal.progress("loading the codec"):
        from neucodec_tts.codec.arrays import load_array_codec

        return load_array_codec(name, device=device, backend=backend, decoder=decoder, dtype=dtype.value)


class Stopwatch:
    """Seconds spent inside ``with`` blocks, added up."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds += time.perf_counter() - self._start


def real_time(work_seconds: float, audio_seconds: float, device: object = None) -> str:
    """The speed as people say it: "0.5 s, 20 times real time, on cpu"."""
    speed = f"{work_seconds:.2f} s, {audio_seconds / max(work_seconds, 1e-9):.3g} times real time"
    return speed if device is None else f"{speed}, on {device}"


def _print(line: str) -> None:
    try:
        typer.echo(line)
    except BrokenPipeError:  # typer ends the command quietly then
        raise
    except OSError as problem:
        # Python flushes standard output once more at its end, which must not fail, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise NeuCodecError(
            f"standard output cannot be written ({problem.strerror}); send it elsewhere"
        ) from problem


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return str(value)
