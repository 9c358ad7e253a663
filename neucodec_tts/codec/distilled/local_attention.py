"""A causal transformer over windows: each position sees its own window up to itself, and all of the one before."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PositionBias(nn.Module):
    """A bias for the score of a key at each distance, from a small network of the distance."""

    float32_parts = ("",)

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(1, size)
        self.linear2 = nn.Linear(size, size)
        self.linear3 = nn.Linear(size, heads)

    def forward(self, distances: int) -> Tensor:
        """Biases (heads, distances) of the distances from 0."""
        weight = self.linear1.weight
        distance = torch.arange(distances, device=weight.device, dtype=torch.float).to(weight.dtype)
        hidden = F.silu(self.linear1(distance[:, None]))
        return self.linear3(F.silu(self.linear2(hidden))).T


class LocalLayer(nn.Module):
    """A pre-norm transformer layer with a gated feed-forward part, over one window at a time."""

    def __init__(self, size: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(size)
        self.qkv = nn.Linear(size, 3 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, size, bias=False)
        inner = int(size * 4 * 2 / 3)
        self.feed_forward_norm = nn.LayerNorm(size)
        self.fc1 = nn.Linear(size, 2 * inner, bias=False)
        self.fc2 = nn.Linear(inner, size, bias=False)

    def forward(self, x: Tensor, before: Tensor | None, bias: Tensor) -> tuple[Tensor, Tensor]:
        """One window.

        Args:
            x: (B, L, C).
            before: keys and values of the window before, (2, B, heads, window, head_dim); None for the first.
            bias: added to the scores, (heads, L, keys).

        Returns:
            (B, L, C), and the keys and values of this window.
        """
        batch, length, _ = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, own = qkv[0], qkv[1:]
        key, value = own if before is None else torch.cat([before, own], dim=3)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, -1))
        hidden, gate = self.fc1(self.feed_forward_norm(x)).chunk(2, dim=-1)
        return x + self.fc2(hidden * F.gelu(gate)), own


class LocalTransformer(nn.Module):
    """Layers of attention in windows, with a learned bias for each distance and head, shared by the layers.

    It is causal, and padding lies to the right, so that no item ever sees it. Behaviour as upstream's ``LocalTrans``
    (``codec_encoder_distill.py``), whose attention is that of the package ``local-attention`` with
    ``causal=True, exact_windowsize=False``.

    Args:
        size: channels.
        heads: of attention.
        head_dim: size of a head.
        depth: layers.
        window: positions a window.
    """

    def __init__(self, size: int, heads: int, head_dim: int, depth: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.position_bias = PositionBias(size // 2, heads)
        self.layers = nn.ModuleList(LocalLayer(size, heads, head_dim) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) to (B, L, C), in memory that grows with the window and not with its square by the length."""
        bias = self._bias(x.shape[1]).to(x.dtype)
        before: list[Tensor | None] = [None] * len(self.layers)
        windows = []
        for index, part in enumerate(x.split(self.window, dim=1)):
            of_window = bias[:, : part.shape[1], : self.window + part.shape[1]]
            if index == 0:
                of_window = of_window[..., -part.shape[1] :]
            for depth, layer in enumerate(self.layers):
                part, before[depth] = layer(part, before[depth], of_window)
            windows.append(part)
        return torch.cat(windows, dim=1)

    def _bias(self, length: int) -> Tensor:
        """Biases of a window's scores (heads, queries, window + queries), the window before first."""
        table = self.position_bias(2 * self.window)
        queries = torch.arange(min(length, self.window), device=table.device)
        keys = torch.arange(-self.window, len(queries), device=table.device)
        distance = queries[:, None] - keys
        return table[:, distance.clamp(min=0)].masked_fill(distance < 0, float("-inf"))
