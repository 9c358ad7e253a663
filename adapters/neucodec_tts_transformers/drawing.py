"""Draw tokens from logits, each row by its own settings and its own random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from neucodec_tts.speech.drawing import Progress, rank, widest


def draw(logits: Tensor, rows: Sequence[Progress]) -> list[int]:
    """Draw one column for each row.

    Args:
        logits: float32 (rows, columns), on any device; minus infinity where a column is forbidden.
        rows: settings and random numbers of each row; one number is drawn.

    Raises:
        EngineError: the logits are not finite.
    """
    # Only the likeliest columns leave the device, and for all rows at once.
    best = torch.topk(logits, max(widest(row.sampling, logits.shape[1]) for row in rows), dim=-1)
    values, indices = best.values.cpu().numpy(), best.indices.cpu()
    ranks = [rank(values[n], row.sampling, row.dice.roll()) for n, row in enumerate(rows)]
    return [int(indices[n, place]) for n, place in enumerate(ranks)]


@torch.inference_mode()
def penalise(logits: Tensor, rows: Sequence[Progress]) -> None:
    """Make columns that have been seen less likely, in place, in the rows that have a repetition penalty.

    Args:
        logits: float32 (rows, columns), on any device.
        rows: settings of each row, and what it has seen.
    """
    for row, progress in enumerate(rows):
        if progress.seen is not None:
            before, penalty = logits[row], progress.sampling.repetition_penalty
            after = torch.where(before > 0, before / penalty, before * penalty)
            logits[row] = torch.where(torch.from_numpy(progress.seen).to(logits.device), after, before)
