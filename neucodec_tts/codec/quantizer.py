"""Finite scalar quantization (Mentzer et al., arXiv:2309.15505): a vector to one code and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import NeuCodecConfig


class FiniteScalarQuantizer(nn.Module):
    """Rounds a few dimensions to a few levels each; their digits make up the code, the first the least significant.

    Parameter names as in ``transformers``' ``NeuCodecQuantizer``; behaviour as ``ResidualFSQ`` with one quantizer
    of ``vector-quantize-pytorch``, which upstream trained with.
    """

    float32_parts = ("",)  # of half precision
    levels: Tensor
    basis: Tensor

    def __init__(self, config: NeuCodecConfig) -> None:
        super().__init__()
        levels = list(config.quantization_levels)
        levels_tensor = torch.tensor(levels, device="cpu")
        basis = torch.cumprod(torch.tensor([1, *levels[:-1]], device="cpu"), dim=0)
        self.register_buffer("levels", levels_tensor, persistent=False)
        self.register_buffer("basis", basis, persistent=False)
        self.codebook_size = int(torch.prod(levels_tensor))
        self.project_in = nn.Linear(config.quantization_dim, len(levels))
        self.project_out = nn.Linear(len(levels), config.quantization_dim)

    def bounded(self, hidden: Tensor) -> Tensor:
        """The digits before rounding: (..., quantization_dim) to float (..., D), digit d in [-L/2, L/2 - 1].

        Quirk of the checkpoints: ``ResidualFSQ`` bounds its input, and the ``FSQ`` inside bounds it once more.
        """
        return self._bound(self._bound(self.project_in(hidden.to(self.project_in.weight.dtype)).float()))

    def bounds(self, eps: float = 1e-3) -> tuple[Tensor, Tensor, Tensor]:
        """Half the range of each digit, its offset, and the shift that keeps 0 where it is, (D,) each."""
        half_range = (self.levels - 1) * (1 + eps) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        return half_range, offset, (offset / half_range).atanh()

    def _bound(self, x: Tensor) -> Tensor:
        half_range, offset, shift = self.bounds()
        return (x + shift).tanh() * half_range - offset

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Quantize.

        Args:
            hidden: (..., quantization_dim).

        Returns:
            The vectors that the codes stand for, (..., quantization_dim), with gradients passed straight through
            the rounding, and the codes, LongTensor (...).
        """
        bounded = self.bounded(hidden)
        rounded = bounded.round()
        digits = bounded + (rounded - bounded).detach()
        return self.project_out((digits / (self.levels // 2)).to(self.project_out.weight.dtype)), self._code(
            rounded
        )

    def codes(self, hidden: Tensor) -> Tensor:
        """The codes alone: (..., quantization_dim) to LongTensor (...)."""
        return self._code(self.bounded(hidden).round())

    def _code(self, rounded: Tensor) -> Tensor:
        return ((rounded.long() + self.levels // 2) * self.basis).sum(dim=-1)

    def digits(self, codes: Tensor) -> Tensor:
        """Codes (...) to their digits, LongTensor (..., D), each from 0 to its level count less one."""
        return (codes[..., None] // self.basis) % self.levels

    def lookup(self, codes: Tensor) -> Tensor:
        """Codes (...) to the vectors they stand for, (..., quantization_dim)."""
        half = self.levels // 2
        values = (self.digits(codes) - half) / half
        return self.project_out(values.to(self.project_out.weight.dtype))
