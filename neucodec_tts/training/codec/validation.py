"""Scores of a codec in training, on recordings that it does not hear."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neucodec_tts.audio import write_audio
from neucodec_tts.audio.resampling import resample
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.metrics.scores import code_usage, score
from neucodec_tts.training.codec.packed_speech import Clip, PackedSpeech

log = logging.getLogger(__name__)

_SHORTEST, _LONGEST = 1.0, 10.0  # seconds


@dataclass(frozen=True)
class Validation:
    """Recordings to measure with.

    Args:
        speech: packed recordings that no step hears.
        clips: how many of them, as evenly from the speakers as they go.
        written: how many are also written as audio, with their spectrograms if matplotlib is there.
    """

    speech: PackedSpeech
    clips: int = 24
    written: int = 3

    def measure(self, codec: NeuCodec, folder: Path | None = None) -> dict[str, float]:
        """Encode, decode and score. Scores whose package is not installed are left out.

        Args:
            codec: in ``eval`` mode.
            folder: where audio and spectrograms go; None writes none.

        Returns:
            Means of ``stoi``, ``pesq`` and ``log_mel_distance``; ``codes``, how many different ones occur, and their
            ``entropy`` in bits.
        """
        chosen = choose(self.speech, self.clips)
        sums: dict[str, list[float]] = {}
        codes: list[Tensor] = []
        for number, clip in enumerate(chosen):
            original = self.speech.waveform(clip)
            heard = resample(original, self.speech.rate, codec.input_sample_rate)
            codes.append(codec.encode(heard, codec.input_sample_rate))
            said = codec.decode(codes[-1])
            scores = score(original, self.speech.rate, said, codec.output_sample_rate)
            for name in ("stoi", "pesq", "log_mel_distance"):
                value = getattr(scores, name)
                if value is not None:
                    sums.setdefault(name, []).append(value)
            if folder is not None and number < self.written:
                folder.mkdir(parents=True, exist_ok=True)
                write_audio(folder / f"{number}-before.wav", original, self.speech.rate)
                write_audio(folder / f"{number}-after.wav", said, codec.output_sample_rate)
                _draw(folder / f"{number}.png", original, said, codec.output_sample_rate)
        usage = code_usage(torch.cat(codes), codec.codebook_size)
        figures = {name: float(np.mean(values)) for name, values in sums.items()}
        return figures | {"codes": float(usage.used), "entropy": usage.entropy_bits}


def choose(speech: PackedSpeech, count: int) -> list[Clip]:
    """Some recordings of one to ten seconds, as evenly from the speakers as they go, always the same ones."""
    by_speaker: dict[str, list[Clip]] = {}
    for clip in speech.clips:
        if _SHORTEST <= clip.samples / speech.rate <= _LONGEST:
            by_speaker.setdefault(clip.speaker, []).append(clip)
    chosen: list[Clip] = []
    rounds = 0
    while len(chosen) < count and any(len(clips) > rounds for clips in by_speaker.values()):
        chosen += [clips[rounds] for clips in by_speaker.values() if len(clips) > rounds]
        rounds += 1
    return chosen[:count]


def _draw(path: Path, before: Tensor, after: Tensor, rate: int) -> None:
    """Spectrograms of both, one above the other; nothing without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.debug("no spectrograms without matplotlib")
        return
    figure = Figure(figsize=(8, 6))
    for axes, wave in zip(figure.subplots(2, 1, sharex=True), (before, after), strict=True):
        window = torch.hann_window(1024)
        spectrum = torch.stft(wave.float(), 1024, 256, window=window, return_complex=True).abs()
        axes.imshow(
            (spectrum + 1e-5).log10().numpy(),
            origin="lower",
            aspect="auto",
            extent=(0, len(wave) / rate, 0, rate / 2000),
            vmin=-3,
            vmax=2,
        )
        axes.set_ylabel("kHz")
    figure.savefig(path)
