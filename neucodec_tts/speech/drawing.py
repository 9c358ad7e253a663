"""Draw tokens by `Sampling`, and count them: the part of a decoding loop that all engines of one's own share."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neucodec_tts.errors import EngineError
from neucodec_tts.speech.engine import FinishReason, RepetitionDetector, Sampling


class Dice:
    """Random numbers of one generation: the same for the same seed, on any device and in any batch.

    They are those of a ``torch.Generator`` on the CPU, two draws of MT19937 for a number.
    """

    def __init__(self, seed: int | None) -> None:
        self._words = np.random.RandomState((secrets.randbits(63) if seed is None else seed) & 0xFFFFFFFF)

    def roll(self) -> float:
        """A number from [0, 1), of 53 bits."""
        high, low = self._words.randint(0, 2**32, 2, dtype=np.uint64).tolist()
        return float((high << 32 | low) & (2**53 - 1)) * 2.0**-53


@dataclass
class Progress:
    """The state of one running generation.

    Attributes:
        sampling: its settings.
        limit: most codes, in frames.
        dice: its random numbers.
        frames: codes so far.
        seen: True for the columns of logits that `Sampling.repetition_penalty` is for, bool (columns,); None where the
            penalty is 1.
    """

    sampling: Sampling
    limit: int
    dice: Dice
    frames: int = 0
    seen: NDArray[np.bool_] | None = None
    _loop: RepetitionDetector = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._loop = RepetitionDetector(self.sampling.repetition_frames)

    @classmethod
    def begin(
        cls, prompt: Sequence[int], sampling: Sampling, context_length: int, columns: NDArray[np.int64]
    ) -> Progress:
        """Begin to continue a prompt in a context of so many tokens; `columns` are the token ids of the logits."""
        room = context_length - len(prompt)
        limit = room if sampling.max_frames is None else min(room, sampling.max_frames)
        seen = None if sampling.repetition_penalty == 1 else np.isin(columns, np.asarray(prompt))
        return cls(sampling, limit, Dice(sampling.seed), seen=seen)

    @property
    def may_stop(self) -> bool:
        """True once there are as many codes as there must be."""
        return self.frames >= self.sampling.min_frames

    def see(self, column: int) -> None:
        """Note that a code has been drawn, by the column of its logit."""
        if self.seen is not None:
            self.seen[column] = True

    def push(self, code: int) -> FinishReason | None:
        """Count a code; returns the reason if the generation ends with it."""
        self.frames += 1
        if self._loop.push(code):
            return "repetition"
        return "length" if self.frames >= self.limit else None


def penalised(values: NDArray[np.float32], progress: Progress) -> NDArray[np.float32]:
    """Logits (n,) of the first n columns, those that have been seen less likely by the repetition penalty."""
    if progress.seen is None:
        return values
    penalty = progress.sampling.repetition_penalty
    changed = np.where(values > 0, values / penalty, values * penalty)
    return np.where(progress.seen[: len(values)], changed, values)


def widest(sampling: Sampling, columns: int) -> int:
    """Number of the likeliest columns that `rank` needs."""
    return 1 if sampling.temperature == 0 else min(sampling.top_k or columns, columns)


def rank(values: NDArray[np.floating[Any]], sampling: Sampling, roll: float) -> int:
    """Draw the index of one of the logits.

    Args:
        values: the likeliest, the largest first, (n,).
        sampling: temperature, top-k, top-p and min-p.
        roll: a number from [0, 1).

    Raises:
        EngineError: the logits are not finite.
    """
    if np.isnan(values).any() or not np.isfinite(values[0]):
        raise EngineError(
            "the language model computed NaN or infinite logits; load it in float32 or bfloat16, or check its weights"
        )
    if sampling.temperature == 0:
        return 0
    if sampling.top_k:
        values = values[: sampling.top_k]
    weights = np.exp((values.astype(np.float64) - float(values[0])) / sampling.temperature)
    cumulative = np.cumsum(weights / weights.sum())
    if sampling.top_p < 1:
        kept = int((cumulative < sampling.top_p).sum()) + 1  # the one that crosses top_p still belongs
        cumulative = cumulative[:kept]
    if sampling.min_p:
        likely = weights[: len(cumulative)] >= sampling.min_p  # the likeliest weighs 1
        cumulative = cumulative[: int(likely.sum())]
    drawn = int(np.searchsorted(cumulative, roll * float(cumulative[-1]), side="right"))
    return min(drawn, len(cumulative) - 1)
