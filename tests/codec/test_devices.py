"""The device of a codec, and float32 that the caller's settings cannot lower."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest
import torch

from neucodec_tts import NeuCodec
from neucodec_tts.codec import devices
from neucodec_tts.codec.devices import default_device


@pytest.fixture(autouse=True)
def _default_flags():
    """As PyTorch has them after a test, too."""
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True


def flags():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.fixture
def seen(codec):
    """The flags at each call of the decoder."""
    found = []
    hook = codec.acoustic_decoder.fc.register_forward_hook(lambda *_: found.append(flags()))
    yield found
    hook.remove()


@pytest.mark.parametrize("precision", ["high", "medium"])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_callers_precision_changes_nothing(codec, speech, seen, precision, autocast):
    wave = speech(0.6)
    codes, expected = codec.encode(wave, 16_000), codec.decode(range(30))
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = True
    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        assert torch.equal(codec.encode(wave, 16_000), codes)
        assert torch.equal(codec.decode(range(30)), expected)
        decoder = codec.stream()
        torch.cat([decoder.push(range(30)), decoder.flush()])
    assert set(seen) == {("highest", False)}
    assert flags() == (precision, True)


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="PyTorch 2.9 has these flags")
def test_the_newer_flags_are_guarded_as_well(codec):
    matmul, conv = (getattr(torch.backends.mkldnn, name) for name in ("matmul", "conv"))
    before, seen = (matmul.fp32_precision, conv.fp32_precision), []
    matmul.fp32_precision = conv.fp32_precision = "bf16"
    hook = codec.acoustic_decoder.fc.register_forward_hook(
        lambda *_: seen.append((matmul.fp32_precision, conv.fp32_precision))
    )
    try:
        codec.decode([1, 2, 3])
        assert seen == [("ieee", "ieee")]
        assert (matmul.fp32_precision, conv.fp32_precision) == ("bf16", "bf16")
    finally:
        hook.remove()
        matmul.fp32_precision, conv.fp32_precision = before


@pytest.mark.parametrize("first_out", ["a", "b"])
def test_two_threads_leave_in_any_order(codec, first_out):
    """Both are exact for as long as they compute, and the flags are the caller's once the second has left."""
    torch.set_float32_matmul_precision("medium")
    inside = {name: threading.Event() for name in "ab"}
    leave = {name: threading.Event() for name in "ab"}
    seen = []

    def wait(*_):
        name = threading.current_thread().name
        inside[name].set()
        leave[name].wait(60)
        seen.append(flags())

    hook = codec.acoustic_decoder.fc.register_forward_hook(wait)
    threads = {name: threading.Thread(target=codec.decode, args=([1, 2],), name=name) for name in "ab"}
    try:
        for name in "ab":
            threads[name].start()
            assert inside[name].wait(60)
        for name in sorted("ab", key=lambda name: name != first_out):
            leave[name].set()
            threads[name].join(60)
    finally:
        hook.remove()
    assert seen == [("highest", False)] * 2
    assert flags() == ("medium", True)


def test_a_setting_made_while_threads_compute_is_the_callers(codec):
    seen = []

    def change(*_):
        torch.set_float32_matmul_precision("high")
        seen.append(flags())

    hook = codec.acoustic_decoder.fc.register_forward_hook(change)
    try:
        codec.decode([1, 2])
    finally:
        hook.remove()
    assert seen == [("high", False)]
    assert flags() == ("high", True)


def test_a_codec_goes_to_the_gpu_where_there_is_one(monkeypatch):
    assert default_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_device().type == "cuda"
    monkeypatch.setattr(devices, "default_device", lambda: torch.device("meta"))
    assert NeuCodec.from_pretrained("tiny").device.type == "meta"
    assert NeuCodec.from_pretrained("tiny", device="cpu").device.type == "cpu"
