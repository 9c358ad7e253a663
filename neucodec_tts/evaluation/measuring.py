"""The measures of one recording before and after a codec."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neucodec_tts.evaluation.listeners import (
    Recogniser,
    load_dnsmos,
    load_recogniser,
    load_voices,
    mistakes,
)
from neucodec_tts.metrics import scores
from neucodec_tts.metrics.scores import ScoreError, align

if TYPE_CHECKING:
    from torch import Tensor

MEASURES = ("pesq", "stoi", "si_sdr", "mel_mse", "dnsmos", "speaker", "wer")
"""Names for `Measures`. ``dnsmos`` gives two numbers, ``wer`` counts of words and characters."""
_PACKAGES = {"pesq": ("pesq", "pesq"), "stoi": ("pystoi", "evaluate"), "wer": ("jiwer", "evaluate")}
_PAIRED: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "pesq": scores.pesq,
    "stoi": scores.stoi,
    "si_sdr": scores.si_sdr,
    "mel_mse": scores.mel_mse,
}


class Measures:
    """Measures recordings; what hears is loaded once, before any recording is read.

    Args:
        names: some of `MEASURES`.
        recogniser: its name, as `load_recogniser` takes it, for ``wer``.
        device: of the recogniser.

    Raises:
        ScoreError: a name is unknown, a package is missing, or error rates are asked for without a recogniser.
        CheckpointError: there is no such recogniser.
    """

    def __init__(
        self, names: Sequence[str] = MEASURES, recogniser: str | None = None, device: str | None = None
    ) -> None:
        for name in names:
            if name not in MEASURES:
                raise ScoreError(f"there is no measure {name!r}; known are {', '.join(MEASURES)}")
        if "wer" in names and recogniser is None:
            raise ScoreError(
                "error rates need a recogniser: --recogniser pocketsphinx, a folder of faster-whisper, or the hub id "
                "of a model; or leave wer out of --measures"
            )
        for name, (package, extra) in _PACKAGES.items():
            if name in names and find_spec(package) is None:
                raise ScoreError(f"{name} needs the package {package}: pip install 'neucodec-tts[{extra}]'")
        self.names = tuple(names)
        self.workers = torch.get_num_threads()
        """How many recordings may be measured at once, each on a thread."""
        self._hear: Recogniser | None = (
            load_recogniser(recogniser, device) if recogniser and "wer" in names else None
        )
        self._dnsmos = load_dnsmos() if "dnsmos" in names else None
        self._voice = load_voices() if "speaker" in names else None

    def of(
        self,
        original: Tensor,
        original_rate: int,
        decoded: Tensor,
        decoded_rate: int,
        transcript: str | None,
        heard_before: str | None = None,
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Measure a recording.

        Args:
            original: float32 (samples,).
            original_rate: in Hz.
            decoded: float32 (samples,).
            decoded_rate: in Hz.
            transcript: what is said, if it is known; else it is what was heard before the codec.
            heard_before: what the recogniser hears in the original, if that is known already.

        Returns:
            The measures by name, and the reason for each that cannot be had: recordings that are too short for PESQ or
            STOI, or silent.
        """
        before, after = align(original, original_rate, decoded, decoded_rate)
        said = (heard_before or self.hear(before)) if transcript is None else transcript
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            name: partial(self._of_pair, name, before, after) for name in _PAIRED if name in self.names
        }
        parts["speaker"] = partial(self._of_voices, before, after)
        return self._taken(parts | self._of_one(after, said))

    def alone(self, recording: Tensor, transcript: str | None) -> tuple[dict[str, Any], dict[str, str]]:
        """Measure a recording that no codec has touched: a judge's opinion, and what is heard in it.

        Args:
            recording: float32 (samples,) at 16 kHz.
            transcript: what is said, if it is known.
        """
        return self._taken(self._of_one(recording.numpy(), transcript))

    def hear(self, sound: np.ndarray) -> str | None:
        """What the recogniser hears in float32 (n,) at 16 kHz; None without one."""
        return None if self._hear is None else self._hear(np.ascontiguousarray(sound, np.float32))

    def _taken(self, parts: dict[str, Callable[[], dict[str, Any]]]) -> tuple[dict[str, Any], dict[str, str]]:
        found: dict[str, Any] = {}
        missing: dict[str, str] = {}
        for name, part in parts.items():
            try:
                values = part()
            except ScoreError as problem:
                missing[name] = str(problem)
                continue
            for key, value in values.items():
                if isinstance(value, float) and not math.isfinite(value):
                    missing[key] = "it has no finite value here"
                else:
                    found[key] = value
        return found, missing

    def _of_pair(self, name: str, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
        return {name: _PAIRED[name](before, after)}

    def _of_one(self, sound: np.ndarray, said: str | None) -> dict[str, Callable[[], dict[str, Any]]]:
        return {"dnsmos": partial(self._of_dnsmos, sound), "wer": partial(self._of_words, sound, said)}

    def _of_dnsmos(self, after: np.ndarray) -> dict[str, Any]:
        if self._dnsmos is None:
            return {}
        overall, p808 = self._dnsmos(after)
        return {"dnsmos": overall, "dnsmos_p808": p808}

    def _of_voices(self, before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
        if self._voice is None:
            return {}
        return {"speaker": float(self._voice(before) @ self._voice(after))}

    def _of_words(self, sound: np.ndarray, said: str | None) -> dict[str, Any]:
        if self._hear is None:
            return {}
        heard = self.hear(sound) or ""
        return {"heard": heard} | ({} if said is None else asdict(mistakes(said, heard)))
