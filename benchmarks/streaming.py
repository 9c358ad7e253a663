"""Compare streamed sound with the whole decoded at once, for several settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.environment import set_threads
from neucodec_tts.cli.options import CodecOption, DeviceOption
from neucodec_tts.cli.terminal import Terminal, command, load_codec

if TYPE_CHECKING:
    import torch

    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.codec.streaming import StreamSettings


@dataclass(frozen=True)
class StreamingQuality:
    """One setting, averaged over recordings."""

    lookback: int
    lookahead: int
    """Frames of 20 ms."""
    growth: float
    """Speed at which codes are expected, in multiples of real time."""
    slack: float
    """Delay of a chunk that is allowed, as a part of the first one's length."""
    first_sound: int
    """Codes that must have come before the first sample sounds."""
    work: float
    """Frames decoded for each frame heard."""
    snr: float
    """Of the streamed sound against the whole decoded at once, in dB."""
    stoi: float
    """Of the same two."""
    stoi_original: float
    """Of the streamed sound against the recording."""


def compare_settings(defaults: StreamSettings) -> list[StreamSettings]:
    """The settings given, with half and twice the lookback and the lookahead, with another growth, another slack."""
    contexts = [
        replace(defaults, lookback=lookback, lookahead=lookahead)
        for lookback in (defaults.lookback // 2, defaults.lookback, 2 * defaults.lookback)
        for lookahead in (defaults.lookahead // 2, defaults.lookahead, 2 * defaults.lookahead)
    ]
    growths = [replace(defaults, growth=growth) for growth in (1.0, 1.5, 2.0)]
    return [*contexts, *growths, *(replace(defaults, slack=slack) for slack in (0.0, 0.8))]


def measure_streaming(
    codec: NeuCodec,
    recordings: Sequence[torch.Tensor],
    settings: Sequence[StreamSettings],
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[list[StreamingQuality], float]:
    """Stream the codes of recordings under each setting.

    Args:
        codec: encodes and decodes.
        recordings: waveforms (samples,) at the codec's input rate.
        settings: to compare.
        advance: called with 1 after each setting.

    Returns:
        A row for each setting, and the mean STOI of the whole decoded at once against the recordings.
    """
    import torch

    from neucodec_tts.codec.streaming import StreamingDecoder
    from neucodec_tts.metrics.scores import align, snr, stoi

    sequences = codec.encode([*recordings], codec.input_sample_rate)
    wholes = codec.decode(sequences)
    rates = (codec.input_sample_rate, codec.output_sample_rate)
    best = mean(stoi(*align(r, rates[0], w, rates[1])) for r, w in zip(recordings, wholes, strict=True))
    rows = []
    for each in settings:
        streamed = []
        for codes in sequences:
            with StreamingDecoder(codec, each) as decoder:
                streamed.append(torch.cat([decoder.push(codes), decoder.flush()]))
        pairs = list(zip(recordings, wholes, streamed, strict=True))
        rows.append(
            StreamingQuality(
                lookback=each.lookback,
                lookahead=each.lookahead,
                growth=each.growth,
                slack=each.slack,
                first_sound=each.first_chunk + each.lookahead,
                work=sum(_decoded(codes, each) for codes in sequences) / sum(map(len, sequences)),
                snr=mean(snr(whole, stream) for _, whole, stream in pairs),
                stoi=mean(stoi(*align(whole, rates[1], stream, rates[1])) for _, whole, stream in pairs),
                stoi_original=mean(
                    stoi(*align(recording, rates[0], stream, rates[1])) for recording, _, stream in pairs
                ),
            )
        )
        advance(1)
    return rows, best


def _decoded(codes: torch.Tensor, settings: StreamSettings) -> int:
    """Frames of all windows of a stream."""
    from neucodec_tts.codec.streaming import Stream

    stream: Stream[torch.Tensor] = Stream(settings, 1)
    stream.push(codes)
    stream.finish()
    frames = 0
    while (window := stream.next_window()) is not None:
        frames += window.codes.numel()
    return frames


@command
def main(
    terminal: Terminal,
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IN]...", help="Recordings; the one that comes with the package by default."),
    ] = None,
    codec_name: CodecOption = None,
    device: DeviceOption = None,
) -> None:
    """Compare streamed sound with the whole decoded at once, for the default settings and others."""
    codec = load_codec(terminal, codec_name, device)
    from neucodec_tts.audio import as_waveform
    from neucodec_tts.codec.streaming import StreamSettings

    with as_file(files("neucodec_tts") / "assets" / "demo.flac") as shipped:
        waveforms = [
            as_waveform(path, target_rate=codec.input_sample_rate) for path in recordings or [shipped]
        ]
    settings = compare_settings(StreamSettings())
    with terminal.progress("streaming", len(settings)) as advance:
        rows, best = measure_streaming(codec, waveforms, settings, advance)
    terminal.result({"recordings": len(waveforms), "stoi_whole": best, "rows": [asdict(row) for row in rows]})
    terminal.say(
        f"{len(waveforms)} recordings, {codec.codec_id}, chunks of up to {settings[0].chunk} frames; decoded at "
        f"once STOI {best:.3f} to the original"
    )
    terminal.say(
        "lookback  lookahead  growth  slack  first sound  work   SNR to whole  STOI to whole  STOI to original"
    )
    for row in rows:
        terminal.say(
            f"{row.lookback:8d}{row.lookahead:11d}{row.growth:8.2f}{row.slack:7.1f}"
            f"{row.first_sound * 20:10d} ms{row.work:6.2f}{row.snr:12.1f} dB"
            f"{row.stoi:15.3f}{row.stoi_original:18.3f}"
        )


if __name__ == "__main__":
    set_threads()
    typer.run(main)
