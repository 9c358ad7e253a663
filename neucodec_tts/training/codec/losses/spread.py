"""How far the quantizer's inputs are from independent normal numbers, with which all codes are used alike."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpreadLoss(nn.Module):
    """For a quantizer that learns from nothing.

    Left alone, its inputs drift to where the bounds saturate, and of four levels the outer two are used. Drawn
    towards the mean and deviation at which each level holds a quarter of them, all codes are used. A batch is the
    sample.
    """

    MEAN, DEVIATION = -0.24, 0.9  # through both bounds: quarters

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., D), what ``quantizer.project_in`` yields, to a scalar."""
        values = (inputs.float().flatten(0, -2) - self.MEAN) / self.DEVIATION  # (N, D)
        count = len(values)
        ranks = (torch.arange(count, device=values.device) + 0.5) / count
        quantiles = torch.erfinv(2 * ranks - 1) * 2**0.5
        marginal = (values.sort(dim=0).values - quantiles[:, None]).square().mean()
        correlation = torch.corrcoef(values.T)
        return marginal + (correlation - torch.diag(correlation.diag())).square().sum() / len(correlation)
