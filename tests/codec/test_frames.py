"""Group norms over batches of different lengths."""

from __future__ import annotations

import torch
from torch import nn

from neucodec_tts.codec.frames import Frames
from tests.parity.comparisons import snr


def test_group_norms_stay_exact_under_autocast():
    """As torch's own do: only what they are given was computed in bfloat16."""
    generator = torch.Generator().manual_seed(1)
    x = 3 + torch.randn(2, 50, 64, generator=generator)
    norm = nn.GroupNorm(32, 64)
    lengths = torch.tensor([50, 20])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        normed = Frames(lengths, 50).group_norm(norm, x)
    for item, length, ours in zip(x, lengths.tolist(), normed, strict=True):
        expected = norm(item[:length].T[None])[0].T
        assert snr(expected.detach().flatten(), ours[:length].flatten()) > 100
