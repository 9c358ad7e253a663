"""``neucodec-tts bench``: how fast this machine encodes, decodes and streams."""

from __future__ import annotations

import os
from dataclasses import asdict
from enum import Enum
from importlib.resources import as_file, files
from typing import Annotated

import typer

from neucodec_tts.cli.options import DecoderOption, DeviceOption, DtypeOption, Precision
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
    dtype: DtypeOption = Precision.float32,
) -> None:
    """Time the codec on this machine.

    It encodes, decodes and streams, in turns with transformers on the same weights where transformers can do it. In
    half precision it also says how far codes and sound agree with float32, on a recording that comes with the package;
    transformers computes in float32.
    """
    import torch
    import transformers

    from neucodec_tts.audio import as_waveform
    from neucodec_tts.metrics.half_precision import in_precision, measure_agreement
    from neucodec_tts.metrics.speed import measure_speed, random_codec

    if codec is None:
        with terminal.progress("making a codec"):
            timed, name = random_codec(device), "NeuCodec's size, random weights"
    else:
        timed, name = load_codec(terminal, codec, device, decoder=decoder), codec
    exact = timed
    if dtype is not Precision.float32:
        timed = in_precision(exact, getattr(torch, dtype.value))
    wanted = list(dict.fromkeys(parts or Part))
    with terminal.progress("timing", len(wanted) * (repeats + 1)) as advance:
        found = [
            measure_speed(
                timed, part.value, seconds=seconds, batch=batch, repeats=repeats, exact=exact, advance=advance
            )
            for part in wanted
        ]
    agreement = None
    if timed is not exact:
        with as_file(files("neucodec_tts") / "assets" / "demo.flac") as recording:
            speech = as_waveform(recording, target_rate=exact.input_sample_rate)
        with terminal.progress("comparing with float32"):
            agreement = measure_agreement(exact, timed, [speech])
    terminal.result(
        {
            "codec": codec,
            "codec_id": timed.codec_id,
            "device": timed.device,
            "dtype": dtype.value,
            "agreement": None if agreement is None else asdict(agreement),
            "cpu_count": os.cpu_count(),
            "transformers_version": transformers.__version__,
            "results": [
                asdict(speed)
                | {
                    "ratio": speed.ratio,
                    "real_time_factor": speed.real_time_factor,
                    "share_of_limit": speed.share_of_limit,
                }
                for speed in found
            ],
        }
    )
    terminal.say(
        f"{name}, {dtype.value}, on {timed.device}: {batch} x {seconds:g} s, median of {repeats} runs; "
        f"beside transformers {transformers.__version__}"
    )
    for speed in found:
        beside, agrees = "", ""
        if speed.ratio is not None:
            beside = f", {speed.ratio:.2f} times as fast as transformers"
        if speed.agreement is not None:
            agrees = (
                f" ({100 * speed.agreement:.2f} % of codes equal)"
                if speed.work == "encode"
                else f" ({speed.agreement:.0f} dB SNR between the two)"
            )
        if speed.first_sound:
            first = sorted(speed.first_sound)[len(speed.first_sound) // 2]
            beside = f", the first sound after {1000 * first:.0f} ms of decoding"
        terminal.say(f"  {speed.work:<8}{1 / speed.real_time_factor:8.3g} times real time{beside}{agrees}")
        if speed.share_of_limit is not None and speed.limit is not None:
            terminal.say(
                f"          {100 * speed.share_of_limit:.0f} % of the operations a second of a matrix product here, "
                f"{speed.limit / 1e9:,.0f} billion"
            )
    if agreement is not None:
        terminal.say(
            f"  beside float32, {100 * agreement.codes:.2f} % of codes and {100 * agreement.digits:.2f} % of their "
            f"digits are equal, and the sound of the same codes has {agreement.snr:.1f} dB SNR"
        )
