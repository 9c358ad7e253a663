"""That codes and reconstructions keep what a speech model hears.

Sources: X-Codec 2 (arXiv:2502.04128), whose semantic decoder rebuilds the semantic encoder's hidden state from what is
quantized; Germain et al. 2018 (arXiv:1806.10522), who compare what a network makes of two sounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Teacher: TypeAlias = Callable[[Tensor], Tensor]
"""Waveforms (B, T) at 16 kHz to features (B, about L, D) at the rate of codes, differentiable."""


class SemanticReconstruction(nn.Module):
    """A small convolutional network from quantized vectors to a teacher's features, and their distance.

    Args:
        size: of the quantized vectors.
        features: of the teacher.
        hidden: channels between.
    """

    def __init__(self, size: int, features: int, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(size, hidden, kernel_size=3, padding=1),
            nn.SiLU(),
            nn.Conv1d(hidden, hidden, kernel_size=3, padding=1),
            nn.SiLU(),
            nn.Conv1d(hidden, features, kernel_size=3, padding=1),
        )

    def forward(self, quantized: Tensor, wanted: Tensor) -> Tensor:
        """Mean squared error, features brought to mean 0 and deviation 1 over the batch.

        Args:
            quantized: (B, L, size).
            wanted: (B, about L, features), from the teacher.
        """
        length = min(quantized.shape[1], wanted.shape[1])
        rebuilt = self.layers(quantized.transpose(1, 2)).transpose(1, 2)[:, :length].float()
        wanted = wanted[:, :length].float()
        mean, spread = _moments(wanted)
        return F.mse_loss(rebuilt, (wanted - mean) / spread)


def heard_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared distance of a teacher's features (B, about L, D) of reconstructions and of recordings.

    Both are brought to the recordings' mean 0 and deviation 1 over the batch; no gradients go to ``wanted``.
    """
    length = min(found.shape[1], wanted.shape[1])
    wanted = wanted[:, :length].detach().float()
    _, spread = _moments(wanted)
    return ((found[:, :length].float() - wanted) / spread).square().mean()


@torch.no_grad()
def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each feature over a batch (B, L, D), (1, 1, D) each."""
    return features.mean(dim=(0, 1), keepdim=True), features.std(dim=(0, 1), keepdim=True).clamp(min=1e-3)
