"""``neucodec-tts convert``: a language model of transformers becomes one for llama.cpp."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from neucodec_tts.cli.terminal import Stopwatch, Terminal, command
from neucodec_tts.errors import CheckpointError


class Kind(str, Enum):
    """Number formats of the weights."""

    q8_0 = "q8_0"
    q4_0 = "q4_0"
    f16 = "f16"


@command
def convert(
    terminal: Terminal,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A language model that speaks: a folder, a hub id, or tiny, the built-in one.",
        ),
    ],
    gguf: Annotated[
        Kind,
        typer.Option(
            "--gguf", help="Bits of a weight: 8 (q8_0), 4 (q4_0: half the size, less exact) or 16 (f16)."
        ),
    ] = Kind.q8_0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The new model's folder. The default is the model's name and the format, as in tiny-q8_0-gguf.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder if it exists.")] = False,
) -> None:
    """Make a language model a GGUF file, which llama.cpp runs on a laptop.

    The file holds the weights, the tokenizer and speech_config.json; the model's voices lie beside it. Nothing is
    left behind if it fails.
    """
    folder = output or Path(f"{Path(model).name}-{gguf.value}-gguf")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        if not (folder.is_dir() and any(folder.glob("*.gguf"))):
            raise CheckpointError(f"{folder} exists and is no folder of this command; give another")
        if not overwrite:
            raise CheckpointError(f"{folder} exists already; give another folder, or --overwrite")
    watch = Stopwatch()
    with watch, terminal.progress("converting"):
        from transformers.utils import logging

        from neucodec_tts_llamacpp.conversion import convert_to_gguf

        logging.disable_progress_bar()  # this command has its own
        done = convert_to_gguf(model, folder, gguf.value)
    size = done.file.stat().st_size
    terminal.result(
        {
            "model": model,
            "file": done.file,
            "format": gguf.value,
            "bytes": size,
            "parameters": done.parameters,
            "bits_per_parameter": round(done.bits, 3),
            "voices": done.voices,
            "work_seconds": watch.seconds,
        }
    )
    terminal.say(
        f"converted {model} to {done.file}: {size / 1e6:,.1f} MB, {done.parameters / 1e6:,.1f} M parameters, "
        f"{done.voices} voices ({watch.seconds:.1f} s)"
    )
