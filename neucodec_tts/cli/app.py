"""All commands under one name."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from typing import Annotated

import typer

import neucodec_tts
from neucodec_tts.cli.bench import bench
from neucodec_tts.cli.decode import decode
from neucodec_tts.cli.demo import demo
from neucodec_tts.cli.encode import encode
from neucodec_tts.cli.extend_vocab import extend_vocab
from neucodec_tts.cli.info import info
from neucodec_tts.cli.prepare import prepare
from neucodec_tts.cli.roundtrip import roundtrip
from neucodec_tts.cli.say import say
from neucodec_tts.cli.serve import serve
from neucodec_tts.cli.voice import voice

app = typer.Typer(
    name="neucodec-tts",
    help="Speech to NeuCodec's codes and back: 50 codes, 800 bits, for a second of speech.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain text wraps paragraphs as they should be, and starts in half the time
    # Errors of ours are one line; any other is a bug, and wants Python's own traceback.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, encode, decode, roundtrip, info, say, voice, prepare, extend_vocab, bench):
    app.command()(command)
# What follows -- is for vLLM.
app.command(context_settings={"allow_extra_args": True})(serve)


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
    try:
        app(args=None if arguments is None else list(arguments), prog_name="neucodec-tts")
    except KeyboardInterrupt:
        sys.exit(130)
