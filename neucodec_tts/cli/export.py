"""``neucodec-tts export``: a codec as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neucodec_tts.cli.options import DecoderOption
from neucodec_tts.cli.terminal import Stopwatch, Terminal, command, load_codec


@command
def export(
    terminal: Terminal,
    codec_name: Annotated[
        str,
        typer.Argument(metavar="CODEC", help="The codec: a hub id (neuphonic/neucodec), a folder, or tiny."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder to write.")],
    int8: Annotated[
        bool,
        typer.Option(
            "--int8",
            help="Decode in 8 bits: about three times as fast, a quarter of the size, a little other sound. The "
            "encoder stays exact.",
        ),
    ] = False,
    fp16: Annotated[
        bool,
        typer.Option("--fp16", help="Store weights in float16, half of the size. They are used in float32."),
    ] = False,
    decoder: DecoderOption = None,
) -> None:
    """Write a codec as ONNX files, which ONNX Runtime computes without a GPU.

    --codec FOLDER takes them from there. The folder has model.onnx for whole items, as neutts loads it,
    streaming_decoder.onnx, encoder.onnx and config.json.
    """
    codec = load_codec(terminal, codec_name, "cpu", backend="torch", decoder=decoder)
    from neucodec_tts.codec.onnx.export import export as write

    watch = Stopwatch()
    with watch, terminal.progress("exporting"):
        written = write(codec, output, int8=int8, half=fp16)
    terminal.result(
        {
            "output": output,
            "codec_id": codec.codec_id,
            "files": [{"path": each.path, "bytes": each.bytes} for each in written],
            "work_seconds": watch.seconds,
        }
    )
    sizes = ", ".join(f"{each.path.name} {each.bytes / 1e6:.1f} MB" for each in written)
    terminal.say(f"exported {codec_name} to the folder {output}: {sizes} ({watch.seconds:.1f} s)")
