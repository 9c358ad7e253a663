"""Make the corpus that `tiny` learns from: English sentences, read by natural voices of Kokoro and hibari at 24 kHz.

    pip install onnxruntime scipy soundfile faster-whisper rapidfuzz
    python examples/train_codec/make_corpus.py --out data/corpus

needs a Debian or Ubuntu machine (`apt-get` and `dpkg`, no root) and `npm`, with which packages are fetched; none is
installed. It writes a folder of recordings (FLAC, 16 bits) for each split, with a `manifest.jsonl` (id, audio, text,
phones, speaker, seconds) that `neucodec-tts prepare` reads:

    test         50 sentences that no training hears, read by every voice in turn: what a codec is measured on
    references   12 other such sentences, read by every voice: recordings to clone from
    train        sentences and short phrases; what whisper mishears is left out, and named in `rejected.jsonl`

It can be stopped at any time, and the manifests hold what there is. The same command again goes on, and with more
hours makes the corpus longer.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import packages
import soundfile
import texts
from listening import ROUND_SECONDS, Listener
from manifests import whole_lines, write_manifest
from voices import BULK, CROWD, SAMPLE_RATE, VOICES, Reader

log = logging.getLogger("make_corpus")
MISHEARD = 0.12  # edits over phones
FEW_PHONES, MISHEARD_OF_FEW = 12, 0.4  # whisper is less sure of a word or two
SHORTEST, LONGEST = 0.25, 9.0  # seconds
OF_ONE = 8  # sentences of each voice of the crowd
TOGETHER = 24  # recordings that are read before they are listened to


@dataclass(frozen=True)
class Row:
    """One recording of a manifest."""

    id: str
    audio: str
    text: str
    phones: str
    speaker: str
    seconds: float


class Split:
    """The recordings of one folder.

    ``rows.jsonl`` and ``rejected.jsonl`` have a line for each as soon as it is written; ``manifest.jsonl`` holds the
    first and is replaced as a whole.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.rows = [Row(**row) for row in whole_lines(folder / "rows.jsonl")]
        self.done = {row.id for row in self.rows}
        self.done |= {row["id"] for row in whole_lines(folder / "rejected.jsonl")}
        self._written = 0.0

    def seconds(self, group: str) -> float:
        """Of one group: the bulk voice, all others, or the crowd."""
        return sum(row.seconds for row in self.rows if group_of(row.speaker) == group)

    def keep(self, row: Row, samples: np.ndarray) -> None:
        """Write a recording float32 (n,), then its line."""
        path = self.folder / row.audio
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(".partial")
        pcm = np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16)
        soundfile.write(partial, pcm, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        os.replace(partial, path)
        self._append("rows.jsonl", asdict(row))
        self.rows.append(row)
        self.done.add(row.id)
        if time.monotonic() - self._written > 30:
            self.write_manifest()

    def reject(self, name: str, text: str, speaker: str, reason: str) -> None:
        """Note why a recording was left out."""
        self._append("rejected.jsonl", {"id": name, "text": text, "speaker": speaker, "reason": reason})
        self.done.add(name)

    def write_manifest(self) -> None:
        """Replace the manifest by one of all rows."""
        write_manifest(self.folder / "manifest.jsonl", map(asdict, self.rows))
        self._written = time.monotonic()

    def _append(self, name: str, row: dict[str, object]) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def group_of(speaker: str) -> str:
    """The group whose hours a speaker counts for."""
    if speaker.startswith(CROWD):
        return CROWD
    return BULK if speaker == BULK else "voices"


class Maker:
    """Reads, listens and writes."""

    def __init__(self, out: Path) -> None:
        wanted = [*packages.SPEECH, *packages.CHECKING, *packages.TEXTS]
        self.site = packages.make_importable(wanted, out / "packages")
        self.reader = Reader(self.site, out / "packages")
        self.listener = Listener(self.reader.phones)

    def make(self, split: Split, items: list[tuple[str, str, str]], check: bool = True) -> None:
        """Read a few items (id, voice, text) that are not done yet, and keep the good ones."""
        waiting: list[tuple[Row, np.ndarray]] = []
        for name, voice, text in items:
            if name in split.done:
                continue
            samples, phones = self.reader.read(voice, text, name)
            seconds = len(samples) / SAMPLE_RATE
            if not SHORTEST <= seconds <= LONGEST:
                split.reject(name, text, voice, f"{seconds:.2f} s long")
                continue
            row = Row(name, f"{voice}/{name}.flac", text, phones, voice, round(seconds, 3))
            waiting.append((row, samples))
        while waiting:
            take = len(waiting)
            while take > 1 and sum(row.seconds + 0.6 for row, _ in waiting[:take]) > ROUND_SECONDS:
                take -= 1
            now, waiting = waiting[:take], waiting[take:]
            recordings = [samples for _, samples in now]
            errors = [0.0] * take
            if check:
                errors = self.listener.errors(recordings, [row.text for row, _ in now], SAMPLE_RATE)
            for (row, samples), error in zip(now, errors, strict=True):
                few = len(row.phones) < FEW_PHONES
                if error <= (MISHEARD_OF_FEW if few else MISHEARD):
                    split.keep(row, samples)
                else:
                    split.reject(row.id, row.text, row.speaker, f"misheard by {error:.2f}")


def held_out(site: Path, voices: tuple[str, ...]) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """The items of the two splits that no training hears, for hibari's voice and some of Kokoro's."""
    voices = (BULK, *voices)
    test, references = texts.held_out(site)
    yield (
        "test",
        [
            (f"{voices[i % len(voices)]}-test-{i:02d}", voices[i % len(voices)], text)
            for i, text in enumerate(test)
        ],
    )
    yield (
        "references",
        [(f"{v}-reference-{i:02d}", v, text) for i, text in enumerate(references) for v in voices],
    )


def training(site: Path, voices: tuple[str, ...]) -> dict[str, Iterator[tuple[str, str, str]]]:
    """The items of each group for training, in the order to be read in: the groups begin at other texts."""
    everything = texts.training_texts(site)

    def of_group(voice_of: Callable[[int], str], first: float) -> Iterator[tuple[str, str, str]]:
        start = int(first * len(everything))
        for number in range(len(everything)):
            place = (start + number) % len(everything)
            voice = voice_of(number)
            yield f"{voice}-{place:05d}", voice, everything[place]

    return {
        BULK: of_group(lambda number: BULK, 0.0),
        "voices": of_group(lambda number: voices[number % len(voices)], 0.4),
        CROWD: of_group(lambda number: f"{CROWD}-{number // OF_ONE:04d}", 0.8),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("data/corpus"))
    parser.add_argument("--bulk-hours", type=float, default=8, help="of hibari's voice")
    parser.add_argument("--voice-hours", type=float, default=3, help="of Kokoro's voices, together")
    parser.add_argument(
        "--voices",
        nargs="+",
        choices=VOICES,
        default=VOICES,
        metavar="NAME",
        help=f"of Kokoro: {', '.join(VOICES)}",
    )
    parser.add_argument(
        "--crowd-hours", type=float, default=1.5, help="of voices mixed of Kokoro's, of eight sentences each"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)
    maker, voices = Maker(args.out), tuple(args.voices)
    for name, items in held_out(maker.site, voices):
        split = Split(args.out / name)
        for first in range(0, len(items), TOGETHER):
            maker.make(split, items[first : first + TOGETHER], check=False)
        split.write_manifest()
        log.info("%s: %d recordings", name, len(split.rows))
    split = Split(args.out / "train")
    groups = training(maker.site, voices)
    wanted = {BULK: args.bulk_hours, "voices": args.voice_hours, CROWD: args.crowd_hours}
    said = time.monotonic()
    while True:
        shares = {name: split.seconds(name) / 3600 / hours for name, hours in wanted.items() if hours}
        name = min(shares, key=lambda group: shares[group], default="")
        if not name or shares[name] >= 1:
            break
        items = []
        for item in groups[name]:
            if item[0] not in split.done:
                items.append(item)
            if len(items) == TOGETHER:
                break
        if not items:  # all texts are read
            wanted[name] = 0
            continue
        maker.make(split, items)
        if time.monotonic() - said > 60:
            said = time.monotonic()
            hours = "  ".join(f"{group} {split.seconds(group) / 3600:.2f} h" for group in wanted)
            log.info("train: %d recordings, %s", len(split.rows), hours)
    split.write_manifest()
    log.info("done: %d recordings for training", len(split.rows))


if __name__ == "__main__":
    main()
