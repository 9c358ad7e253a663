"""That another encoder finds the codes that a given one finds."""

from __future__ import annotations

from torch import Tensor


def digit_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean squared distance of the digits before rounding (``FiniteScalarQuantizer.bounded``), in levels.

    A code is right if every digit lies less than half a level away.

    Args:
        ours: (B, L, D).
        theirs: (B, L, D), without gradient.
    """
    length = min(ours.shape[1], theirs.shape[1])
    return (ours[:, :length] - theirs[:, :length].detach()).square().mean()
