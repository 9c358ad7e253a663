"""``neucodec-tts encode``: recordings to files of codes."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.jobs import Task, report, work_off
from neucodec_tts.cli.options import BackendOption, CodecOption, DeviceOption, DtypeOption, Precision
from neucodec_tts.cli.paths import plan
from neucodec_tts.cli.sinks import STANDARD, read_stdin
from neucodec_tts.cli.terminal import Terminal, command, load_codec
from neucodec_tts.errors import AudioError

if TYPE_CHECKING:
    import torch


class CodesFormat(str, Enum):
    """File formats of codes."""

    safetensors = "safetensors"
    npy = "npy"


@command
def encode(
    terminal: Terminal,
    inputs: Annotated[
        list[Path], typer.Argument(metavar="IN", help="Recordings, folders, or - for standard input.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT", help="A .safetensors or .npy file, or a folder for many."
        ),
    ],
    codes_format: Annotated[
        CodesFormat | None,
        typer.Option(
            "--format",
            help="Format of the files in a folder; safetensors by default.",
        ),
    ] = None,
    codec_name: CodecOption = None,
    device: DeviceOption = None,
    backend: BackendOption = None,
    dtype: DtypeOption = Precision.float32,
) -> None:
    """Turn recordings into codes, 50 a second.

    .safetensors files name the codec that made them, so that no other decodes them; .npy files hold nothing but
    the codes. Both are uint16. A recording that cannot be used is reported, the others are encoded all the same,
    and the exit code is 1.
    """
    if output == STANDARD:
        raise typer.BadParameter("codes go to a file or a folder; name it (-o codes.safetensors)")
    from neucodec_tts.audio import AUDIO_SUFFIXES, as_waveform

    jobs = plan(
        inputs,
        output,
        read=AUDIO_SUFFIXES,
        write=[".safetensors", ".npy"],
        suffix=f".{codes_format.value}" if codes_format else None,
        things="recordings",
    )
    codec = load_codec(terminal, codec_name, device, backend=backend, dtype=dtype)
    from neucodec_tts.codec.storage import save_codes

    def read(path: Path) -> torch.Tensor:
        if path == STANDARD:
            waveform = as_waveform(read_stdin(), target_rate=codec.input_sample_rate, name="standard input")
        else:
            waveform = as_waveform(path, target_rate=codec.input_sample_rate)
        if waveform.numel() < codec.min_samples:
            raise AudioError(
                f"{path}: {1000 * waveform.numel() / codec.input_sample_rate:.1f} ms are shorter than one frame "
                f"({1000 / codec.frame_rate:g} ms); leave it out"
            )
        return waveform

    task: Task[torch.Tensor, torch.Tensor] = Task(
        verb="encoded",
        read=read,
        run=lambda waveforms, told: codec.encode([*waveforms], codec.input_sample_rate, on_progress=told),
        write=lambda path, codes: save_codes(path, codes, codec),
        seconds=lambda waveform: waveform.numel() / codec.input_sample_rate,
        count=lambda waveform, codes: codes.numel(),
    )
    outcome = work_off(terminal, task, jobs, output)
    report(terminal, task, outcome, output, codec.codec_id, str(codec.device))
