"""Linear layers and pointwise convolutions by oneDNN against PyTorch's own."""

from __future__ import annotations

import copy
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from neucodec_tts.codec import onednn
from neucodec_tts.codec.onednn import (
    ChannelsLastConv1d,
    CheckedConv1d,
    OneDnnLinear,
    OneDnnPointwise,
    compute_with_onednn,
)
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
    assert not {nn.Linear, nn.Conv1d} & kinds
    assert {OneDnnLinear, OneDnnPointwise, CheckedConv1d} <= kinds
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("layer", "sizes"),
    [
        (
            ChannelsLastConv1d,
            {"in_channels": 4, "out_channels": 8, "kernel_size": 16, "stride": 8, "padding": 4},
        ),
        (nn.Conv1d, {"in_channels": 24, "out_channels": 8, "kernel_size": 8, "stride": 8}),
        (nn.Conv1d, {"in_channels": 48, "out_channels": 96, "kernel_size": 16, "groups": 4, "bias": False}),
        (nn.Conv1d, {"in_channels": 24, "out_channels": 8, "kernel_size": 7}),
    ],
)
def test_half_precision(layer, sizes, dtype):
    """On a processor with AMX, PyTorch's own bfloat16 is noise for all but the last of these."""
    torch.manual_seed(0)
    model = nn.Sequential(layer(**sizes))
    compute_with_onednn(model)
    x = torch.randn(2, sizes["in_channels"], 320)
    model, x = model.to(dtype), x.to(dtype)
    expected = copy.deepcopy(model).double()(x.double())
    with torch.inference_mode():
        found = model(x)
    assert found.dtype == dtype
    assert snr(expected, found.double()) > 40
    with torch.autocast("cpu", dtype=dtype):
        learning = model.float()(x.float())
    assert learning.dtype == dtype
    assert snr(expected, learning.detach().double()) > 40
    learning.float().square().mean().backward()
    assert all(weight.grad is not None for weight in model.parameters())


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


def test_packed_weights_give_the_same(model):
    layer = nn.Conv1d(48, 70, kernel_size=3).requires_grad_(False)
    layers: Any = nn.Sequential(*model[:2], layer)
    x, around = torch.randn(30, 48), torch.randn(30, 144)
    expected = model[0](x), onednn.linear(around, layer.weight, layer.bias)
    with onednn.packed_weights(layers, 30):
        found = model[0](x), onednn.linear(around, layer.weight, layer.bias)
    if onednn._works():
        assert all(onednn._packed(each.weight) is not None for each in layers)
    for ours, wanted in zip(found, expected, strict=True):
        assert snr(wanted, ours) > 120
    # Outside nothing depends on whether there has been a stream.
    assert model[0](x).equal(expected[0])


@pytest.mark.parametrize("change", ["in place", "other data", "and back", "loaded", "moved"])
def test_changed_weights_are_no_longer_those_that_were_packed(model, change):
    layer, x = model[0], torch.randn(30, 48)
    with onednn.packed_weights(model, 30):
        layer(x)
    if change == "in place":
        layer.weight.mul_(2)
    elif change == "other data":
        layer.weight.data = 2 * layer.weight.data
    elif change == "and back":  # the memory may be at the same place as before
        for dtype in (torch.bfloat16, torch.float32):
            layer.weight.data = layer.weight.data.to(dtype)
    elif change == "loaded":
        model.load_state_dict({key: 2 * value for key, value in model.state_dict().items()})
    else:
        model.double()
        x = x.double()
    for _ in range(2):
        with onednn.packed_weights(model, 30):
            assert snr(F.linear(x, layer.weight, layer.bias), layer(x)) > 120


def test_packed_weights_are_copied_and_learn(model):
    x = torch.randn(30, 48)
    with onednn.packed_weights(model, 30):
        twin = copy.deepcopy(model)
        twin[0].weight.zero_()
        assert twin[0](x).allclose(twin[0].bias.expand(30, -1))
        assert not model[0](x).allclose(twin[0](x))
        model.requires_grad_(True)
        model[0](x).sum().backward()
    assert model[0].weight.grad.abs().max() > 0
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    assert torch.load(io.BytesIO(buffer.getvalue()))["0.weight"].equal(model[0].weight)


def test_weights_that_learn_or_were_made_in_inference_mode_stay_as_they_are():
    with torch.inference_mode():
        fixed: Any = nn.Sequential(nn.Linear(48, 70))
    learning: Any = nn.Sequential(nn.Linear(48, 70))
    for layers in (fixed, learning):
        compute_with_onednn(layers)
        with torch.no_grad(), onednn.packed_weights(layers, 30):
            x = torch.randn(30, 48)
            assert snr(F.linear(x, layers[0].weight, layers[0].bias), layers[0](x)) > 120
    assert onednn._packed(learning[0].weight) is None


def test_many_threads_pack_once(model, monkeypatch):
    packing = []
    original = onednn._Copy

    def count(*given: Any) -> onednn._Copy:
        packing.append(given)
        return original(*given)

    monkeypatch.setattr(onednn, "_Copy", count)
    x = torch.randn(30, 48)
    expected = model[0](x)

    def work(_: int) -> torch.Tensor:
        with torch.no_grad(), onednn.packed_weights(model, 30):
            return model[0](x)

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(work, range(16)):
            assert snr(expected, found) > 120
    assert len(packing) == (len(model) if onednn._works() else 0)


def test_streams_pack_the_decoder(codec):
    own = copy.deepcopy(codec)
    codes = torch.arange(60) % own.codebook_size
    whole = own.decode(codes[:20])
    with own.stream() as stream:
        first = torch.cat([stream.push(codes), stream.flush()])
    weight = own.acoustic_decoder.head.linear.weight
    assert (onednn._packed(weight) is not None) == onednn._works()
    with own.stream() as stream:
        assert torch.cat([stream.push(codes), stream.flush()]).equal(first)
    assert own.decode(codes[:20]).equal(whole)
    own.to("cpu")
    assert (onednn._packed(weight) is not None) == onednn._works()
    own.half()
    assert not any(weight in onednn._copies for weight in own.parameters())


def test_a_compiled_decoder_is_one_graph(codec):
    own, graphs = copy.deepcopy(codec), []

    def count(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    try:
        assert own.compile_decoder(backend=count)
        assert len(graphs) == 1
        with own.stream() as stream:
            stream.push(torch.arange(60))
        assert onednn._packed(own.acoustic_decoder.head.linear.weight) is None
    finally:
        torch._dynamo.reset()


@pytest.mark.parametrize(
    ("processor", "capability", "wide"),
    [
        ("vendor_id : AuthenticAMD", "AVX512", True),
        ("AMD64 Family 25 Model 97 Stepping 2, AuthenticAMD", "AVX512_VNNI", True),
        ("vendor_id : AuthenticAMD", "AVX2", False),
        ("vendor_id : GenuineIntel", "AVX512", False),
    ],
)
def test_which_library_multiplies_many_rows(monkeypatch, processor, capability, wide):
    monkeypatch.setattr(onednn, "_processor", lambda: processor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert (onednn._rows_for_mkl.__wrapped__() > 10_000) is wide
