"""Draw tokens from logits, each row by its own settings and its own random numbers."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import torch
from torch import Tensor

from neucodec_tts.errors import EngineError
from neucodec_tts.speech.engine import Sampling


class Dice:
    """Random numbers of one generation: the same for the same seed, on any device and in any batch."""

    def __init__(self, seed: int | None) -> None:
        self._generator = torch.Generator()
        self._generator.manual_seed((secrets.randbits(63) if seed is None else seed) & (2**63 - 1))

    def roll(self) -> float:
        """A number from [0, 1)."""
        return float(torch.rand((), generator=self._generator, dtype=torch.float64))


def draw(logits: Tensor, samplings: Sequence[Sampling], dice: Sequence[Dice]) -> list[int]:
    """Draw one column for each row.

    Args:
        logits: float32 (rows, columns), on any device; minus infinity where a column is forbidden.
        samplings: settings of each row: temperature, top-k, top-p.
        dice: random numbers of each row; one is rolled.

    Raises:
        EngineError: the logits are not finite.
    """
    # Only the likeliest columns leave the device, and for all rows at once.
    columns = logits.shape[1]
    widest = max(1 if item.temperature == 0 else min(item.top_k or columns, columns) for item in samplings)
    best = torch.topk(logits, widest, dim=-1)
    values, indices = best.values.cpu().double(), best.indices.cpu()
    if not bool(torch.isfinite(values[:, 0]).all()):
        raise EngineError(
            "the language model computed NaN or infinite logits; load it in float32 or bfloat16, or check its weights"
        )
    chosen = []
    for row, (sampling, die) in enumerate(zip(samplings, dice, strict=True)):
        rank = _rank(values[row], sampling, die.roll())
        chosen.append(int(indices[row, rank]))
    return chosen


def _rank(values: Tensor, sampling: Sampling, roll: float) -> int:
    """Draw the index of one of the logits (n,), the largest first."""
    if sampling.temperature == 0:
        return 0
    if sampling.top_k:
        values = values[: sampling.top_k]
    cumulative = torch.softmax(values / sampling.temperature, dim=-1).cumsum(-1)
    if sampling.top_p < 1:
        kept = int((cumulative < sampling.top_p).sum()) + 1  # the one that crosses top_p still belongs
        cumulative = cumulative[:kept]
    rank = int(torch.searchsorted(cumulative, roll * float(cumulative[-1]), right=True))
    return min(rank, cumulative.numel() - 1)
