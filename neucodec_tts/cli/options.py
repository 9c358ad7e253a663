"""Options that several commands share: one name, one letter and one meaning each."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

CodecOption = Annotated[
    str | None,
    typer.Option(
        "--codec",
        "-c",
        metavar="CODEC",
        help="The codec: a hub id (neuphonic/neucodec), a folder, or tiny, the small built-in one (the default).",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="The language model: a hub id (neuphonic/neutts-air, neuphonic/neutts-nano, HKUSTAudio/Llasa-1B ...), a "
        "folder with a speech_config.json, a GGUF file, or tiny, the small built-in one (the default).",
        show_default=False,
    ),
]
ModelCodecOption = Annotated[
    str | None,
    typer.Option(
        "--codec",
        "-c",
        metavar="CODEC",
        help="The codec: a hub id, a folder, or tiny. The default is the one that the model names.",
        show_default=False,
    ),
]
BackendOption = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="What computes the codec: torch, or onnxruntime for a folder that `export` wrote. The default goes by "
        "its files.",
        show_default=False,
    ),
]


class Precision(Enum):
    """Floating-point formats that a codec computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


DtypeOption = Annotated[
    Precision,
    typer.Option(
        "--dtype",
        help="Format that the codec computes in. bfloat16 and float16 are for GPUs: faster and smaller, but not exact; "
        "`bench --dtype` says how far they agree with float32.",
    ),
]
DecoderOption = Annotated[
    str | None,
    typer.Option(
        "--decoder",
        metavar="CODEC",
        help="Decode with the decoder of another codec of the same codes, as of Scicom-intl/neucodec-44k-d20 at "
        "44.1 kHz.",
        show_default=False,
    ),
]
VoicesOption = Annotated[
    Path | None,
    typer.Option(
        "--voices",
        metavar="DIR",
        help="The folder of voices. The default is your own.",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="Where to compute: cpu, cuda, cuda:1, mps ... The default is the GPU where there is one.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks, all warnings, and a more detailed log.")
]
