"""Make the corpus that the voice of `tiny` learns from: Debian's texts, read by flite's voices.

    python examples/train_codec/speak_corpus.py --out data/tiny-voice --hours 10

needs a Debian or Ubuntu machine (`apt-get` and `dpkg`, no root); flite is taken from its package if it is missing.
It writes a folder of recordings (WAV, 16 kHz) for each split, with a `manifest.jsonl` (id, audio, text, speaker) that
`neucodec-tts prepare` reads:

    train        short sentences of `fortunes` and clauses of `bible-kjv-text`, each voice its own choice
    test         50 sentences that no voice reads in training, read by every voice: what it is measured on
    references   other such sentences, read by every voice: recordings to clone from

The same command again does nothing if the folder is complete, and goes on where it was stopped if not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from recordings import SAMPLE_RATE, trimmed, unpack
from texts import FORTUNES, REFERENCES, TEST, fortunes, in_order

VOICES = ("slt", "rms", "awb", "kal16")
SHORTEST, LONGEST = 12, 64  # letters of a text


def clauses(sentence: str) -> Iterator[str]:
    """A sentence, or if it is too long its clauses, each made to look like a sentence."""
    if len(sentence) <= LONGEST:
        yield sentence
        return
    for clause in re.split(r"(?<=[,;:]) ", sentence):
        clause = clause.strip(" ,;:.")
        if clause:
            yield clause[0].upper() + clause[1:] + (sentence[-1] if sentence.endswith(clause[-9:]) else ".")


def modern(cache: Path) -> Iterator[str]:
    """Sentences and clauses of Debian's fortunes."""
    for package in FORTUNES:
        unpack(package, cache)
    for sentence in fortunes(cache):
        yield from clauses(sentence)


def biblical(cache: Path) -> Iterator[str]:
    """Sentences and clauses of the King James Version, which the package `bible-kjv` prints."""
    program = unpack("bible-kjv", cache) / "usr/bin/bible"
    data = unpack("bible-kjv-text", cache) / "usr/lib"
    done = subprocess.run(
        [str(program.resolve()), "-p", str(data.resolve()), "-f", "gen1:1-rev22:21"],
        cwd=data,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    for line in done.stdout.decode("latin-1").splitlines():
        verse = re.sub(r"^\S+:\d+ ", "", line.strip())
        for sentence in re.split(r"(?<=[.!?]) ", verse):
            yield from clauses(sentence.strip())


def assignments(cache: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Texts by split, for `test` and `references`; and each voice's training texts, in the order to be read in."""
    now = in_order(modern(cache), SHORTEST, LONGEST)
    fitting = [text for text in now if len(text) >= 28 and "'" not in text and text.count(" ") >= 4]
    held = fitting[: TEST + REFERENCES]
    splits = {"test": held[:TEST], "references": held[TEST:]}
    left = [text for text in now if text not in set(held)]
    old = in_order(biblical(cache), SHORTEST, LONGEST)
    training = {}
    for index, voice in enumerate(VOICES):
        ours = (
            left[index % 3 :: 3] + left[(index + 1) % 3 :: 3]
        )  # two thirds; each pair of voices shares some
        theirs = old[index :: len(VOICES)]
        both: list[str] = []
        while ours:  # three of now to one of then
            both += ours[:3] + theirs[:1]
            ours, theirs = ours[3:], theirs[1:]
        training[voice] = both + theirs
    return splits, training


def flite_command(cache: Path) -> tuple[list[str], dict[str, str]]:
    """The flite program and the environment it runs in: the machine's own, or unpacked from its packages."""
    if found := shutil.which("flite"):
        return [found], dict(os.environ)
    programs, libraries = unpack("flite", cache), unpack("libflite1", cache)
    paths = {str(lib.parent) for lib in libraries.rglob("libflite*.so*")}
    return [str(programs / "usr/bin/flite")], {**os.environ, "LD_LIBRARY_PATH": ":".join(sorted(paths))}


class Reader:
    """Reads texts with flite."""

    def __init__(self, cache: Path) -> None:
        self.command, self.environment = flite_command(cache)

    def read(self, voice: str, text: str, path: Path) -> float:
        """Write a recording, if there is none yet, and return its seconds."""
        if not path.exists():
            partial = path.with_suffix(".partial")
            subprocess.run(
                [*self.command, "-voice", voice, "-t", text, "-o", str(partial)],
                check=True,
                env=self.environment,
            )
            with wave.open(str(partial)) as file:
                if file.getframerate() != SAMPLE_RATE:
                    raise SystemExit(
                        f"flite's voice {voice} speaks at {file.getframerate()} Hz, not {SAMPLE_RATE}"
                    )
                samples = trimmed(np.frombuffer(file.readframes(file.getnframes()), np.int16))
            with wave.open(str(partial), "wb") as file:
                file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
                file.writeframes(samples.tobytes())
            os.replace(partial, path)
        return (path.stat().st_size - 44) / 2 / SAMPLE_RATE


def record(
    folder: Path,
    items: Iterator[tuple[str, str, str]],
    seconds: float,
    reader: Reader,
    pool: ThreadPoolExecutor,
) -> tuple[int, float]:
    """Read (id, voice, text) into a folder until there are so many seconds, and write its manifest."""
    if (folder / "manifest.jsonl").exists():
        rows = (folder / "manifest.jsonl").read_text().splitlines()
        return len(rows), 0.0
    folder.mkdir(parents=True, exist_ok=True)
    rows, total = [], 0.0

    def work(item: tuple[str, str, str]) -> tuple[dict[str, str], float]:
        name, voice, text = item
        spoken = reader.read(voice, text, folder / f"{name}.wav")
        return {"id": name, "audio": f"{name}.wav", "text": text, "speaker": voice}, spoken

    batch: list[tuple[str, str, str]] = []
    for item in items:
        batch.append(item)
        if len(batch) == 64:
            for row, spoken in pool.map(work, batch):
                rows.append(row)
                total += spoken
            batch = []
            if total >= seconds:
                break
    for row, spoken in pool.map(work, batch):
        rows.append(row)
        total += spoken
    partial = folder / "manifest.partial"
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.replace(partial, folder / "manifest.jsonl")  # last: its presence means that the split is complete
    return len(rows), total


def in_turn(training: dict[str, list[str]]) -> Iterator[tuple[str, str, str]]:
    """One text of each voice, and again."""
    for number in range(max(map(len, training.values()))):
        for voice, texts in training.items():
            if number < len(texts):
                yield f"{voice}-{number:05d}", voice, texts[number]


def speak_held_out(out: Path, splits: dict[str, list[str]], reader: Reader, pool: ThreadPoolExecutor) -> None:
    """Have every voice read the texts of the splits that are not for training."""
    for split, texts in splits.items():
        items = ((f"{v}-{split}-{i:02d}", v, text) for i, text in enumerate(texts) for v in VOICES)
        count, seconds = record(out / split, items, float("inf"), reader, pool)
        print(f"{split:11} {count:6d} recordings, {seconds / 60:.1f} min", flush=True)


def complete_held_out(out: Path) -> None:
    """Make the speech that measures a voice, unless it is there: a minute's work."""
    cache = out / "packages"
    splits, _ = assignments(cache)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        speak_held_out(out, splits, Reader(cache), pool)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("data/tiny-voice"))
    parser.add_argument("--cache", type=Path, help="where packages are unpacked (default: OUT/packages)")
    parser.add_argument("--hours", type=float, default=10, help="of training speech, over all voices")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="flites at a time")
    args = parser.parse_args()
    cache = args.cache or args.out / "packages"
    splits, training = assignments(cache)
    reader = Reader(cache)
    with ThreadPoolExecutor(args.jobs) as pool:
        speak_held_out(args.out, splits, reader, pool)
        count, seconds = record(args.out / "train", in_turn(training), args.hours * 3600, reader, pool)
        print(f"{'train':11} {count:6d} recordings, {seconds / 3600:.2f} h", flush=True)


if __name__ == "__main__":
    main()
