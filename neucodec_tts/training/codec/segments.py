"""Batches of random segments of packed speech: what each step hears depends on its number and the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from neucodec_tts.training.codec.packed_codes import PackedCodes
from neucodec_tts.training.codec.packed_speech import Clip, PackedSpeech

_MARGIN = 0.04  # seconds, cut off both ends of a segment after resampling with an FFT


@dataclass(frozen=True)
class Batch:
    """Segments of one step."""

    heard: Tensor
    """float32 (B, frames * hop) at the encoder's rate; (B, 0) if there are codes."""
    wanted: Tensor
    """float32 (B, frames * output hop) at the decoder's."""
    bandwidth: Tensor
    """Hz up to which each segment's target has sound, float32 (B,)."""
    codes: Tensor | None = None
    """LongTensor (B, frames), if the corpus was encoded before."""

    def to(self, device: torch.device) -> Batch:
        """On a device."""
        heard, wanted, bandwidth = (
            x.to(device, non_blocking=True) for x in (self.heard, self.wanted, self.bandwidth)
        )
        codes = None if self.codes is None else self.codes.to(device, non_blocking=True)
        return Batch(heard, wanted, bandwidth, codes)


@dataclass(frozen=True)
class SegmentSettings:
    """Which segments, and how they are changed."""

    batch_seconds: float = 16.0
    """Of speech in one step, over all processes."""
    shortest: float = 1.0
    """Seconds of a segment. All of a batch have the same length, drawn anew for each step: the decoder's group norms
    see the whole segment, and must learn to live with any."""
    longest: float = 2.4
    changed_share: float = 0.5
    """Of segments whose speed, tone and level are changed a little, so that unseen speakers sound familiar."""
    balance: float = 0.5
    """Speakers are drawn by their minutes to this power: 1 as often as they speak, 0 all alike."""


class SegmentBatches(Dataset[Batch]):
    """The batches of a training by the number of the step.

    Args:
        speech: one or more packed corpora, at the decoder's rate.
        codes: of each corpus, if the decoder alone learns: segments then begin at a code, and are not changed.
        shares: how much of a batch is of each corpus; alike if None.
        settings: which segments.
        rate: of the encoder, Hz.
        hop: of the encoder, samples.
        output_hop: of the decoder, samples.
        seed: of all that is random.
        rank: of this process.
        processes: how many share a batch.
    """

    def __init__(
        self,
        speech: Sequence[PackedSpeech],
        settings: SegmentSettings,
        *,
        rate: int,
        hop: int,
        output_hop: int,
        codes: Sequence[PackedCodes] | None = None,
        shares: Sequence[float] | None = None,
        seed: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.speech, self.codes, self.settings = list(speech), codes, settings
        self.rate, self.hop, self.output_hop = rate, hop, output_hop
        self.seed, self.rank, self.processes = seed, rank, processes
        weights = np.array(shares if shares is not None else [1.0] * len(self.speech), np.float64)
        self._shares = weights / weights.sum()
        self._speakers = [_by_speaker(packed) for packed in self.speech]
        self._chances = [_chances(speakers, settings.balance) for speakers in self._speakers]

    def __getitem__(self, step: int) -> Batch:
        """This process' part of the batch of one step."""
        settings = self.settings
        common = np.random.default_rng((self.seed, step))
        frame_rate = self.rate / self.hop
        least, most = round(settings.shortest * frame_rate), round(settings.longest * frame_rate)
        frames = int(common.integers(least, most + 1))
        count = max(self.processes, round(settings.batch_seconds * frame_rate / frames))
        rows = []
        for row in range(self.rank, count, self.processes):
            # Each row has numbers of its own, so that it is the same however many processes there are.
            random = np.random.default_rng((self.seed, step, row))
            corpus = int(random.choice(len(self.speech), p=self._shares))
            speakers = self._speakers[corpus]
            clips = speakers[int(random.choice(len(speakers), p=self._chances[corpus]))]
            if self.codes is None:
                rows.append(self._segment(self.speech[corpus], clips, frames, random))
            else:
                rows.append(_coded_segment(self.speech[corpus], self.codes[corpus], clips, frames, random))
        sounds, wanted, bandwidth = zip(*rows, strict=True)
        heard, codes = torch.from_numpy(np.stack(sounds)), None
        if self.codes is not None:
            heard, codes = torch.zeros(len(rows), 0), heard
        return Batch(heard, torch.from_numpy(np.stack(wanted)), torch.tensor(bandwidth), codes)

    def _segment(
        self, speech: PackedSpeech, clips: list[Clip], frames: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """A random piece: the encoder's input, the decoder's target, and its bandwidth in Hz."""
        changed = random.random() < self.settings.changed_share
        # Pitch, and the vocal tract with it.
        speed = float(np.exp(random.uniform(np.log(0.84), np.log(1.19)))) if changed else 1.0
        margin = round(_MARGIN * self.rate / self.hop) * 2
        whole = frames + 2 * margin  # in codes
        taken = int(whole * self.output_hop * speed)
        piece, bandwidth = _piece(speech, clips, taken, random)
        size, wide = whole * self.hop, whole * self.output_hop
        spectrum = np.fft.rfft(piece)
        curve = _microphone(wide, speech.rate, random) if changed else None
        wanted = _resampled(spectrum, taken, wide, curve)
        heard = _resampled(spectrum, taken, size, None if curve is None else curve[: size // 2 + 1])
        cut, wide_cut = margin * self.hop, margin * self.output_hop
        heard, wanted = heard[cut:-cut], wanted[wide_cut:-wide_cut]
        gain = 1.0
        if changed:
            level = 10 ** (random.uniform(-32, -16) / 20)  # RMS
            gain = level / max(float(np.sqrt(np.square(wanted).mean())), 1e-4)
            gain = min(gain, 0.98 / max(float(np.abs(wanted).max()), 1e-6))
        nyquist = speech.rate / 2
        bandwidth = min(nyquist, bandwidth * speed)
        return (heard * gain).astype(np.float32), (wanted * gain).astype(np.float32), bandwidth


def _coded_segment(
    speech: PackedSpeech, codes: PackedCodes, clips: list[Clip], frames: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """The codes (frames,) of a random piece, its samples (frames * hop,) and its bandwidth; short clips are joined."""
    hop = codes.hop
    found: list[np.ndarray] = []
    sounds: list[np.ndarray] = []
    missing, bandwidth = frames, np.inf
    while missing > 0:
        clip = clips[int(random.integers(len(clips)))]
        whole = clip.samples // hop
        first = int(random.integers(0, max(whole - missing, whole // 3) + 1)) if not found else 0
        found.append(codes.of(clip, first, missing))
        sounds.append(speech.samples(clip, first * hop, len(found[-1]) * hop))
        bandwidth = min(bandwidth, clip.bandwidth)
        missing -= len(found[-1])
    return np.concatenate(found), np.concatenate(sounds), min(speech.rate / 2, bandwidth)


def _by_speaker(speech: PackedSpeech) -> list[list[Clip]]:
    speakers: dict[str, list[Clip]] = {}
    for clip in speech.clips:
        speakers.setdefault(clip.speaker, []).append(clip)
    return list(speakers.values())


def _chances(speakers: list[list[Clip]], power: float) -> np.ndarray:
    minutes = np.array([sum(clip.samples for clip in clips) for clips in speakers], np.float64)
    chances: np.ndarray = minutes**power / (minutes**power).sum()
    return chances


def _piece(
    speech: PackedSpeech, clips: list[Clip], samples: int, random: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Samples (n,) from a random place of a speaker's recordings, with pauses between them, and their bandwidth."""
    parts: list[np.ndarray] = []
    bandwidth = np.inf
    missing = samples
    while missing > 0:
        clip = clips[int(random.integers(len(clips)))]
        room = clip.samples - missing
        first = int(random.integers(0, max(room, clip.samples // 3) + 1)) if not parts else 0
        parts.append(speech.samples(clip, first, missing))
        bandwidth = min(bandwidth, clip.bandwidth)
        missing -= len(parts[-1])
        if missing > 0:
            pause = min(missing, int(random.uniform(0.05, 0.4) * speech.rate))
            parts.append(np.zeros(pause, np.float32))
            missing -= pause
    return np.concatenate(parts), bandwidth


def _resampled(spectrum: np.ndarray, samples: int, size: int, curve: np.ndarray | None) -> np.ndarray:
    """``samples`` with this spectrum as ``size`` samples (size,), their frequencies weighed by a curve."""
    fitted = np.zeros(size // 2 + 1, np.complex128)
    kept = min(len(fitted), len(spectrum))
    fitted[:kept] = spectrum[:kept]
    if curve is not None:
        fitted *= curve
    resampled: np.ndarray = np.fft.irfft(fitted, size) * (size / samples)
    return resampled


def _microphone(size: int, rate: int, random: np.random.Generator) -> np.ndarray:
    """Gains of the bins of a real FFT: a tilt of up to 3 dB an octave and two broad bumps of up to 5 dB."""
    octave = np.log2(np.arange(1, size // 2 + 2) * rate / size / 1000 + 0.05)
    curve = random.uniform(-3, 3) * octave
    for _ in range(2):
        curve += random.uniform(-5, 5) * np.exp(-(((octave - random.uniform(-2.5, 2.5)) / 0.8) ** 2))
    gains: np.ndarray = 10 ** (curve / 20)
    return gains
