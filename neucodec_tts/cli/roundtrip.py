"""``neucodec-tts roundtrip``: a recording to codes and back, with scores."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.options import (
    BackendOption,
    CodecOption,
    DecoderOption,
    DeviceOption,
    DtypeOption,
    Precision,
)
from neucodec_tts.cli.terminal import Stopwatch, Terminal, command, load_codec, real_time
from neucodec_tts.files import check_writable

if TYPE_CHECKING:
    from neucodec_tts.codec.neucodec import NeuCodec


@command
def roundtrip(
    terminal: Terminal,
    source: Annotated[Path, typer.Argument(metavar="IN", help="A recording.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The reconstruction (.wav, .flac, .ogg, .opus, .mp3); IN-reconstructed.wav here by default.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Also draw waveforms, mel spectrograms and codes into this file."),
    ] = None,
    codec_name: CodecOption = None,
    decoder: DecoderOption = None,
    device: DeviceOption = None,
    backend: BackendOption = None,
    dtype: DtypeOption = Precision.float32,
) -> None:
    """Encode and decode a recording, and score it.

    It prints STOI, PESQ, SI-SDR, mel distance, bit rate, and the speed of both directions.
    """
    target = Path(f"{source.stem}-reconstructed.wav") if output is None else output
    if os.path.realpath(target) == os.path.realpath(source):
        raise typer.BadParameter(f"-o {target} is the input, too; give another output")
    from neucodec_tts.audio import check_output

    check_output(target)
    if plot is not None:
        check_writable(plot)
    codec = load_codec(terminal, codec_name, device, backend=backend, decoder=decoder, dtype=dtype)
    terminal.result(run_roundtrip(terminal, codec, source, target, plot=plot))


def run_roundtrip(
    terminal: Terminal,
    codec: NeuCodec,
    source: Path,
    target: Path,
    *,
    plot: Path | None = None,
    codes_file: Path | None = None,
) -> dict[str, object]:
    """Encode `source`, decode it to `target`, say its scores; write the codes and the picture if asked for.

    Returns:
        The same, for ``--json``.
    """
    from neucodec_tts.audio import as_waveform, write_audio
    from neucodec_tts.codec.storage import save_codes
    from neucodec_tts.metrics.scores import bit_rate, score

    original = as_waveform(source, target_rate=codec.input_sample_rate)
    seconds = original.numel() / codec.input_sample_rate
    encoding, decoding = Stopwatch(), Stopwatch()
    with terminal.progress(f"encoding {seconds:.0f} s"), encoding:
        codes = codec.encode(original, codec.input_sample_rate)
    if codes_file is not None:
        save_codes(codes_file, codes, codec)
    with terminal.progress(f"decoding {seconds:.0f} s"), decoding:
        reconstruction = codec.decode(codes)
    write_audio(target, reconstruction, codec.output_sample_rate)
    terminal.say(
        f"{source} to {codes.numel()} codes to {target}: {seconds:.2f} s, codec {codec.codec_id}, on {codec.device}"
        + (f", codes in {codes_file}" if codes_file else "")
    )
    with terminal.progress("scoring"):
        scores = score(original, codec.input_sample_rate, reconstruction, codec.output_sample_rate)
    bits = bit_rate(codec.codebook_size, codec.frame_rate)

    def line(name: str, value: str, meaning: str = "") -> None:
        terminal.say(f"  {name:<18}{value:<10}{meaning}".rstrip())

    for key, name, form, meaning in (
        ("stoi", "STOI", ".3f", "intelligibility, 0 to 1"),
        ("pesq", "PESQ wide-band", ".2f", "quality, 1.0 to 4.6"),
        (
            "si_sdr",
            "SI-SDR",
            ".1f dB",
            "likeness of the waveform, phase and all: low for any codec that makes its own",
        ),
        ("log_mel_distance", "log-mel distance", ".3f", "likeness of the spectrum, 0 is the same"),
    ):
        value = getattr(scores, key)
        number, _, unit = form.partition(" ")
        if value is None:
            line(name, "-", scores.missing[key])
        else:
            line(name, f"{value:{number}} {unit}".strip(), meaning)
    line(
        "bit rate", f"{bits:.0f} bit/s", f"{codec.frame_rate:g} codes a second, one of {codec.codebook_size}"
    )
    for name, watch in (("encoding", encoding), ("decoding", decoding)):
        line(
            name,
            f"{watch.seconds / seconds:.3f}",
            f"seconds per second of audio ({real_time(watch.seconds, seconds)})",
        )
    if plot is not None:
        from neucodec_tts.metrics.plot import plot_roundtrip

        said = [
            f"{name} {value:{form}}"
            for name, value, form in (
                ("STOI", scores.stoi, ".2f"),
                ("PESQ", scores.pesq, ".2f"),
                ("SI-SDR", scores.si_sdr, ".1f"),
                ("log-mel distance", scores.log_mel_distance, ".2f"),
            )
            if value is not None
        ]
        with terminal.progress("drawing"):
            plot_roundtrip(
                plot,
                original,
                codec.input_sample_rate,
                reconstruction,
                codec.output_sample_rate,
                codec.quantizer.digits(codes.to(codec.device)).cpu().numpy(),
                max(codec.config.quantization_levels),
                codec.frame_rate,
                title=source.name,
                subtitle=" · ".join([codec.codec_id, f"{bits:.0f} bit/s", *said]),
            )
        line("picture", str(plot))
    return {
        "input": source,
        "output": target,
        "codes_file": codes_file,
        "plot": plot,
        "codec_id": codec.codec_id,
        "device": codec.device,
        "seconds": seconds,
        "codes": codes.numel(),
        **asdict(scores),
        "bit_rate": bits,
        "encode_real_time_factor": encoding.seconds / seconds,
        "decode_real_time_factor": decoding.seconds / seconds,
    }
