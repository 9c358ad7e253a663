"""Half precision: what stays in float32, what comes out, and what is refused."""

from __future__ import annotations

import pytest
import torch

from neucodec_tts import CheckpointError, DistillNeuCodec, NeuCodec
from neucodec_tts.codec.cuda_graphs import FixedShapeDecoder
from neucodec_tts.codec.streaming import Window
from neucodec_tts.metrics.half_precision import in_precision, measure_agreement
from tests.parity.ours import random_codec
from tests.parity.sizes import SMALL_WINDOW, small_distilled_config

KEPT = (
    "quantizer.",
    "acoustic_decoder.head.",
    ".norm1.",
    ".norm2.",
    ".alpha",
    ".beta",
    "acoustic_encoder.conv1.",
    "trends.convs.",
    "position_bias.",
    "semantic_encoder.feature_extractor.conv_layers.0.",
)


@pytest.fixture(scope="module")
def distilled():
    config = small_distilled_config()
    config.attention_window = SMALL_WINDOW
    return random_codec(config)


@pytest.fixture(scope="module", params=["NeuCodec", "DistillNeuCodec"])
def exact(request, codec):
    return codec if request.param == "NeuCodec" else request.getfixturevalue("distilled")


@pytest.fixture(scope="module")
def half(exact):
    return in_precision(exact, torch.bfloat16)


def test_what_stays_in_float32(exact, half):
    """The small parts where rounding is heard most; they keep their very weights."""
    before = exact.state_dict()
    for name, weight in half.state_dict().items():
        if weight.is_floating_point():
            kept = any(part in name for part in KEPT)
            assert weight.dtype == (torch.float32 if kept else torch.bfloat16), name
            assert not kept or torch.equal(weight, before[name]), name
    assert exact.dtype == torch.float32
    assert half.dtype == torch.bfloat16


def test_it_agrees_with_float32(exact, half, speech):
    """Ragged batches as well as single items."""
    agreement = measure_agreement(exact, half, [speech(1.7), speech(0.6)])
    assert agreement.dtype == "bfloat16"
    assert agreement.digits > 0.9
    assert agreement.snr > 15
    same = measure_agreement(exact, exact, [speech(0.6)])
    assert (same.codes, same.digits, same.snr) == (1, 1, float("inf"))


def test_streams(exact, half):
    codes = torch.arange(60) * 997 % exact.codebook_size
    decoder = half.stream()
    streamed = torch.cat([decoder.push(codes), decoder.flush()])
    assert streamed.shape == half.decode(codes).shape
    windows = [Window(codes[:12], 0, 7, 50, None), Window(codes[12:20], 0, 8, 50, None)]
    fixed = FixedShapeDecoder(half, 20, lookback=50)(windows)
    for ours, expected in zip(fixed, half.decode_windows(windows), strict=True):
        assert (ours.audio - expected.audio).norm() < 0.05 * expected.audio.norm()
        assert ours.memory.dtype == torch.float32


def test_loading_and_saving(codec, tmp_path):
    """ "auto" takes what was saved; float32 is the default, whatever was saved."""
    codec.save_pretrained(tmp_path / "exact")
    half = NeuCodec.from_pretrained(tmp_path / "exact", device="cpu", dtype="bfloat16")
    half.save_pretrained(tmp_path / "half")
    assert half.codec_id == codec.codec_id
    for dtype, wanted in {"auto": torch.bfloat16, None: torch.float32, "float16": torch.float16}.items():
        loaded = NeuCodec.from_pretrained(tmp_path / "half", device="cpu", dtype=dtype)
        assert loaded.dtype == wanted
        assert loaded.quantizer.project_in.weight.equal(codec.quantizer.project_in.weight)


def test_what_float16_cannot_hold_is_an_error(codec, speech):
    half = in_precision(codec, torch.float16)
    half.get_parameter("acoustic_encoder.conv2.bias").fill_(float("inf"))
    with pytest.raises(CheckpointError, match="too large for float16; load the codec with dtype 'bfloat16'"):
        half.encode(speech(0.5), 16_000)
    half.acoustic_decoder.fc.bias.fill_(float("inf"))
    with pytest.raises(CheckpointError, match="too large for float16"):
        half.decode([1, 2, 3])
    with pytest.raises(CheckpointError, match="too large for float16"):
        half.stream().push(range(20))


def test_the_distilled_codec_keeps_its_class(distilled, tmp_path):
    distilled.save_pretrained(tmp_path)
    assert isinstance(NeuCodec.from_pretrained(tmp_path, device="cpu", dtype="float16"), DistillNeuCodec)
