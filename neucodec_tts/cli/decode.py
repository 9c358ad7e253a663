"""``neucodec-tts decode``: files of codes to recordings."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.jobs import Task, report, work_off
from neucodec_tts.cli.options import (
    BackendOption,
    CodecOption,
    DecoderOption,
    DeviceOption,
    DtypeOption,
    Precision,
)
from neucodec_tts.cli.paths import CODE_SUFFIXES, Job, plan
from neucodec_tts.cli.sinks import STANDARD, check_stdout, write_stdout
from neucodec_tts.cli.terminal import Terminal, command, load_decoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class AudioFormat(str, Enum):
    """File formats of recordings."""

    wav = "wav"
    flac = "flac"
    ogg = "ogg"
    opus = "opus"
    mp3 = "mp3"


@command
def decode(
    terminal: Terminal,
    inputs: Annotated[
        list[Path], typer.Argument(metavar="CODES", help="Files of codes, or folders of them.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A .wav (.flac, .ogg, .opus, .mp3) file, a folder, or - for a WAV on standard output.",
        ),
    ],
    audio_format: Annotated[
        AudioFormat | None,
        typer.Option("--format", help="Format of the files in a folder; wav by default."),
    ] = None,
    codec_name: CodecOption = None,
    decoder: DecoderOption = None,
    device: DeviceOption = None,
    backend: BackendOption = None,
    dtype: DtypeOption = Precision.float32,
) -> None:
    """Turn codes into speech, at 24 kHz or the rate of the decoder.

    Codes must be decoded by the codec that made them: a .safetensors file that names another one is refused. A .npy
    file names none; there only codes that lie outside the codebook give it away. A file that cannot be used is
    reported, the others are decoded all the same, and the exit code is 1.
    """
    to_stdout = output == STANDARD
    if to_stdout:
        check_stdout(terminal)
        if len(inputs) > 1 or os.path.isdir(inputs[0]) or audio_format not in (None, AudioFormat.wav):
            raise typer.BadParameter(
                "-o - takes one file of codes, and writes it as WAV; name a folder for more"
            )
    jobs = (
        [Job(inputs[0], output)]
        if to_stdout
        else plan(
            inputs,
            output,
            read=CODE_SUFFIXES,
            write=[f".{each.value}" for each in AudioFormat],
            suffix=f".{audio_format.value}" if audio_format else None,
            things="files of codes",
        )
    )
    codec = load_decoder(terminal, codec_name, device, backend=backend, decoder=decoder, dtype=dtype)
    from neucodec_tts.audio import write_audio
    from neucodec_tts.codec.storage import load_codes

    task: Task[NDArray[np.int64], NDArray[np.float32]] = Task(
        verb="decoded",
        read=lambda path: load_codes(path, codec),
        run=lambda sequences, told: codec.decode(sequences),
        write=lambda path, waveform: (
            write_stdout(waveform, codec.output_sample_rate)
            if to_stdout
            else write_audio(path, waveform, codec.output_sample_rate)
        ),
        seconds=lambda codes: codes.size / codec.frame_rate,
        count=lambda codes, waveform: codes.size,
    )
    outcome = work_off(terminal, task, jobs, output)
    report(terminal, task, outcome, output, codec.codec_id, codec.device_name, to_stdout=to_stdout)
