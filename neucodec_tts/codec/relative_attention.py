"""Self-attention of Wav2Vec2-BERT, with relative keys at the cost of plain attention.

A score is the scaled product of a query and a key, and a bias that depends on the query and on the key's distance.
Distances are clamped to [-64, 8], so there are 73 biases a query. For the keys further to the left than 64 frames the
bias is one constant, and another one for those further to the right than 8. Long items use that: a block of queries
attends to the keys near it with a bias for each score, and to those on either side with fused plain attention. The
three results are merged by the logarithms of their normalizers.
"""

from __future__ import annotations

import logging
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Wav2Vec2BertConfig

logger = logging.getLogger(__name__)

_SCORE_BYTES = 128 * 2**20  # attention scores held at a time
_BLOCK = {"cpu": 512, "gpu": 1024}  # queries of a long item that attend at a time
# Frames from which on three parts cost less than a bias for each score. On a GPU an item at a time costs launches.
_LONG = {"cpu": 768, "gpu": 1024}


class RelativeAttention(nn.Module):
    """Attention with relative keys; its parameters are those of ``transformers``' ``Wav2Vec2BertSelfAttention``."""

    def __init__(self, config: Wav2Vec2BertConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.head_size = size // self.num_heads
        self.left = config.left_max_position_embeddings
        self.right = config.right_max_position_embeddings
        self.linear_q = nn.Linear(size, size)
        self.linear_k = nn.Linear(size, size)
        self.linear_v = nn.Linear(size, size)
        self.linear_out = nn.Linear(size, size)
        self.distance_embedding: nn.Embedding | None = None
        if config.position_embeddings_type == "relative_key":
            self.distance_embedding = nn.Embedding(self.left + self.right + 1, self.head_size)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: object
    ) -> tuple[Tensor, None]:
        """(B, L, C) to (B, L, C); ``attention_mask`` is BoolTensor (B, L), true for the keys to attend to.

        The keys of an item are its first ones, as in a padded batch.
        """
        query, key, value = (
            self._heads(linear(hidden_states)) for linear in (self.linear_q, self.linear_k, self.linear_v)
        )
        attended = self._attend(query, 0, key, value, attention_mask)
        return self.linear_out(attended.transpose(1, 2).flatten(2)), None

    def add_in_place(self, hidden: Tensor, norm: nn.Module, mask: Tensor | None, size: int) -> None:
        """Add to ``hidden`` (B, L, C) its attention to itself, ``size`` queries at a time.

        Args:
            hidden: the residual stream; attention sees it through ``norm``.
            norm: (B, ..., C) to (B, ..., C), each vector by itself.
            mask: as for ``forward``.
            size: queries at a time.
        """
        key, value = torch.empty_like(hidden), torch.empty_like(hidden)
        blocks = hidden.split(size, dim=1)
        for start, block in zip(range(0, hidden.shape[1], size), blocks, strict=True):
            normed = norm(block)
            key[:, start : start + size] = self.linear_k(normed)
            value[:, start : start + size] = self.linear_v(normed)
        key, value = self._heads(key), self._heads(value)
        for start, block in zip(range(0, hidden.shape[1], size), blocks, strict=True):
            query = self._heads(self.linear_q(norm(block)))
            block += self.linear_out(self._attend(query, start, key, value, mask).transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, L, C) to (B, H, L, D)."""
        return x.unflatten(2, (self.num_heads, self.head_size)).transpose(1, 2)

    def _attend(self, query: Tensor, start: int, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of the queries (B, H, Q, D) from ``start`` on to keys and values (B, H, L, D), (B, H, Q, D)."""
        batch, length = key.shape[0], key.shape[2]
        on_cpu = query.device.type == "cpu"
        long = _LONG[_kind(query)]
        merge = self.distance_embedding is not None and length > long and _can_merge(query)
        # A processor gains nothing from items side by side, and would compute their padding.
        alone = merge or (on_cpu and mask is not None and not torch.is_grad_enabled())
        if not alone:
            return self._attend_short(query, start, key, value, mask)
        attended = torch.zeros_like(query)
        counts = [length] * batch if mask is None else mask.sum(dim=1).tolist()
        for i, n in enumerate(counts):
            if start < n:
                attend = self._attend_long if merge and n > long else self._attend_short
                item = query[i, None, :, : n - start], start, key[i, None, :, :n], value[i, None, :, :n]
                attended[i, :, : n - start] = attend(*item)
        return attended

    def _attend_short(
        self, query: Tensor, begin: int, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Attention with a bias for each score, for as many queries at a time as memory allows."""
        batch, heads, length, _size = key.shape
        block = max(1, _SCORE_BYTES // (batch * heads * length * query.element_size()))
        parts = []
        for part in query.split(block, dim=2):
            bias = None
            if self.distance_embedding is not None:
                bias = self._bias(self._by_distance(part), begin, 0, length)
            if mask is not None:
                keys = mask[:, None, None, :]
                bias = keys if bias is None else bias.masked_fill_(~keys, float("-inf"))
            parts.append(F.scaled_dot_product_attention(part, key, value, attn_mask=bias))
            begin += part.shape[2]
        return torch.cat(parts, dim=2)

    def _attend_long(self, query: Tensor, start: int, key: Tensor, value: Tensor) -> Tensor:
        """Attention of one item's queries (1, H, Q, D), a block of them at a time, the keys in three parts."""
        length = key.shape[2]
        blocks = []
        for part in query.split(_BLOCK[_kind(query)], dim=2):
            by_distance = self._by_distance(part)
            first = max(0, start - self.left)
            last = min(length, start + part.shape[2] + self.right)
            bias = self._bias(by_distance, start, first, last)
            near = slice(first, last)
            results = [_attention(part, key[:, :, near], value[:, :, near], bias)]
            for far, constant in ((slice(0, first), 0), (slice(last, length), -1)):
                if far.start < far.stop:
                    output, normalizer = _attention(part, key[:, :, far], value[:, :, far])
                    results.append((output, normalizer + by_distance[..., constant]))
            shares = torch.stack([normalizer for _, normalizer in results]).softmax(dim=0)
            merged = torch.stack([output for output, _ in results]) * shares.to(query.dtype).unsqueeze(-1)
            blocks.append(merged.sum(dim=0))
            start += part.shape[2]
        return torch.cat(blocks, dim=2)

    def _by_distance(self, query: Tensor) -> Tensor:
        """The bias (B, H, Q, 73) of each query at each distance."""
        assert self.distance_embedding is not None
        return (query @ self.distance_embedding.weight.to(query.dtype).T) * self.head_size**-0.5

    def _bias(self, by_distance: Tensor, start: int, first: int, last: int) -> Tensor:
        """The biases (B, H, Q, last - first) of the queries from ``start`` on and the keys of [first, last)."""
        batch, heads, queries, _distances = by_distance.shape
        device = by_distance.device
        distance = torch.arange(first, last, device=device) - torch.arange(
            start, start + queries, device=device
        ).unsqueeze(1)
        index = distance.clamp(-self.left, self.right) + self.left
        return by_distance.gather(-1, index.expand(batch, heads, -1, -1))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention of (B, H, Q, D) to (B, H, K, D), and the logarithm (B, H, Q) float32 of its normalizer."""
    if query.device.type == "cpu":
        output, normalizer = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, attn_mask=bias
        )
        return output, normalizer
    if bias is None:
        output, normalizer, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, None, True
        )
        return output, normalizer[..., : query.shape[2]]  # it comes padded to a multiple of 32
    scores = ((query @ key.transpose(2, 3)) * query.shape[-1] ** -0.5 + bias).float()
    return scores.softmax(dim=-1).to(query.dtype) @ value, scores.logsumexp(dim=-1)


def _kind(query: Tensor) -> str:
    return "cpu" if query.device.type == "cpu" else "gpu"


def _can_merge(query: Tensor) -> bool:
    """True if attention to parts of the keys can be merged: not for gradients, nor on every device."""
    if torch.is_grad_enabled() and query.requires_grad:
        return False  # the normalizers have no gradient
    return query.device.type in ("cpu", "cuda") and _fused_attention_works(
        query.device, query.dtype, query.shape[-1]
    )


@lru_cache(maxsize=8)
def _fused_attention_works(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """True if PyTorch's fused attention and its normalizer are there and right, tried once on a small input."""
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(0)
        query, key, value = torch.randn(3, 1, 2, 40, head_size, generator=generator).to(device, dtype)
        bias = torch.randn(1, 2, 40, 40, generator=generator).to(device, dtype)
        tolerance = 1e-4 if dtype in (torch.float32, torch.float64) else 5e-2
        try:
            for given in (None, bias):
                output, normalizer = _attention(query, key, value, given)
                scores = query.double() @ key.double().transpose(2, 3) * head_size**-0.5
                scores = scores if given is None else scores + given.double()
                torch.testing.assert_close(
                    output.double(), scores.softmax(dim=-1) @ value.double(), rtol=tolerance, atol=tolerance
                )
                torch.testing.assert_close(
                    normalizer.double(), scores.logsumexp(dim=-1), rtol=tolerance, atol=tolerance
                )
        except (RuntimeError, AttributeError, TypeError, AssertionError) as error:
            logger.warning(
                "long recordings are encoded more slowly: PyTorch's fused attention cannot be used on %s in %s (%s)",
                device,
                dtype,
                str(error).strip().split("\n")[0],
            )
            return False
    return True
