"""The anti-aliased activation: the compiled pass and the separate steps against float64."""

from __future__ import annotations

import builtins
import threading

import pytest
import torch

from neucodec_tts.codec import acoustic_encoder
from neucodec_tts.codec.acoustic_encoder import AntiAliasedSnake
from neucodec_tts.codec.ragged import Ragged
from tests.parity.comparisons import snr


@pytest.fixture
def snake() -> AntiAliasedSnake:
    torch.manual_seed(1)
    layer = AntiAliasedSnake(5).requires_grad_(False)
    layer.act.alpha.uniform_(-1, 2)
    layer.act.beta.uniform_(-2, 2)
    return layer


@pytest.fixture(params=["compiled", "steps"])
def way(request, monkeypatch):
    """Each of the two, on a processor."""
    if request.param == "compiled":
        pytest.importorskip("numba")
        assert acoustic_encoder._fused_snake(torch.device("cpu"), torch.float32) is not None
    else:
        monkeypatch.setattr(acoustic_encoder, "_fused_snake", lambda device, dtype: None)
    return request.param


@pytest.fixture(params=["time", "channels"])
def layout(request):
    """Gives a batch (B, C, T) the layout in memory in which neighbours in time, or channels, lie side by side."""
    if request.param == "time":
        return lambda x: x.contiguous()
    return lambda x: x.transpose(1, 2).contiguous().transpose(1, 2)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7, 13, 505, 511, 512, 513, 515, 518, 1024, 4000])
def test_every_length(snake, way, layout, size):
    """The edges are held, wherever they fall in a tile."""
    x = 3 * torch.randn(2, 5, size)
    expected = snake.double()(x.double(), Ragged(None, size))
    assert snr(expected, snake.float()(layout(x), Ragged(None, size))) > 110


def test_items_of_a_ragged_batch(snake, way, layout):
    """Each item is what it is alone, whatever lies behind its end."""
    lengths = [700, 1, 512, 515, 33]
    x = torch.randn(5, 5, 700)
    together = snake(layout(x.clone()), Ragged.of(torch.tensor(lengths), 700))
    for i, n in enumerate(lengths):
        assert snr(snake(layout(x[i, None, :, :n]), Ragged(None, n))[0], together[i, :, :n]) > 120


def test_many_channels_in_short_tiles(layout):
    layer = AntiAliasedSnake(300).requires_grad_(False)
    layer.act.alpha.uniform_(-1, 2)
    x = torch.randn(2, 300, 90)
    expected = layer.double()(x.double(), Ragged(None, 90))
    assert snr(expected, layer.float()(layout(x), Ragged(None, 90))) > 110


def test_views_are_read_as_they_are(snake, way):
    x = torch.randn(1, 9, 700)[:, 2:7, :300]
    assert snr(snake(x.contiguous(), Ragged(None, 300)), snake(x, Ragged(None, 300))) > 120


def test_threads(snake, layout):
    """Tiles shared among threads, and several calls at a time, change nothing."""
    pytest.importorskip("numba")
    x = layout(torch.randn(1, 5, 200_000))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = snake(x, Ragged(None, 200_000))
        torch.set_num_threads(3)
        found = [torch.empty(0)] * 3

        def work(i: int) -> None:
            found[i] = snake(x, Ragged(None, 200_000))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(expected, one) for one in found)


@pytest.mark.parametrize("value", [1e30, 3e5])
def test_the_sine_of_a_huge_value_is_at_most_one(snake, way, value):
    x = torch.zeros(1, 5, 600)
    x[:, :, 300] = value
    y = snake(x, Ragged(None, 600))
    straight = AntiAliasedSnake(5).requires_grad_(False)
    straight.act.beta.fill_(60)  # the sine counts for nothing
    most = (snake.act.beta.exp().reciprocal() * 4).view(1, 5, 1)
    assert bool(((y - straight(x, Ragged(None, 600))).abs() <= most + 1e-6 * value).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number_stays_no_number(snake, way, value):
    x = torch.zeros(1, 5, 600)
    x[:, :, 300] = value
    assert not bool(snake(x, Ragged(None, 600))[..., 298:303].isfinite().any())


def test_an_activation_can_be_trained(snake, way):
    snake.requires_grad_(True)
    snake(torch.randn(1, 5, 100), Ragged(None, 100)).square().sum().backward()
    assert snake.act.alpha.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("channels", "size"),
    [
        *((5, size) for size in (1, 2, 5, 511, 512, 513, 514, 515, 1030)),
        *((192, size) for size in (64, 65, 66, 67, 98)),  # in tiles of 32 samples
    ],
)
def test_gradients_in_one_pass(layout, channels, size):
    """Those of the separate steps in float64, of every sample, wherever the edges fall in a tile."""
    pytest.importorskip("numba")
    torch.manual_seed(size)
    layer = AntiAliasedSnake(channels)
    layer.act.alpha.data.uniform_(-1, 1)
    layer.act.beta.data.uniform_(-1, 1)
    x, wanted = torch.randn(2, channels, size), torch.randn(2, channels, size)
    gradients = []
    for dtype in (torch.float64, torch.float32):
        layer = layer.to(dtype)
        layer.zero_grad()
        given = layout(x.to(dtype)).requires_grad_()
        out = layer(given, Ragged(None, size))
        assert ("FusedSnake" in str(out.grad_fn)) is (dtype is torch.float32)
        (out * wanted).sum().backward()
        gradients.append((given.grad, *(p.grad.clone() for p in layer.parameters() if p.grad is not None)))
    for expected, found in zip(*gradients, strict=True):
        assert float((expected - found).abs().max()) < 1e-4 * max(1.0, float(expected.abs().max()))


def test_threads_share_the_gradients(layout):
    pytest.importorskip("numba")
    before, found = torch.get_num_threads(), []
    x = torch.randn(4, 3, 100_000)
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            layer, given = AntiAliasedSnake(3), layout(x).clone().requires_grad_()
            layer(given, Ragged(None, 100_000)).square().sum().backward()
            found.append([given.grad, layer.act.alpha.grad, layer.act.beta.grad])
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_a_gradient_that_does_not_work(snake, monkeypatch, caplog):
    """Training then takes the steps, which is said once."""
    pytest.importorskip("numba")
    from neucodec_tts.codec import fused_snake_gradient

    monkeypatch.setattr(fused_snake_gradient, "trainable_snake", lambda x, f, m: x * f[:, None] * m[:, None])
    acoustic_encoder._checked_gradients.cache_clear()
    try:
        snake.requires_grad_(True)
        for _ in range(2):
            snake(torch.randn(1, 5, 100), Ragged(None, 100)).sum().backward()
    finally:
        acoustic_encoder._checked_gradients.cache_clear()
    assert [record.getMessage()[:28] for record in caplog.records] == ["training is slower: Numba Te"]


def test_autocast_does_not_hide_the_compiled_pass(snake):
    """Whoever encodes first decides for all: the check that it works runs in full precision."""
    pytest.importorskip("numba")
    acoustic_encoder._fused_snake.cache_clear()
    with torch.autocast("cpu", torch.bfloat16):
        snake(torch.randn(1, 5, 100), Ragged(None, 100))
    assert acoustic_encoder._fused_snake(torch.device("cpu"), torch.float32) is not None


def test_a_numba_that_does_not_work(snake, monkeypatch, caplog):
    """It costs time, and is said once."""
    pytest.importorskip("numba")
    x = torch.randn(1, 5, 100)
    expected = snake(x, Ragged(None, 100))
    real = builtins.__import__

    def broken(name, *args, **kwargs):
        if name == "neucodec_tts.codec.fused_snake":
            raise RuntimeError("no processor called 'quantum'\nand more")
        return real(name, *args, **kwargs)

    acoustic_encoder._fused_snake.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(builtins, "__import__", broken)
            found = [snake(x, Ragged(None, 100)) for _ in range(2)]
    finally:
        acoustic_encoder._fused_snake.cache_clear()
    assert all(snr(expected, one) > 110 for one in found)
    assert [record.getMessage() for record in caplog.records] == [
        "encoding is slower: Numba no processor called 'quantum'"
    ]
