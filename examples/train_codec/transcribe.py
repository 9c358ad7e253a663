"""Write down what people say in recordings of recordings.py: whisper base hears them.

    pip install faster-whisper anyascii jiwer neucodec-tts
    python examples/train_codec/transcribe.py data/people/train/manifest.jsonl --corpus data/corpus

A voice that is to speak like people has to hear some. `heard.jsonl` beside the manifest lists at most so many
recordings of each speaker, evenly spaced, with their texts. The model reads Latin letters alone: others are
transliterated. It goes on where it was stopped. A recording takes a core a second.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import packages
from evaluate import evenly, manifest
from manifests import whole_lines, write_manifest
from measures import RATE, Recogniser

from neucodec_tts.audio import as_waveform

SHORTEST, LONGEST = 1.3, 8.0  # seconds
FASTEST = 28  # letters a second; whisper makes words up where there are few
LETTERS = (3, 150)


def language_of(speaker: str) -> str | None:
    """The language that recordings.py names a speaker with, as in `june-fr`; None if the name has none."""
    _, dash, last = speaker.rpartition("-")
    return last if dash and len(last) == 2 and last.isalpha() else None


def credible(text: str, seconds: float) -> bool:
    return LETTERS[0] <= len(text) <= LETTERS[1] and len(text) <= FASTEST * seconds


def main() -> None:
    from anyascii import anyascii

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path, help="of recordings.py")
    parser.add_argument("--corpus", type=Path, default=Path("data/corpus"), help="folder of make_corpus.py")
    parser.add_argument("--each", type=int, default=120, help="recordings of each speaker, at most")
    args = parser.parse_args()
    site = packages.make_importable(packages.MEASURING, args.corpus / "packages")
    recogniser = Recogniser(site, args.corpus / "packages" / "whisper-base")
    of: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in manifest(args.manifest):
        of[row["speaker"]].append(row)
    begun = args.manifest.with_name("heard.begun")
    heard = {row["id"]: row for row in whole_lines(begun)}
    with begun.open("a", encoding="utf-8") as file:
        for speaker, theirs in of.items():
            for row in evenly(theirs, args.each, SHORTEST, LONGEST):
                if row["id"] in heard:
                    continue
                wave = as_waveform(row.pop("path"), target_rate=RATE).numpy()
                row["text"] = anyascii(recogniser.hear(wave, language_of(speaker)))
                heard[row["id"]] = row
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
            print(
                f"{speaker}: {sum(row['speaker'] == speaker for row in heard.values())} recordings",
                flush=True,
            )
    kept = [row for row in heard.values() if credible(row["text"], row["seconds"])]
    print(f"{len(kept)} of {len(heard)} texts are credible")
    write_manifest(args.manifest.with_name("heard.jsonl"), kept)
    begun.unlink()


if __name__ == "__main__":
    main()
