"""Linear layers and pointwise convolutions by oneDNN against PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neucodec_tts.codec import onednn
from neucodec_tts.codec.onednn import ChannelsLastConv1d, OneDnnLinear, OneDnnPointwise, compute_with_onednn
from tests.parity.comparisons import snr


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(48, 70), nn.Linear(70, 48, bias=False), nn.Conv1d(48, 30, kernel_size=1))
    compute_with_onednn(layers)
    return layers.requires_grad_(False)


def test_every_layer_of_a_codec(codec):
    """All of them, those inside transformers' layers too, and no convolution that is not pointwise."""
    kinds = {type(module) for module in codec.modules()}
    assert nn.Linear not in kinds
    assert {OneDnnLinear, OneDnnPointwise, nn.Conv1d} <= kinds
    assert all(
        module.kernel_size == (1,) for module in codec.modules() if isinstance(module, OneDnnPointwise)
    )


@pytest.mark.parametrize("shape", [(1, 48), (30, 48), (2, 7, 48), (2, 3, 5, 48), (2, 300, 48)])
def test_products(model, shape):
    x = torch.randn(shape)
    for given in (x, torch.randn(*shape[:-1], 60)[..., :48]):
        assert (
            snr(F.linear(given.double(), model[0].weight.double(), model[0].bias.double()), model[0](given))
            > 120
        )
    assert model[1](model[0](x)).shape == x.shape


def test_nothing_to_multiply(model):
    assert model[0](torch.zeros(0, 48)).shape == (0, 70)


@pytest.mark.parametrize("threads", [1, 2])
def test_pointwise_convolutions(model, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x = torch.randn(2, 48, 333)
        expected = F.conv1d(x.double(), model[2].weight.double(), model[2].bias.double())
        assert snr(expected, model[2](x)) > 120
        rows = x.transpose(1, 2).contiguous()
        assert snr(expected, model[2](rows.transpose(1, 2))) > 120
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding", "dilation"),
    [
        (1, 7, 1, 3, 1),
        (48, 7, 1, 3, 1),
        (48, 7, 1, 27, 9),
        (48, 8, 4, 2, 1),
        (48, 10, 5, 3, 1),
        (48, 1, 1, 0, 1),
    ],
)
def test_convolutions_with_channels_side_by_side(channels, kernel, stride, padding, dilation, threads):
    torch.manual_seed(0)
    layer = ChannelsLastConv1d(channels, 70, kernel, stride, padding, dilation).requires_grad_(False)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for size in (1, 30, 2_000):
            x = torch.randn(2, channels, size * stride)
            found = layer(x)
            exact = copy.deepcopy(layer).double()(x.double())
            assert snr(exact, found) > 120
            assert snr(exact, layer(x.transpose(1, 2).contiguous().transpose(1, 2))) > 120
        assert found.transpose(1, 2).is_contiguous()
    finally:
        torch.set_num_threads(before)
    layer.requires_grad_(True)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().max() > 0


def test_gradients_and_other_formats_are_pytorchs(model):
    model.requires_grad_(True)
    x = torch.randn(3, 48)
    model[1](model[0](x)).square().sum().backward()
    assert model[0].weight.grad.abs().max() > 0
    half = copy.deepcopy(model).to(torch.bfloat16)
    assert half[0](x.to(torch.bfloat16)).dtype == torch.bfloat16


def test_without_onednn(model, monkeypatch):
    x = torch.randn(3, 48)
    expected = model[0](x)

    def missing(*_):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(onednn, "_linear", missing)
    onednn._works.cache_clear()
    try:
        assert snr(expected, model[0](x)) > 120
    finally:
        onednn._works.cache_clear()
