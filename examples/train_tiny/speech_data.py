"""Random training segments of the packed speech, changed a little each time, for unseen speakers to sound familiar."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HOP = 320  # samples at 16 kHz a code stands for
MARGIN = 640  # samples at 16 kHz, cut off both ends after resampling with an FFT


@dataclass(frozen=True)
class Clip:
    split: str
    speaker: str
    name: str
    start: int
    samples: int


class Speech:
    """The packed speech of `fetch_speech.py`, opened without reading it."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "manifest.json").exists():
            raise SystemExit(f"{folder} holds no speech: run fetch_speech.py --out {folder} first")
        self.samples = np.load(folder / "speech.npy", mmap_mode="r")  # int16, 16 kHz
        manifest = json.loads((folder / "manifest.json").read_text())
        self.sources = manifest["sources"]
        self.clips = [Clip(**row) for row in manifest["clips"]]

    def clip(self, clip: Clip) -> Tensor:
        """One whole recording, float32 (n,) at 16 kHz."""
        return torch.from_numpy(
            self.samples[clip.start : clip.start + clip.samples].astype(np.float32) / 32768
        )

    def choose(self, split: str, count: int, shortest: float, longest: float) -> list[Clip]:
        """Clips of one split between `shortest` and `longest` seconds, as evenly from its speakers as they go."""
        fitting = [c for c in self.clips if c.split == split and shortest <= c.samples / 16_000 <= longest]
        by_speaker: dict[str, list[Clip]] = {}
        for clip in fitting:
            by_speaker.setdefault(clip.speaker, []).append(clip)
        rounds = [[clips[int(i * len(clips) / count)] for i in range(count)] for clips in by_speaker.values()]
        return list(dict.fromkeys(clip for same in zip(*rounds, strict=True) for clip in same))[:count]


class Segments:
    """Draws batches of segments of the training split.

    A speaker's clips lie side by side, so that a segment may hold the end of one prompt and the start of the next, as
    natural speech has pauses. Speakers are drawn by the square root of their minutes, synthetic ones half as often.

    Args:
        speech: what to draw from.
        changed: change speed, tone and level a little each time; otherwise segments are as they were recorded.
    """

    def __init__(self, speech: Speech, changed: bool = True) -> None:
        self.speech = speech
        self.changed = changed
        spans: dict[str, tuple[int, int]] = {}
        for clip in speech.clips:
            if clip.split == "train":
                start, _ = spans.get(clip.speaker, (clip.start, 0))
                spans[clip.speaker] = (start, clip.start + clip.samples)
        self.spans = list(spans.values())
        chance = np.array([(stop - start) ** 0.5 for start, stop in self.spans])
        chance *= [0.5 if speaker.startswith("flite") else 1.0 for speaker in spans]
        self.chance = chance / chance.sum()

    def batch(self, count: int, frames: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Segments at 16 kHz (count, frames * 320) and their targets at 24 kHz (count, frames * 480), float32."""
        pairs = [self._segment(frames * HOP, random) for _ in range(count)]
        heard, wanted = (torch.from_numpy(np.stack(column)) for column in zip(*pairs, strict=True))
        return heard, wanted

    def _segment(self, samples: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        size = samples + 2 * MARGIN
        # Pitch and vocal tract with it.
        speed = np.exp(random.uniform(np.log(0.82), np.log(1.2))) if self.changed else 1.0
        taken = int(size * speed)
        start, stop = self.spans[random.choice(len(self.spans), p=self.chance)]
        start = int(random.integers(start, max(start + 1, stop - taken)))
        piece = self.speech.samples[start : start + taken].astype(np.float32)
        spectrum = np.fft.rfft(piece, taken)
        curve = self._microphone(size, random) if self.changed else np.zeros(size // 2 + 1)
        wide = np.zeros(size // 2 + 1, np.complex64)
        kept = min(len(wide), len(spectrum))
        wide[:kept] = spectrum[:kept] * 10 ** (curve[:kept] / 20)
        heard = np.fft.irfft(wide, size)[MARGIN:-MARGIN]
        wanted = 1.5 * np.fft.irfft(wide, size * 3 // 2)[MARGIN * 3 // 2 : -MARGIN * 3 // 2]
        gain = 1 / 32768
        if self.changed:
            level = 10 ** (random.uniform(-32, -18) / 20)  # RMS
            gain = level / max(float(np.sqrt((heard**2).mean())), 1e-6)
            gain = min(gain, 0.98 / max(float(np.abs(heard).max()), 1e-6))
        return (heard * gain).astype(np.float32), (wanted * gain).astype(np.float32)

    @staticmethod
    def _microphone(size: int, random: np.random.Generator) -> np.ndarray:
        """Gains in dB of the bins of a real FFT: a tilt of up to 3 dB an octave and two broad bumps of up to 5 dB."""
        octave = np.log2(np.arange(1, size // 2 + 2) * 16_000 / size / 1000 + 0.05)
        curve = random.uniform(-3, 3) * octave
        for _ in range(2):
            curve += random.uniform(-5, 5) * np.exp(-(((octave - random.uniform(-2.5, 2.5)) / 0.8) ** 2))
        return curve
