"""Make speakers whom nobody recorded: a vocoder moves pitch, formants, tone and breath of a corpus' recordings.

    pip install pyworld
    python examples/train_codec/other_voices.py data/corpus/train/manifest.jsonl --hours 4
    python examples/train_codec/other_voices.py data/people/train/heard.jsonl --hours 2.5

They are for a language model that is to speak in any voice it is given. Each speaker is one draw of numbers,
and says ten sentences that one speaker of the corpus has read. The recordings lie beside those of the corpus, and
`voices.jsonl` lists them. It goes on where it was stopped. An hour takes a core some ten minutes. The vocoder is WORLD
(Morise, Yokomori and Ozawa, 2016); `pyworld` comes as source and needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from manifests import write_manifest
from other_speeds import SAMPLE_RATE, write

from neucodec_tts.audio import as_waveform

SENTENCES = 10  # of each speaker
SHORTEST, LONGEST = 1.2, 7.0  # seconds
LOWEST, HIGHEST = 60, 500  # Hz, of the voice's pitch
FEWEST = 20  # voiced frames of 5 ms; with fewer there is no telling the pitch
MOST_SILENT = 20  # speakers, one after the other, none of whose recordings has a pitch
FRAME = 5.0  # ms


@dataclass(frozen=True)
class Speaker:
    """How a speaker differs from the one whose recordings are taken."""

    formants: float
    """Factor of the frequencies of the spectral envelope."""
    pitch: float
    """Factor of the mean pitch."""
    melody: float
    """Factor of the distance from it, in octaves."""
    tempo: float
    tilt: float
    """dB for two octaves."""
    tone: tuple[float, ...]
    """dB at six places from 125 Hz to 12 kHz."""
    breath: float
    """Share of the periodic part above 1 kHz that becomes noise, or, negative, of the noise that becomes periodic."""

    @classmethod
    def draw(cls, source: random.Random) -> Speaker:
        """Draw one; whoever has higher formants tends to have a higher pitch."""
        formants = source.uniform(0.84, 1.18)
        return cls(
            formants=formants,
            pitch=formants**1.6 * 2 ** source.gauss(0, 0.25),
            melody=source.uniform(0.6, 1.35),
            tempo=source.uniform(0.85, 1.15),
            tilt=source.gauss(0, 3),
            tone=tuple(source.gauss(0, 2.5) for _ in range(6)),
            breath=source.uniform(-0.15, 0.25),
        )

    def says(self, wave: np.ndarray) -> np.ndarray | None:
        """A recording float32 (n,) at 24 kHz as this speaker says it; None if it has no pitch."""
        import pyworld

        samples = wave.astype(np.float64)
        pitch, times = pyworld.dio(samples, SAMPLE_RATE, LOWEST, HIGHEST, frame_period=FRAME)
        pitch = pyworld.stonemask(samples, pitch, times, SAMPLE_RATE)
        voiced = pitch > 0
        if voiced.sum() < FEWEST:
            return None
        envelope = pyworld.cheaptrick(samples, pitch, times, SAMPLE_RATE)
        noise = self._moved(pyworld.d4c(samples, pitch, times, SAMPLE_RATE))
        octaves = np.log2(np.maximum(np.linspace(0, SAMPLE_RATE / 2, envelope.shape[1]), 100) / 1000)
        decibels = self.tilt * octaves / 2 + np.interp(octaves, np.linspace(-3, 3.6, 6), self.tone)
        envelope = np.exp(self._moved(np.log(envelope + 1e-12)) + decibels * np.log(10) / 10)
        if self.breath > 0:
            noise = noise + self.breath * (octaves > 0) * (1 - noise)
        else:
            noise = noise * (1 + self.breath)
        mean = np.exp(np.log(pitch[voiced]).mean())
        pitch[voiced] = (pitch[voiced] / mean) ** self.melody * mean * self.pitch
        said = pyworld.synthesize(
            pitch.clip(0, HIGHEST), envelope, noise.clip(0, 1), SAMPLE_RATE, FRAME / self.tempo
        )
        loudness = samples.std() / max(said.std(), 1e-6)
        return (said * min(loudness, 0.9 / max(np.abs(said).max(), 1e-6))).astype(np.float32)

    def _moved(self, spectra: np.ndarray) -> np.ndarray:
        """Spectra (frames, bins) with their frequencies multiplied."""
        bins = np.arange(spectra.shape[1])
        places = (bins / self.formants).clip(0, bins[-1])
        low = np.floor(places).astype(int)
        share = places - low
        return np.ascontiguousarray(
            spectra[:, low] * (1 - share) + spectra[:, np.minimum(low + 1, bins[-1])] * share
        )


def speakers(rows: list[dict[str, Any]]) -> Iterator[tuple[str, Speaker, list[dict[str, Any]]]]:
    """Names, speakers and the recordings that they say, without end; always the same for the same corpus."""
    of: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if SHORTEST <= row["seconds"] <= LONGEST:
            of.setdefault(row["speaker"], []).append(row)
    sources = sorted(name for name, theirs in of.items() if len(theirs) >= SENTENCES)
    if not sources:
        raise SystemExit(
            f"no speaker of the corpus has {SENTENCES} recordings of {SHORTEST:g} to {LONGEST:g} s; add some"
        )
    number = 0
    while True:
        source = random.Random(f"other voices {number}")
        name = sources[number % len(sources)]
        yield f"{name}-voice-{number:04d}", Speaker.draw(source), source.sample(of[name], SENTENCES)
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path, help="of make_corpus.py or transcribe.py")
    parser.add_argument("--from", nargs="+", dest="sources", metavar="SPEAKER", help="these alone")
    parser.add_argument("--hours", type=float, default=4, help="of all speakers together")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.manifest.read_text("utf-8").splitlines()]
    folder, made, seconds, silent = args.manifest.parent, list[dict[str, Any]](), 0.0, 0
    taken = [row for row in rows if args.sources is None or row["speaker"] in args.sources]
    for name, speaker, theirs in speakers(taken):
        if seconds >= args.hours * 3600:
            break
        before = len(made)
        for row in theirs:
            path = folder / name / f"{name}-{row['id']}.flac"
            if not path.exists():
                said = speaker.says(as_waveform(folder / row["audio"], target_rate=SAMPLE_RATE).numpy())
                if said is None:
                    continue
                write(path, said)
            length = round(row["seconds"] / speaker.tempo, 3)
            seconds += length
            audio = f"{name}/{path.name}"
            made.append({**row, "id": path.stem, "audio": audio, "speaker": name, "seconds": length})
        silent = 0 if len(made) > before else silent + 1
        if silent == MOST_SILENT:
            raise SystemExit(
                f"no recording of {MOST_SILENT} speakers in a row has a pitch; look at {args.manifest}"
            )
        print(f"{name}: {seconds / 3600:.2f} h", flush=True)
    write_manifest(folder / "voices.jsonl", made)


if __name__ == "__main__":
    main()
