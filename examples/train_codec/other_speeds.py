"""Make other speakers of a corpus: its recordings played slower and faster, which moves pitch and formants with them.

    python examples/train_codec/other_speeds.py data/corpus/train/manifest.jsonl --speeds 0.85 0.92 1.1 --hours 2

A language model that hears few voices learns from it that the prompt says who speaks. Speaker `emma` at 0.92 is
`emma-092`. The recordings lie beside those of the corpus, and `speeds.jsonl` beside its manifest lists all of them,
the corpus too. It goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import soundfile
import torch
from manifests import write_manifest

from neucodec_tts.audio import as_waveform
from neucodec_tts.audio.resampling import resample

SAMPLE_RATE = 24_000


def at_speed(path: Path, speed: float) -> np.ndarray:
    """A recording float32 (n,) at 24 kHz, played at a speed."""
    wave = as_waveform(path, target_rate=SAMPLE_RATE)
    return resample(wave, round(SAMPLE_RATE * speed), SAMPLE_RATE).numpy()


def write(path: Path, samples: np.ndarray) -> None:
    """Write FLAC, 16 bits, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    soundfile.write(partial, samples.clip(-1, 1), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    os.replace(partial, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path, help="of make_corpus.py")
    parser.add_argument("--speeds", type=float, nargs="+", default=[0.85, 0.92, 1.1])
    parser.add_argument("--hours", type=float, default=2, help="of each speaker at each speed, at most")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in args.manifest.read_text("utf-8").splitlines()]
    speakers = sorted({row["speaker"] for row in rows})
    folder, made = args.manifest.parent, list(rows)
    for speaker in speakers:
        ours = [row for row in rows if row["speaker"] == speaker]
        for number, speed in enumerate(args.speeds):
            name, seconds = f"{speaker}-{round(speed * 100):03d}", 0.0
            start = number * len(ours) // len(args.speeds)  # other sentences at each speed
            for row in ours[start:] + ours[:start]:
                if seconds >= args.hours * 3600:
                    break
                path = folder / name / f"{row['id']}-{round(speed * 100):03d}.flac"
                if not path.exists():
                    write(path, at_speed(folder / row["audio"], speed))
                length = round(row["seconds"] / speed, 3)
                seconds += length
                made.append(
                    {
                        **row,
                        "id": path.stem,
                        "audio": f"{name}/{path.name}",
                        "speaker": name,
                        "seconds": length,
                    }
                )
            print(f"{name}: {seconds / 3600:.2f} h", flush=True)
    write_manifest(folder / "speeds.jsonl", made)


if __name__ == "__main__":
    main()
