"""``neucodec-tts bench``: how fast this machine encodes, decodes and streams."""

from __future__ import annotations

import os
from dataclasses import asdict
from enum import Enum
from typing import Annotated

import typer

from neucodec_tts.cli.options import DecoderOption, DeviceOption
from neucodec_tts.cli.terminal import Terminal, command, load_codec


class Part(Enum):
    """The work that is timed."""

    encode = "encode"
    decode = "decode"
    stream = "stream"


@command
def bench(
    terminal: Terminal,
    parts: Annotated[
        list[Part] | None,
        typer.Argument(metavar="encode|decode|stream", help="What to time. The default is all three."),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            "--codec",
            "-c",
            metavar="CODEC",
            help="The codec: a hub id, a folder, or tiny. The default is NeuCodec's full size with random weights, "
            "which is as fast as the trained one and needs 6 GiB of memory.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, help="Length of each item, in seconds.")
    ] = 10.0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Items at a time.")] = 1,
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Timed runs of each, after one to warm up.")
    ] = 3,
    decoder: DecoderOption = None,
    device: DeviceOption = None,
) -> None:
    """Time the codec on this machine.

    It encodes, decodes and streams, in turns with transformers on the same weights where transformers can do it.
    """
    import transformers

    from neucodec_tts.metrics.speed import measure_speed, random_codec

    if codec is None:
        with terminal.progress("making a codec"):
            timed, name = random_codec(device), "NeuCodec's size, random weights"
    else:
        timed, name = load_codec(terminal, codec, device, decoder=decoder), codec
    wanted = list(dict.fromkeys(parts or Part))
    with terminal.progress("timing", len(wanted) * (repeats + 1)) as advance:
        found = [
            measure_speed(timed, part.value, seconds=seconds, batch=batch, repeats=repeats, advance=advance)
            for part in wanted
        ]
    terminal.result(
        {
            "codec": codec,
            "codec_id": timed.codec_id,
            "device": timed.device,
            "cpu_count": os.cpu_count(),
            "transformers_version": transformers.__version__,
            "results": [
                asdict(speed) | {"ratio": speed.ratio, "real_time_factor": speed.real_time_factor}
                for speed in found
            ],
        }
    )
    terminal.say(
        f"{name}, float32, on {timed.device}: {batch} x {seconds:g} s, median of {repeats} runs; "
        f"beside transformers {transformers.__version__}"
    )
    for speed in found:
        beside, agreement = "", ""
        if speed.ratio is not None:
            beside = f", {speed.ratio:.2f} times as fast as transformers"
        if speed.agreement is not None:
            agreement = (
                f" ({100 * speed.agreement:.2f} % of codes equal)"
                if speed.work == "encode"
                else f" ({speed.agreement:.0f} dB SNR between the two)"
            )
        if speed.first_sound:
            first = sorted(speed.first_sound)[len(speed.first_sound) // 2]
            beside = f", the first sound after {1000 * first:.0f} ms of decoding"
        terminal.say(f"  {speed.work:<8}{1 / speed.real_time_factor:8.3g} times real time{beside}{agreement}")
