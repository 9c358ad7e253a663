"""That codes keep what a speech model hears: its features are rebuilt from the quantized vectors.

Source: X-Codec 2 (arXiv:2502.04128), whose semantic decoder rebuilds the semantic encoder's hidden state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Teacher: TypeAlias = Callable[[Tensor], Tensor]
"""Waveforms (B, T) at 16 kHz to features (B, about L, D) at the rate of codes."""


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
        with torch.no_grad():
            wanted = wanted[:, :length].float()
            spread = wanted.std(dim=(0, 1), keepdim=True).clamp(min=1e-3)
            wanted = (wanted - wanted.mean(dim=(0, 1), keepdim=True)) / spread
        return F.mse_loss(rebuilt, wanted)
