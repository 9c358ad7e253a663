"""The Triton kernel of the anti-aliased activation: run by Triton's interpreter, and compiled for NVIDIA's GPUs."""

from __future__ import annotations

import importlib.util
import logging
from types import ModuleType

import pytest
import torch

from neucodec_tts.codec import acoustic_encoder
from neucodec_tts.codec.acoustic_encoder import AntiAliasedSnake
from neucodec_tts.codec.ragged import Ragged
from tests.parity.comparisons import snr

pytest.importorskip("triton")


def load(monkeypatch: pytest.MonkeyPatch, interpreted: bool) -> ModuleType:
    """A copy of the kernel's module."""
    monkeypatch.setenv("TRITON_INTERPRET", str(int(interpreted)))
    found = importlib.util.find_spec("neucodec_tts.codec.triton_snake")
    assert found is not None
    assert found.origin is not None
    spec = importlib.util.spec_from_file_location("a_copy_of_triton_snake", found.origin)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def kernel(monkeypatch):
    """The kernel under the interpreter, whose time goes by programs, and so with few of them."""
    module = load(monkeypatch, interpreted=True)
    monkeypatch.setattr(module, "_LANES", 1024)
    return module


@pytest.mark.parametrize(
    ("dtype", "decibels", "size"),
    [
        (torch.float32, 120, 135),
        (torch.float16, 65, 135),
        (torch.bfloat16, 47, 135),
        (torch.float32, 120, 4),
        (torch.float32, 120, 1),
    ],
)
def test_items_of_a_ragged_batch(kernel, dtype, decibels, size):
    """Each is what float64 makes of it alone, whatever lies behind its end; there is silence."""
    torch.manual_seed(0)
    x = (3 * torch.randn(4, 17, size)).to(dtype)
    lengths = torch.tensor([size, max(1, size // 2), 1, max(1, size - 3)])
    frequency, magnitude = torch.rand(2, 17) * 3 + 0.1
    found = kernel.triton_snake(x, lengths, frequency, magnitude)
    assert found.dtype == dtype
    steps = AntiAliasedSnake(17)
    for item, alone, n in zip(found, x.double(), lengths.tolist(), strict=True):
        whole = steps._in_steps(
            alone[None, :, :n].clone(), Ragged(None, n), frequency.double(), magnitude.double()
        )
        assert snr(whole[0], item[:, :n].double()) > decibels
        assert not item[:, n:].any()


def test_several_tiles_of_each_row(kernel, monkeypatch):
    """The edges are held wherever they fall in a tile, and rows of another layout are read as they are."""
    monkeypatch.setattr(kernel, "_LANES", 32)
    torch.manual_seed(1)
    x = torch.randn(1, 259, 2).transpose(1, 2)
    frequency, magnitude = torch.rand(2, 2) + 0.5
    found = kernel.triton_snake(x, None, frequency, magnitude)
    whole = AntiAliasedSnake(2)._in_steps(
        x.double(), Ragged(None, 259), frequency.double(), magnitude.double()
    )
    assert snr(whole, found.double()) > 120


def test_nothing_of_no_samples(kernel):
    assert kernel.triton_snake(torch.zeros(2, 3, 0), None, torch.ones(3), torch.ones(3)).shape == (2, 3, 0)


def test_no_number_stays_no_number(kernel):
    x = torch.zeros(1, 1, 100)
    x[..., 50] = float("nan")
    found = kernel.triton_snake(x, None, torch.ones(1), torch.ones(1))
    assert bool(found[..., 48:53].isnan().all())
    assert bool(found[..., :40].isfinite().all())


@pytest.fixture
def tried(monkeypatch):
    """Try the kernel as a GPU would, here on a CPU."""
    acoustic_encoder._fused_snake.cache_clear()
    device = torch.device("meta")  # neither "cpu", so that Triton is asked, nor one that must exist
    monkeypatch.setattr(
        acoustic_encoder,
        "_check_fused",
        lambda fused, _, dtype, real=acoustic_encoder._check_fused: real(fused, torch.device("cpu"), dtype),
    )
    yield lambda dtype: acoustic_encoder._fused_snake(device, dtype)
    acoustic_encoder._fused_snake.cache_clear()


def test_the_kernel_is_checked_before_it_is_used(kernel, tried, monkeypatch):
    monkeypatch.setattr(acoustic_encoder, "_import_fused", lambda compiler: kernel.triton_snake)
    assert tried(torch.float16) is kernel.triton_snake


@pytest.mark.parametrize("fault", ["wrong", "failing"])
def test_a_kernel_that_does_not_work_is_not_used(tried, monkeypatch, caplog, fault):
    def broken(x, lengths, frequency, magnitude):
        if fault == "failing":
            raise RuntimeError("no kernel image is available\nand more")
        return x

    monkeypatch.setattr(acoustic_encoder, "_import_fused", lambda compiler: broken)
    with caplog.at_level(logging.WARNING):
        assert [tried(torch.float32) for _ in range(2)] == [None, None]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("encoding is slower: Triton ")
    assert fault == "wrong" or message.endswith("no kernel image is available")


def test_it_compiles_for_gpus(monkeypatch):
    """Triton brings NVIDIA's assembler, which needs no GPU."""
    from triton.backends import backends
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    if "nvidia" not in backends:
        pytest.skip("this Triton does not compile for NVIDIA's GPUs")
    kernel = load(monkeypatch, interpreted=False)._snake_kernel
    pointers = {
        "x_start": "*fp16",
        "out_start": "*fp16",
        "lengths": "*i64",
        "frequencies": "*fp32",
        "magnitudes": "*fp32",
    }
    constants = {"RAGGED": True, "ROWS": 2, "LANES": 128}
    numbers = dict.fromkeys(["rows", "channels", "size", "tiles"], "i32")
    signature = {
        name: (pointers | numbers | dict.fromkeys(constants, "constexpr")).get(name, "fp32")
        for name in kernel.arg_names
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    assert compile(source, target=GPUTarget("cuda", 80, 32)).asm["cubin"]
