"""Measure a checkpoint on speech it was not trained on.

    python examples/train_tiny/evaluate.py runs/tiny/checkpoint --speech data/tiny-speech

prints, for each group of recordings, the mean STOI, PESQ (wide-band) and log-mel distance of the reconstruction, and
how the codes are used. Needs `pip install 'neucodec-tts[evaluate,pesq]'`; without pesq its column stays empty.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from speech_data import Clip, Speech

from neucodec_tts import NeuCodec
from neucodec_tts.metrics.scores import Scores, code_usage, score

SHORTEST, LONGEST = 1.5, 15.0  # seconds


def groups(speech: Speech, count: int) -> dict[str, list[Clip]]:
    """Up to `count` clips of each kind of speaker."""
    synthetic = {source["speaker"] for source in speech.sources if "name" in source}  # only voices have one
    chosen: dict[str, list[Clip]] = {}
    for split, name in (
        ("test", "human, speaker never heard"),
        ("evaluation", "human, speakers never heard (GPL)"),
        ("validation", "human, speakers heard"),
        ("validation", "synthetic, voices heard"),
    ):
        wanted = name.startswith("synthetic")
        clips = [
            clip
            for clip in speech.clips
            if clip.split == split
            and SHORTEST <= clip.samples / 16_000 <= LONGEST
            and (clip.speaker in synthetic) == wanted
        ]
        if clips:
            places = np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int)
            chosen[name] = [clips[place] for place in places]
    return chosen


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of those there are."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def measure(codec: NeuCodec, speech: Speech, clips: list[Clip]) -> dict[str, float | int | None]:
    """Encode and decode the clips, score them, and count their codes."""
    waves = [speech.clip(clip) for clip in clips]
    codes = codec.encode(waves, codec.input_sample_rate)
    decoded = codec.decode(codes)
    scores: list[Scores] = [
        score(wave, codec.input_sample_rate, back, codec.output_sample_rate)
        for wave, back in zip(waves, decoded, strict=True)
    ]
    usage = code_usage(torch.cat(codes), codec.codebook_size)
    return {
        "clips": len(clips),
        "speakers": len({clip.speaker for clip in clips}),
        "minutes": sum(clip.samples for clip in clips) / codec.input_sample_rate / 60,
        "stoi": mean(s.stoi for s in scores),
        "stoi_least": min(s.stoi for s in scores if s.stoi is not None),
        "pesq": mean(s.pesq for s in scores),
        "log_mel_distance": mean(s.log_mel_distance for s in scores),
        "frames": usage.frames,
        "codes": usage.used,
        "entropy_bits": usage.entropy_bits,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="a folder, or `tiny` for the built-in one")
    parser.add_argument(
        "--speech", type=Path, default=Path("data/tiny-speech"), help="folder of fetch_speech.py"
    )
    parser.add_argument("--clips", type=int, default=100, help="at most, of each group")
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    codec = NeuCodec.from_pretrained(args.checkpoint, device=args.device)
    speech = Speech(args.speech)
    table = {}
    for name, clips in groups(speech, args.clips).items():
        row = table[name] = measure(codec, speech, clips)
        figures = "  ".join(
            f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.items()
        )
        print(f"{name:34} {figures}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
