"""Encode a long recording as a whole, and in pieces of 30 s; processor seconds of both, which take turns.

    python benchmarks/long_recordings.py [--full] [--seconds 300 600] [--repeats 3]
    python benchmarks/long_recordings.py --memory [--full] [--seconds 300 600 1200 3600]

``--full`` takes NeuCodec's size with random weights in place of `tiny`. ``--memory`` prints the most memory that
encoding takes beyond the loaded codec and the waveform instead, each length in a process of its own (Linux only).
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import soundfile
import torch

import neucodec_tts
from neucodec_tts import NeuCodec
from neucodec_tts.metrics.speed import random_codec

PIECE_SECONDS = 30


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seconds", type=int, nargs="+", default=[30, 120, 300, 600, 1200])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args(arguments)
    if options.memory:
        for seconds in options.seconds:
            with multiprocessing.get_context("spawn").Pool(1) as process:
                peak = process.apply(peak_memory, (options.full, seconds))
            print(f"{seconds:>5} s  {peak / 2**20:.0f} MiB", flush=True)
        return
    codec = load_codec(options.full)
    print(
        f"{torch.get_num_threads()} threads; processor seconds a second of audio, median of {options.repeats}"
    )
    for seconds in options.seconds:
        speech = long_speech(seconds, codec.input_sample_rate)
        pieces = list(speech.split(PIECE_SECONDS * codec.input_sample_rate))
        whole, cut = [], []
        for _ in range(options.repeats):
            whole.append(processor_seconds(codec, [speech]) / seconds)
            cut.append(processor_seconds(codec, pieces) / seconds)
        print(
            f"{seconds:>5} s  whole {median(whole):.4f}  pieces of {PIECE_SECONDS} s {median(cut):.4f}  "
            f"ratio {median(whole) / median(cut):.2f}",
            flush=True,
        )


def load_codec(full: bool) -> NeuCodec:
    """NeuCodec's size with random weights, or `tiny`."""
    return random_codec("cpu") if full else NeuCodec.from_pretrained("tiny", device="cpu")


def long_speech(seconds: int, rate: int) -> torch.Tensor:
    """The demo recording, which is at 16 kHz, again and again: float32 (samples,)."""
    demo, demo_rate = soundfile.read(
        Path(neucodec_tts.__file__).parent / "assets" / "demo.flac", dtype="float32"
    )
    assert demo_rate == rate
    return torch.from_numpy(np.resize(demo, seconds * rate))


def peak_memory(full: bool, seconds: int) -> int:
    """The most bytes that encoding takes beyond what this process holds before it; run it in a new process."""
    codec = load_codec(full)
    rate = codec.input_sample_rate
    codec.encode(long_speech(1, rate), rate)  # loads what the first call loads
    speech = long_speech(seconds, rate)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    codec.encode(speech, rate)
    return resident("VmHWM") - before


def resident(name: str) -> int:
    """A line of ``/proc/self/status``, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def processor_seconds(codec: NeuCodec, recordings: list[torch.Tensor]) -> float:
    """The seconds that all threads of this process take to encode recordings one by one."""
    before = time.process_time()
    for recording in recordings:
        codec.encode(recording, codec.input_sample_rate)
    return time.process_time() - before


if __name__ == "__main__":
    main()
