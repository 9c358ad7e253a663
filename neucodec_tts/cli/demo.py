"""``neucodec-tts demo``: the shipped recording through the codec."""

from __future__ import annotations

import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from neucodec_tts.cli.roundtrip import run_roundtrip
from neucodec_tts.cli.terminal import (
    DebugOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    QuietOption,
    load_codec,
    reporting,
)
from neucodec_tts.errors import NeuCodecError


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the files go; made if need be.")
    ] = Path("outputs/demo"),
    model: ModelOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Encode and decode a recording of human speech that comes with the package."""
    with reporting(as_json, quiet, debug) as terminal:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise NeuCodecError(
                f"cannot make the folder {output}: {problem.strerror}; name another with -o"
            ) from problem
        tiny = model in (None, "tiny")
        codec = load_codec(terminal, model, device)
        original = output / "original.flac"
        reconstruction, picture = output / "reconstruction.wav", output / "roundtrip.png"
        with as_file(files("neucodec_tts") / "assets" / "demo.flac") as shipped:
            shutil.copyfile(shipped, original)
        result = run_roundtrip(
            terminal,
            codec,
            original,
            reconstruction,
            plot=picture,
            codes_file=output / "codes.safetensors",
        )
        terminal.result(result)
        for line in (
            "",
            f"Listen to {original} and {reconstruction}, look at {picture}.",
            "The recording: Allison Smith for Asterisk, CC BY-SA 3.0, neucodec_tts/assets/README.md.",
            *(
                ["The model tiny was trained on other recordings of this speaker, not on this one."]
                if tiny
                else []
            ),
            "",
            "Next:",
            "  neucodec-tts roundtrip YOUR.wav --plot picture.png",
            "  neucodec-tts encode YOUR.wav -o codes.safetensors",
            "  neucodec-tts roundtrip YOUR.wav --model neuphonic/neucodec",
        ):
            terminal.say(line)
