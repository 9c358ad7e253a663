"""Time the decoder in torch, and in ONNX Runtime in float32 and in 8 bits: processor seconds a second of speech."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from neucodec_tts.cli.environment import set_threads
from neucodec_tts.cli.options import CodecOption
from neucodec_tts.cli.terminal import Terminal, command, load_codec


@dataclass(frozen=True)
class Timing:
    """One kind of work, the median of several runs."""

    work: str
    """The first window of a stream, of so many frames, or a stream in the default chunks."""
    torch: float
    float32: float
    int8: float
    """Processor seconds a second of speech."""


@command
def main(
    terminal: Terminal,
    codec: CodecOption = None,
    frames: Annotated[
        list[int] | None,
        typer.Option("--frames", min=1, help="Of a window, once for each; 30, 100 and 500 by default."),
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Runs of each; they take turns.")] = 5,
) -> None:
    """The codec is NeuCodec's full size with random weights by default. One thread computes."""
    os.environ["OMP_NUM_THREADS"] = "1"
    set_threads()
    import torch

    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.codec.onnx.export import export_decoders
    from neucodec_tts.metrics.speed import random_codec

    frames = frames or [30, 100, 500]
    whole = random_codec("cpu") if codec is None else load_codec(terminal, codec, "cpu", backend="torch")
    codes = torch.randint(whole.codebook_size, (max(frames),), generator=torch.manual_seed(0))
    with tempfile.TemporaryDirectory() as temporary, terminal.progress("timing"):
        peers: dict[str, NeuCodec] = {"torch": whole}
        sizes = {}
        for name in ("float32", "int8"):
            folder = Path(temporary) / name
            written = export_decoders(whole, folder, int8=name == "int8", whole=False)
            sizes[name] = written[0].bytes
            said = whole.config.to_dict() | {"codec_id": whole.codec_id}
            (folder / "config.json").write_text(json.dumps(said))
            peers[name] = NeuCodec.from_pretrained(folder)

        def window(peer: NeuCodec, count: int) -> None:
            with peer.stream(first_chunk=count, chunk=count, lookahead=0, overlap=0) as decoder:
                decoder.push(codes[:count])

        def stream(peer: NeuCodec, count: int) -> None:
            with peer.stream() as decoder:
                for code in codes[:count].tolist():
                    decoder.push(code)
                decoder.flush()

        jobs: dict[str, tuple[Callable[[NeuCodec, int], None], int]] = {
            f"window of {count} frames": (window, count) for count in frames
        }
        jobs[f"stream of {max(frames)} frames"] = (stream, max(frames))
        rows = []
        for work, (job, count) in jobs.items():
            spent: dict[str, list[float]] = {name: [] for name in peers}
            for run in range(repeats + 1):
                for name, peer in peers.items():
                    begun = time.process_time()
                    job(peer, count)
                    if run:  # the first one warms up
                        spent[name].append((time.process_time() - begun) * whole.frame_rate / count)
            rows.append(Timing(work, *(median(spent[name]) for name in peers)))
    terminal.say(f"{'':24}{'torch':>10}{'float32':>10}{'int8':>10}")
    for row in rows:
        terminal.say(f"{row.work:24}{row.torch:10.3f}{row.float32:10.3f}{row.int8:10.3f}")
    terminal.say(", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items()))
    terminal.result({"rows": [asdict(row) for row in rows], "bytes": sizes})


if __name__ == "__main__":
    typer.run(main)
