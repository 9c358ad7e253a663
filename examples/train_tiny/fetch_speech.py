"""Fetch the speech that `tiny` is trained on, from Debian packages, and pack it into one array.

    python examples/train_tiny/fetch_speech.py --out data/tiny-speech

needs a Debian or Ubuntu machine (`apt-get` and `dpkg`, no root) and `ffmpeg`. It writes

    speech.npy       int16, 16 kHz mono, every clip one after the other, sorted by split and speaker
    manifest.json    where each clip lies, its speaker and split, and each source's licence

Splits: `train`; `validation` (3 % of the prompts of the training speakers); `test` (a human speaker who is in no other
split); `evaluation` (only with --evaluation: GPL recordings of more unseen human speakers, for measuring, never for
training). A second run with the same folder does nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16_000  # Hz
VALIDATION_PERCENT = 3
HELD_OUT = ("tt-allbusy",)  # the recording that the package demonstrates itself on
SHORTEST = 0.35  # seconds; shorter clips are clicks and single sounds


@dataclass(frozen=True)
class Source:
    """One speaker of one package. `glob` finds the recordings under the unpacked package."""

    speaker: str
    package: str
    glob: str
    licence: str
    credit: str
    split: str = "train"
    every: int = 1  # take every n-th file


@dataclass(frozen=True)
class Voice:
    """One of flite's synthetic voices, reading `minutes` of text."""

    speaker: str
    name: str
    minutes: float
    licence: str = "BSD-like (flite)"
    credit: str = "Carnegie Mellon University, flite; text read: Debian's fortunes"
    split: str = "train"


SOUNDS = "usr/share/asterisk/sounds"
BY_SA = "CC BY-SA 3.0"
SOURCES = (
    Source("allison-en", "asterisk-core-sounds-en-g722", "**/*.g722", BY_SA, "Allison Smith, Digium"),
    Source("allison-es", "asterisk-core-sounds-es-g722", "**/*.g722", BY_SA, "Allison Smith, Digium"),
    Source(
        "june-fr",
        "asterisk-core-sounds-fr-g722",
        "**/*.g722",
        BY_SA,
        "June Wallack, Digium, Unlimitel, BGM Informatique",
    ),
    Source(
        "ivrvoice-ru", "asterisk-core-sounds-ru-g722", "**/*.g722", "CC BY 3.0", "Maxim Topal, ivrvoice.ru"
    ),
    Source(
        "paola-it",
        "asterisk-prompt-it-menardi-wav",
        "**/*.wav",
        BY_SA,
        "Marco Menardi and Paola Dal Zot, voip.ammdomus.it",
    ),
    Source("nsh-ru", "festvox-ru", "**/wav/*.wav", "BSD-like", "Nickolay V. Shmyrev, msu_ru_nsh_clunits"),
    Source(
        "carlo-it",
        "asterisk-core-sounds-it-g722",
        "**/*.g722",
        BY_SA,
        "Carlo Flora, carloflora.com",
        split="test",
    ),
)
EVALUATION_SOURCES = (
    Source(
        "fillets-cs-small",
        "fillets-ng-data-cs",
        "**/*-m-*.ogg",
        "GPL-2+",
        "Fish Fillets",
        "evaluation",
        every=12,
    ),
    Source(
        "fillets-cs-big",
        "fillets-ng-data-cs",
        "**/*-v-*.ogg",
        "GPL-2+",
        "Fish Fillets",
        "evaluation",
        every=12,
    ),
    Source(
        "fillets-nl-small",
        "fillets-ng-data-nl",
        "**/*-m-*.ogg",
        "GPL-2+",
        "Fish Fillets",
        "evaluation",
        every=12,
    ),
    Source(
        "fillets-nl-big",
        "fillets-ng-data-nl",
        "**/*-v-*.ogg",
        "GPL-2+",
        "Fish Fillets",
        "evaluation",
        every=12,
    ),
)
VOICES = (
    Voice("flite-rms", "rms", 25),
    Voice("flite-awb", "awb", 25),
    Voice("flite-slt", "slt", 15),
    Voice("flite-kal16", "kal16", 10),
)
TEXT_PACKAGES = ("fortunes", "fortunes-min")
TEXT_FILES = ("science", "literature", "art", "computers", "people", "education", "tao")


def fetch_package(package: str, cache: Path) -> Path:
    """Download and unpack a Debian package under `cache` (once). Returns the folder it was unpacked to."""
    folder = cache / package
    if folder.exists():
        return folder
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise SystemExit(
            "this recipe takes its speech from Debian packages: run it where apt-get and dpkg are"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        done = subprocess.run(["apt-get", "download", package], cwd=work, capture_output=True, text=True)
        archives = list(Path(work).glob("*.deb"))
        if done.returncode or not archives:
            raise SystemExit(
                f"apt-get download {package} failed (try `apt-get update` first):\n{done.stderr.strip()}"
            )
        unpacked = Path(work) / "unpacked"
        subprocess.run(["dpkg", "-x", str(archives[0]), str(unpacked)], check=True)
        os.replace(unpacked, folder)
    return folder


def decode(paths: list[Path]) -> list[np.ndarray]:
    """Decode recordings with one run of ffmpeg, as starting it is what costs, to int16 (n,), 16 kHz, mono."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1"]
    for path in paths:
        command += ["-i", str(path)]
    with tempfile.TemporaryDirectory() as work:
        for index in range(len(paths)):
            command += [
                "-map",
                f"{index}:a",
                "-f",
                "s16le",
                "-ac",
                "1",
                "-ar",
                str(SAMPLE_RATE),
                f"{work}/{index}",
            ]
        done = subprocess.run(command, capture_output=True)
        if done.returncode:
            raise SystemExit(
                f"ffmpeg cannot decode the likes of {paths[0]}:\n{done.stderr.decode(errors='replace').strip()}"
            )
        return [np.fromfile(f"{work}/{index}", np.int16) for index in range(len(paths))]


def trim(samples: np.ndarray, margin: float = 0.1) -> np.ndarray:
    """Cut silence (45 dB under the loudest 20 ms) off both ends of int16 samples (n,), but for `margin` seconds."""
    frame = SAMPLE_RATE // 50
    frames = len(samples) // frame
    if frames == 0:
        return samples[:0]
    power = (samples[: frames * frame].reshape(frames, frame).astype(np.float64) ** 2).mean(1)
    loud = np.flatnonzero(power > max(power.max() * 10**-4.5, 1.0))
    if len(loud) == 0:
        return samples[:0]
    keep = int(margin * SAMPLE_RATE)
    return samples[max(0, loud[0] * frame - keep) : (loud[-1] + 1) * frame + keep]


def sentences(cache: Path) -> Iterator[str]:
    """Plain sentences of 30 to 200 letters from Debian's fortunes, in a fixed order."""
    for package in TEXT_PACKAGES:
        folder = fetch_package(package, cache) / "usr/share/games/fortunes"
        for name in TEXT_FILES:
            if not (folder / name).exists():
                continue
            for fortune in (folder / name).read_text("utf-8").split("\n%\n"):
                text = re.sub(r"\s+", " ", fortune.split("-- ")[0])
                for sentence in re.split(r"(?<=[.!?]) ", text):
                    if 30 <= len(sentence) <= 200 and re.fullmatch(r"[A-Za-z ,.!?';:-]+", sentence):
                        yield sentence


def flite_command(cache: Path) -> tuple[list[str], dict[str, str]]:
    """The flite program and the environment it runs in: the machine's own, or unpacked from its packages."""
    if found := shutil.which("flite"):
        return [found], dict(os.environ)
    programs, libraries = fetch_package("flite", cache), fetch_package("libflite1", cache)
    paths = {str(lib.parent) for lib in libraries.rglob("libflite*.so*")}
    return [str(programs / "usr/bin/flite")], {**os.environ, "LD_LIBRARY_PATH": ":".join(sorted(paths))}


def synthesise(
    voice: Voice, index: int, cache: Path, pool: ThreadPoolExecutor
) -> Iterator[tuple[str, np.ndarray]]:
    """Read sentences with one flite voice, each voice its own share of the text, until it has enough minutes."""
    command, environment = flite_command(cache)
    texts = list(sentences(cache))[index :: len(VOICES)]

    def speak(item: tuple[int, str]) -> tuple[str, np.ndarray]:
        number, text = item
        with tempfile.TemporaryDirectory() as work:
            path = Path(work) / "speech.wav"
            subprocess.run(
                [*command, "-voice", voice.name, "-t", text, "-o", str(path)], check=True, env=environment
            )
            with wave.open(str(path)) as file:
                if file.getframerate() != SAMPLE_RATE:
                    raise SystemExit(
                        f"flite's voice {voice.name} speaks at {file.getframerate()} Hz, not {SAMPLE_RATE}"
                    )
                return f"{voice.name}-{number:05d}", trim(
                    np.frombuffer(file.readframes(file.getnframes()), np.int16)
                )

    wanted = int(voice.minutes * 60 * SAMPLE_RATE)
    for start in range(0, len(texts), 32):
        for name, samples in pool.map(speak, list(enumerate(texts))[start : start + 32]):
            yield name, samples
            wanted -= len(samples)
        if wanted <= 0:
            return


def recordings(source: Source, cache: Path, pool: ThreadPoolExecutor) -> Iterator[tuple[str, np.ndarray]]:
    folder = fetch_package(source.package, cache)
    # Packages link some prompts under several names: each recording is taken once.
    files = sorted(
        {f.resolve() for f in folder.glob(source.glob) if "silence" not in f.parts and f.is_file()}
    )[:: source.every]
    if not files:
        raise SystemExit(f"{source.package} has no files like {source.glob}: the package has changed")
    batches = [files[start : start + 40] for start in range(0, len(files), 40)]
    decoded = (samples for batch in pool.map(decode, batches) for samples in batch)
    for path, samples in zip(files, decoded, strict=True):
        yield path.relative_to(folder.resolve()).as_posix(), trim(samples)


def split_of(source: Source | Voice, name: str) -> str:
    """`validation` for a fixed 3 % of the training speakers' prompts, chosen by the prompt's name."""
    if source.split != "train":
        return source.split
    if Path(name).stem in HELD_OUT:
        return "validation"
    digest = int(hashlib.sha256(f"{source.speaker}/{name}".encode()).hexdigest(), 16)
    return "validation" if digest % 100 < VALIDATION_PERCENT else "train"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("data/tiny-speech"))
    parser.add_argument("--cache", type=Path, help="where packages are unpacked (default: OUT/packages)")
    parser.add_argument(
        "--evaluation", action="store_true", help="also fetch the GPL recordings used only to measure"
    )
    args = parser.parse_args()
    if (args.out / "manifest.json").exists():
        print(f"{args.out} is complete; remove it to fetch again")
        return
    if shutil.which("ffmpeg") is None:
        raise SystemExit("ffmpeg is needed to decode the recordings: apt-get install ffmpeg")
    args.out.mkdir(parents=True, exist_ok=True)
    cache = args.cache or args.out / "packages"
    found: dict[tuple[str, str], list[tuple[str, np.ndarray]]] = {}
    sources: list[Source | Voice] = [*SOURCES, *VOICES, *(EVALUATION_SOURCES if args.evaluation else ())]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for source in sources:
            if isinstance(source, Source):
                clips = recordings(source, cache, pool)
            else:
                clips = synthesise(source, VOICES.index(source), cache, pool)
            seconds = 0.0
            for name, samples in clips:
                if len(samples) >= SHORTEST * SAMPLE_RATE:
                    found.setdefault((split_of(source, name), source.speaker), []).append((name, samples))
                    seconds += len(samples) / SAMPLE_RATE
            print(
                f"{source.speaker:18} {source.split:10} {seconds / 60:6.1f} min  {source.licence}: {source.credit}"
            )
            sys.stdout.flush()
    rows, chunks, position = [], [], 0
    for split, speaker in sorted(found):
        for name, samples in found[split, speaker]:
            rows.append(
                {"split": split, "speaker": speaker, "name": name, "start": position, "samples": len(samples)}
            )
            chunks.append(samples)
            position += len(samples)
    np.save(args.out / "speech.partial.npy", np.concatenate(chunks))
    os.replace(args.out / "speech.partial.npy", args.out / "speech.npy")
    manifest = {"sample_rate": SAMPLE_RATE, "sources": [asdict(source) for source in sources], "clips": rows}
    partial = args.out / "manifest.partial"
    partial.write_text(json.dumps(manifest, indent=0))
    os.replace(partial, args.out / "manifest.json")  # last: its presence means that the folder is complete
    print(f"{len(rows)} clips, {position / SAMPLE_RATE / 3600:.2f} h in {args.out}")


if __name__ == "__main__":
    main()
