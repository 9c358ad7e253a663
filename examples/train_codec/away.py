"""Take a training to another machine and back: little to carry there, and files of a few megabytes to bring home.

    python examples/train_codec/away.py pack CORPUS PEOPLE --out away --megabytes 40       # 0.tar and 1.tar
    python examples/train_codec/away.py teacher MODEL_BIN --out away/teacher.npz           # 16 MB of the 75
    python examples/train_codec/train.py away/0.tar away/1.tar --shares 0.6 0.4 --keep-narrow ... --out runs/away
    python examples/train_codec/away.py split runs/away/checkpoint --out home
    python examples/train_codec/away.py join home --out runs/away/checkpoint

`pack` makes a tar of each corpus, Opus of about 30 kbit/s in pieces of up to 50 s of one speaker, that
`neucodec-tts prepare` and `train.py` read. It takes from all speakers alike until the megabytes are full. `teacher`
keeps the encoder of a whisper model alone. `split` and `join` are for the way back.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from corpora import recordings
from whisper_teacher import read_ctranslate2

from neucodec_tts.audio.resampling import resample
from neucodec_tts.errors import AudioError
from neucodec_tts.training.codec.packed_speech import Recording

log = logging.getLogger("away")
LEVEL = 0.92  # libsndfile's compression, about 30 kbit/s for one voice
PIECE, PAUSE = 50.0, 0.15  # seconds
RATES = (8_000, 12_000, 16_000, 24_000, 48_000)  # Hz, those of Opus
PART = 15_000_000  # bytes


def pieces(corpus: str) -> Iterator[tuple[str, bytes]]:
    """Speaker and OGG file of each piece, one of every speaker in turn."""
    by_speaker: dict[str, list[Recording]] = {}
    for recording in recordings(corpus):
        by_speaker.setdefault(recording.speaker, []).append(recording)
    while by_speaker:
        for speaker in list(by_speaker):
            piece = _piece(by_speaker[speaker])
            if piece is None:
                del by_speaker[speaker]
            else:
                yield speaker, piece


def _piece(waiting: list[Recording]) -> bytes | None:
    """Recordings of one speaker after one another, as an OGG file; takes them off the list."""
    parts: list[np.ndarray] = []
    rate, length = 0, 0.0
    while waiting and length < PIECE - 10:
        recording = waiting.pop(0)
        try:
            wave, original = recording.read()
        except AudioError as problem:
            log.warning("%s is left out: %s", recording.where, problem)
            continue
        if rate and original != rate:
            waiting.insert(0, recording)
            break
        rate = original
        mono = wave if wave.ndim == 1 else wave.mean(axis=1)
        if length + len(mono) / rate > PIECE + 5:
            continue
        parts += [mono.astype(np.float32), np.zeros(int(PAUSE * rate), np.float32)]
        length += len(mono) / rate + PAUSE
    if not parts:
        return None
    joined = torch.from_numpy(np.concatenate(parts))
    if rate not in RATES:
        target = min(other for other in (*RATES, 48_000) if other >= min(rate, 48_000))
        joined, rate = resample(joined, rate, target), target
    file = io.BytesIO()
    soundfile.write(file, joined.numpy(), rate, format="OGG", subtype="OPUS", compression_level=LEVEL)
    return file.getvalue()


def pack(corpora: list[str], out: Path, megabytes: float) -> None:
    """Write a tar of each corpus; all of them together are not larger than that."""
    out.mkdir(parents=True, exist_ok=True)
    room = megabytes * 1e6 / len(corpora)
    for number, corpus in enumerate(corpora):
        partial, size = out / f"{number}.partial", 0.0
        with tarfile.open(partial, "w") as tar:
            for index, (speaker, piece) in enumerate(pieces(corpus)):
                about = json.dumps({"speaker": speaker, "text": ""}).encode()
                size += len(piece) + len(about) + 2048
                if size > room:
                    break
                for suffix, data in (("json", about), ("ogg", piece)):
                    member = tarfile.TarInfo(f"{index:05d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        os.replace(partial, out / f"{number}.tar")
        log.info("%s: %.1f MB", out / f"{number}.tar", (out / f"{number}.tar").stat().st_size / 1e6)


def teacher(model: Path, out: Path) -> None:
    """The encoder of a whisper model for CTranslate2, in float16, as ``WhisperTeacher`` reads it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in read_ctranslate2(model).items() if name.startswith("encoder/")}
    np.savez(out, **{name: value for name, value in kept.items() if value.ndim})


def split(folder: Path, out: Path) -> None:
    """A folder as parts of one tar, each of at most 15 MB."""
    out.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.add(folder, arcname=".")
    data = file.getvalue()
    for number, start in enumerate(range(0, len(data), PART)):
        (out / f"part-{number:02d}").write_bytes(data[start : start + PART])


def join(parts: Path, out: Path) -> None:
    """The folder that was split."""
    data = b"".join(path.read_bytes() for path in sorted(parts.glob("part-*")))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(out, filter="data")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    packing = verbs.add_parser("pack")
    packing.add_argument("corpora", nargs="+")
    packing.add_argument("--megabytes", type=float, default=50)
    splitting, joining = verbs.add_parser("split"), verbs.add_parser("join")
    teaching = verbs.add_parser("teacher")
    for verb in (splitting, joining, teaching):
        verb.add_argument("folder", type=Path)
    for verb in (packing, splitting, joining, teaching):
        verb.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.verb == "pack":
        pack(args.corpora, args.out, args.megabytes)
    elif args.verb == "teacher":
        teacher(args.folder, args.out)
    elif args.verb == "split":
        split(args.folder, args.out)
    else:
        join(args.folder, args.out)


if __name__ == "__main__":
    main()
