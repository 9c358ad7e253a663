"""All commands under one name: those of this package, and those that adapters bring by entry points."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import neucodec_tts
from neucodec_tts.cli.bench import bench
from neucodec_tts.cli.decode import decode
from neucodec_tts.cli.demo import demo
from neucodec_tts.cli.encode import encode
from neucodec_tts.cli.evaluate import evaluate
from neucodec_tts.cli.export import export
from neucodec_tts.cli.extend_vocab import extend_vocab
from neucodec_tts.cli.info import info
from neucodec_tts.cli.prepare import prepare
from neucodec_tts.cli.roundtrip import roundtrip
from neucodec_tts.cli.say import say
from neucodec_tts.cli.voice import voice

GROUP = "neucodec_tts.commands"
"""Entry points of commands: the name is the command's, the value a function that typer makes a command of.

Help imports the function's module, so that module must import nothing large.
"""


class Commands(TyperGroup):
    """The commands of this package and of all entry points in `GROUP`; ours come first where names are equal."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order in which help shows them."""
        own = super().list_commands(ctx)
        return [*own, *sorted({point.name for point in entry_points(group=GROUP)} - set(own))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; one that cannot be imported says so when it is run, and harms no other."""
        own = super().get_command(ctx, cmd_name)
        points = [] if own is not None else [*entry_points(group=GROUP, name=cmd_name)]
        if not points:
            return own
        alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        try:
            alone.command(cmd_name)(points[0].load())
        except Exception as problem:  # whatever an adapter raises while it is imported
            any_options = {"allow_extra_args": True, "ignore_unknown_options": True}
            alone.command(cmd_name, add_help_option=False, context_settings=any_options)(
                _broken(points[0], problem)
            )
        return typer.main.get_command(alone)


def _broken(point: EntryPoint, problem: Exception) -> Callable[[], None]:
    def command() -> None:
        """(cannot be imported)"""
        package = "" if point.dist is None else f" of {point.dist.name}"
        typer.echo(f"error: the command {point.name!r}{package} does not import: {problem!r}", err=True)
        raise typer.Exit(1)

    return command


app = typer.Typer(
    name="neucodec-tts",
    cls=Commands,
    help="Speech to NeuCodec's codes and back: 50 codes, 800 bits, for a second of speech.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain text wraps paragraphs as they should be, and starts in half the time
    # Errors of ours are one line; any other is a bug, and wants Python's own traceback.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for function in (
    demo,
    say,
    voice,
    encode,
    decode,
    roundtrip,
    prepare,
    extend_vocab,
    export,
    evaluate,
    info,
    bench,
):
    app.command()(function)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"neucodec-tts {neucodec_tts.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Speech to NeuCodec's codes and back: 50 codes, 800 bits, for a second of speech."""


def run(arguments: Sequence[str] | None) -> None:
    """Run the command that `arguments` name, and exit."""
    if threading.current_thread() is threading.main_thread():
        # So that a half-written file is removed then, too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    app(args=None if arguments is None else list(arguments), prog_name="neucodec-tts")
