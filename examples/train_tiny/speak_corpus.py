"""Make the corpus that the voice of `tiny` learns from: Debian's texts, read by flite's voices.

    python examples/train_tiny/speak_corpus.py --out data/tiny-voice --hours 10

needs a Debian or Ubuntu machine (`apt-get` and `dpkg`, no root); flite is taken from its package if it is missing.
It writes a folder of recordings (WAV, 16 kHz) for each split, with a `manifest.jsonl` (id, audio, text, speaker) that
`neucodec-tts prepare` reads:

    train        short sentences of `fortunes` and clauses of `bible-kjv-text`, each voice its own choice
    test         50 sentences that no voice reads in training, read by every voice: what it is measured on
    references   other such sentences, read by every voice: recordings to clone from
    packed       the training recordings in one array, for the codec to be trained on as well (`train.py --plain`)

The same command again does nothing if the folder is complete, and goes on where it was stopped if not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from fetch_speech import SAMPLE_RATE, fetch_package, flite_command, trim

VOICES = ("slt", "rms", "awb", "kal16")
SHORTEST, LONGEST = 12, 64  # letters of a text
TEST, REFERENCES = 50, 12  # texts
PLAIN = re.compile(r"[A-Z][A-Za-z ,.!?';:-]+[.!?]")


def plain(text: str) -> bool:
    """True if flite and a person would read it alike: words alone, of a fitting length."""
    return SHORTEST <= len(text) <= LONGEST and PLAIN.fullmatch(text) is not None and not text.isupper()


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
    for package in ("fortunes", "fortunes-min"):
        folder = fetch_package(package, cache) / "usr/share/games/fortunes"
        for path in sorted(folder.iterdir()):
            if path.suffix or path.is_symlink():
                continue
            for fortune in path.read_text("utf-8", errors="replace").split("\n%\n"):
                text = re.sub(r"\s+", " ", re.split(r"-- |\t\t", fortune)[0])
                for sentence in re.split(r"(?<=[.!?]) ", text):
                    yield from clauses(sentence.strip())


def biblical(cache: Path) -> Iterator[str]:
    """Sentences and clauses of the King James Version, which the package `bible-kjv` prints."""
    program = fetch_package("bible-kjv", cache) / "usr/bin/bible"
    data = fetch_package("bible-kjv-text", cache) / "usr/lib"
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


def shuffled(texts: Iterator[str]) -> list[str]:
    """The plain ones among some texts, each once, in an order that depends on nothing but themselves."""
    kept = {text for text in texts if plain(text)}
    return sorted(kept, key=lambda text: hashlib.sha256(text.encode()).digest())


def assignments(cache: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Texts by split, for `test` and `references`; and each voice's training texts, in the order to be read in."""
    now = shuffled(modern(cache))
    fitting = [text for text in now if len(text) >= 28 and "'" not in text and text.count(" ") >= 4]
    held = fitting[: TEST + REFERENCES]
    splits = {"test": held[:TEST], "references": held[TEST:]}
    left = [text for text in now if text not in set(held)]
    old = shuffled(biblical(cache))
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
                samples = trim(np.frombuffer(file.readframes(file.getnframes()), np.int16))
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


def pack(train: Path, folder: Path) -> None:
    """Put the training recordings into one array, as `fetch_speech.py` leaves speech."""
    if (folder / "manifest.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows = sorted(
        map(json.loads, (train / "manifest.jsonl").read_text().splitlines()), key=lambda row: row["id"]
    )
    clips, chunks, position = [], [], 0
    for row in rows:
        with wave.open(str(train / row["audio"])) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        speaker = f"flite-{row['speaker']}"
        clips.append(
            {
                "split": "train",
                "speaker": speaker,
                "name": row["id"],
                "start": position,
                "samples": len(samples),
            }
        )
        chunks.append(samples)
        position += len(samples)
    np.save(folder / "speech.npy", np.concatenate(chunks))
    manifest = {"sample_rate": SAMPLE_RATE, "sources": [], "clips": clips}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=0))


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
    pack(args.out / "train", args.out / "packed")


if __name__ == "__main__":
    main()
