"""Fetch recordings of people from Debian packages, for a codec that is to know more than synthetic voices.

    pip install av soundfile
    python examples/train_codec/recordings.py --out data/people

needs a Debian or Ubuntu machine (`apt-get` and `dpkg`, no root). It writes a folder of recordings (FLAC, 16 kHz) for
each split, with a `manifest.jsonl` that `neucodec-tts prepare` reads:

    train        six speakers of four languages
    validation   3 % of the same speakers' prompts
    test         a speaker who is in no other split
    evaluation   more such speakers; GPL recordings, for measuring alone (with --evaluation)

The licence of each speaker's recordings stands in `SOURCES`. The same command again goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from manifests import write_manifest

log = logging.getLogger("recordings")
SAMPLE_RATE = 16_000  # Hz, of all of them
VALIDATION_PERCENT = 3
HELD_OUT = ("tt-allbusy",)  # the recording that `neucodec-tts demo` plays
SHORTEST = 0.35  # seconds; shorter clips are clicks and single sounds


@dataclass(frozen=True)
class Source:
    """One speaker of one package."""

    speaker: str
    package: str
    glob: str
    """Finds the recordings under the unpacked package."""
    licence: str
    credit: str
    split: str = "train"
    every: int = 1
    """Take every n-th file."""


_BY_SA = "CC BY-SA 3.0"
SOURCES = (
    Source("allison-en", "asterisk-core-sounds-en-g722", "**/*.g722", _BY_SA, "Allison Smith, Digium"),
    Source("allison-es", "asterisk-core-sounds-es-g722", "**/*.g722", _BY_SA, "Allison Smith, Digium"),
    Source(
        "june-fr",
        "asterisk-core-sounds-fr-g722",
        "**/*.g722",
        _BY_SA,
        "June Wallack, Digium, Unlimitel, BGM Informatique",
    ),
    Source(
        "ivrvoice-ru", "asterisk-core-sounds-ru-g722", "**/*.g722", "CC BY 3.0", "Maxim Topal, ivrvoice.ru"
    ),
    Source(
        "paola-it",
        "asterisk-prompt-it-menardi-wav",
        "**/*.wav",
        _BY_SA,
        "Marco Menardi and Paola Dal Zot, voip.ammdomus.it",
    ),
    Source("nsh-ru", "festvox-ru", "**/wav/*.wav", "BSD-like", "Nickolay V. Shmyrev, msu_ru_nsh_clunits"),
    Source(
        "carlo-it",
        "asterisk-core-sounds-it-g722",
        "**/*.g722",
        _BY_SA,
        "Carlo Flora, carloflora.com",
        split="test",
    ),
)
EVALUATION = tuple(
    Source(
        f"fillets-{language}-{fish}",
        f"fillets-ng-data-{language}",
        f"**/*-{letter}-*.ogg",
        "GPL-2+",
        "Fish Fillets",
        "evaluation",
        every=12,
    )
    for language in ("cs", "nl")
    for fish, letter in (("small", "m"), ("big", "v"))
)


def unpack(package: str, cache: Path) -> Path:
    """Download and unpack a Debian package once. Returns its folder."""
    folder = cache / package
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            done = subprocess.run(["apt-get", "download", package], cwd=work, capture_output=True, text=True)
            archives = list(Path(work).glob("*.deb"))
            if done.returncode or not archives:
                raise SystemExit(
                    f"apt-get download {package} failed (try `apt-get update`):\n{done.stderr.strip()}"
                )
            subprocess.run(["dpkg", "-x", str(archives[0]), f"{work}/unpacked"], check=True)
            os.replace(f"{work}/unpacked", folder)
    return folder


def decoded(path: Path) -> np.ndarray:
    """A recording as int16 (n,) at 16 kHz, mono. G.722 has no header and is known by its suffix."""
    import av

    with av.open(str(path), format="g722" if path.suffix == ".g722" else None) as file:
        resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
        parts = [
            part.to_ndarray()[0]
            for frame in (*file.decode(audio=0), None)
            for part in resampler.resample(frame)
        ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)


def trimmed(samples: np.ndarray, margin: float = 0.1) -> np.ndarray:
    """Int16 samples (n,) without silence (45 dB under the loudest 20 ms) at the ends, but for ``margin`` seconds."""
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


def split_of(source: Source, name: str) -> str:
    """``validation`` for a fixed 3 % of the training speakers' prompts, chosen by the prompt's name."""
    if source.split != "train":
        return source.split
    if Path(name).stem in HELD_OUT:
        return "validation"
    digest = int(hashlib.sha256(f"{source.speaker}/{name}".encode()).hexdigest(), 16)
    return "validation" if digest % 100 < VALIDATION_PERCENT else "train"


def recordings(source: Source, cache: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of each recording of a speaker. Packages link some under several names: each is taken once."""
    folder = unpack(source.package, cache).resolve()
    files = sorted(
        {f.resolve() for f in folder.glob(source.glob) if "silence" not in f.parts and f.is_file()}
    )
    if not files:
        raise SystemExit(f"{source.package} has no files like {source.glob}: the package has changed")
    for path in files[:: source.every]:
        yield path.relative_to(folder).as_posix(), path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("data/people"))
    parser.add_argument("--evaluation", action="store_true", help="also fetch what is for measuring alone")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    rows: dict[str, list[dict[str, object]]] = {}
    for source in [*SOURCES, *(EVALUATION if args.evaluation else ())]:
        seconds = 0.0
        for name, path in recordings(source, args.out / "packages"):
            split = split_of(source, name)
            key = hashlib.sha256(name.encode()).hexdigest()[:12]
            audio = f"{source.speaker}/{key}.flac"
            target = args.out / split / audio
            if not target.exists():
                samples = trimmed(decoded(path))
                if len(samples) < SHORTEST * SAMPLE_RATE:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(target.with_suffix(".partial"), samples, SAMPLE_RATE, format="FLAC")
                os.replace(target.with_suffix(".partial"), target)
            length = soundfile.info(target).duration
            row = {"id": f"{source.speaker}-{key}", "audio": audio, "speaker": source.speaker}
            rows.setdefault(split, []).append(row | {"seconds": round(length, 3), "name": name})
            seconds += length
        log.info(
            "%-16s %-10s %6.1f min  %s: %s",
            source.speaker,
            source.split,
            seconds / 60,
            source.licence,
            source.credit,
        )
    for split, lines in rows.items():
        write_manifest(args.out / split / "manifest.jsonl", lines)


if __name__ == "__main__":
    main()
