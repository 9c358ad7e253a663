"""Encode a long recording as a whole, and in pieces of 30 s; processor seconds of both, which take turns.

    python benchmarks/long_recordings.py [--full] [--seconds 300 600] [--repeats 3]

``--full`` takes NeuCodec's size with random weights in place of `tiny`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
import soundfile
import torch

import neucodec_tts
from neucodec_tts import NeuCodec
from neucodec_tts.metrics.speed import random_codec

PIECE_SECONDS = 30


def main() -> None:
    """Print a line for each length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seconds", type=int, nargs="+", default=[30, 120, 300, 600, 1200])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    codec = random_codec("cpu") if options.full else NeuCodec.from_pretrained("tiny", device="cpu")

    demo, rate = soundfile.read(Path(neucodec_tts.__file__).parent / "assets" / "demo.flac", dtype="float32")
    print(
        f"{torch.get_num_threads()} threads; processor seconds a second of audio, median of {options.repeats}"
    )
    for seconds in options.seconds:
        speech = torch.from_numpy(np.resize(demo, seconds * rate))
        pieces = list(speech.split(PIECE_SECONDS * rate))
        whole, cut = [], []
        for _ in range(options.repeats):
            whole.append(processor_seconds(codec, [speech]) / seconds)
            cut.append(processor_seconds(codec, pieces) / seconds)
        print(
            f"{seconds:>5} s  whole {median(whole):.4f}  pieces of {PIECE_SECONDS} s {median(cut):.4f}  "
            f"ratio {median(whole) / median(cut):.2f}",
            flush=True,
        )


def processor_seconds(codec: NeuCodec, recordings: list[torch.Tensor]) -> float:
    """The seconds that all threads of this process take to encode recordings one by one."""
    before = time.process_time()
    for recording in recordings:
        codec.encode(recording, codec.input_sample_rate)
    return time.process_time() - before


if __name__ == "__main__":
    main()
