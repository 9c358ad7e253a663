"""X-Codec 2, the codec of Llasa, against ``Xcodec2Model`` of transformers: the same network at 16 kHz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import Xcodec2Config, Xcodec2FeatureExtractor, Xcodec2Model

from neucodec_tts import NeuCodec
from tests.parity.comparisons import Agreement
from tests.parity.ours import random_codec
from tests.parity.signals import speechlike
from tests.parity.sizes import small_config


@pytest.fixture(scope="module")
def theirs() -> Xcodec2Model:
    """Small, with random weights under which it uses its whole codebook."""
    config = small_config()
    config.output_sampling_rate = 16_000
    codec = random_codec(config)
    values = config.to_dict()
    for name in ("model_type", "input_sampling_rate", "output_sampling_rate", "codec_id"):
        values.pop(name, None)
    model: Any = Xcodec2Model(Xcodec2Config(**values))
    model.load_state_dict(codec.state_dict())
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def ours(theirs: Xcodec2Model, tmp_path_factory: pytest.TempPathFactory) -> NeuCodec:
    folder = tmp_path_factory.mktemp("xcodec2")
    theirs.save_pretrained(folder)
    return NeuCodec.from_pretrained(folder)


def encode(theirs: Any, waveform: np.ndarray) -> Tensor:
    features = Xcodec2FeatureExtractor()(waveform, sampling_rate=16_000, return_tensors="pt")
    return theirs.encode(**features).audio_codes[0, 0]


def test_what_it_is(ours: NeuCodec):
    assert (ours.input_sample_rate, ours.output_sample_rate, ours.output_hop_length) == (16_000, 16_000, 320)
    assert ours.codebook_size == 65_536


def test_codes(theirs: Xcodec2Model, ours: NeuCodec):
    """Codes of items of aligned and other lengths, alone and in one ragged batch."""
    waveforms = {
        f"{samples} samples": np.asarray(speechlike(samples, seed=samples), np.float32)
        for samples in (3200, 5000, 16_000, 24_321, 40_000)
    }
    together = ours.encode(list(waveforms.values()), 16_000)
    differing = []
    for (name, waveform), in_batch in zip(waveforms.items(), together, strict=True):
        expected = encode(theirs, waveform)
        for codes in (ours.encode(waveform, 16_000), in_batch):
            assert codes.shape == expected.shape, name
            differing += [(name, at) for at in (codes != expected).nonzero()[:, 0].tolist()]
    assert len(differing) <= 1, f"one may be due to rounding: {differing}"


def test_audio(theirs: Any, ours: NeuCodec):
    agreement = Agreement()
    for frames in (1, 7, 100):
        codes = torch.from_numpy(np.random.default_rng(frames).integers(0, 65_536, frames))
        with torch.inference_mode():
            expected = theirs.decode(codes[None, None]).audio_values[0, 0]
        agreement.add_audio(f"X-Codec 2, {frames} frames", expected, ours.decode(codes))
    agreement.check()


def test_saved_and_loaded_it_is_the_same(ours: NeuCodec, tmp_path: Path):
    ours.save_pretrained(tmp_path)
    again = NeuCodec.from_pretrained(tmp_path)
    wave = np.asarray(speechlike(20_000, seed=1), np.float32)
    assert torch.equal(again.encode(wave, 16_000), ours.encode(wave, 16_000))
    assert again.codec_id == ours.codec_id
