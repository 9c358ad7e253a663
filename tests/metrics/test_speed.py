"""Operations, counted by what computes them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neucodec_tts.codec.onednn import compute_with_onednn, packed_weights
from neucodec_tts.metrics.speed import count_operations, matrix_speed


@pytest.mark.parametrize("packed", [False, True])
def test_linear_layers_count_whoever_computes_them(packed):
    layers = nn.Sequential(nn.Linear(48, 70)).requires_grad_(False)
    compute_with_onednn(layers)
    layers(torch.randn(2, 15, 48))  # the first one tries out whether oneDNN works
    with count_operations() as counter, packed_weights(layers, 30 if packed else 1000):
        layers(torch.randn(2, 15, 48))
    assert counter.get_total_flops() == 2 * 30 * 48 * 70


def test_attention_counts():
    query, key, value = torch.randn(3, 2, 4, 20, 8).unbind()
    with count_operations() as counter, torch.no_grad():
        F.scaled_dot_product_attention(query, key[:, :, :11], value[:, :, :11])
    assert counter.get_total_flops() == 2 * 2 * 4 * 20 * 11 * (8 + 8)


def test_a_matrix_product_has_a_speed():
    assert matrix_speed(torch.device("cpu"), torch.float32, 64, 1) > 1e6
