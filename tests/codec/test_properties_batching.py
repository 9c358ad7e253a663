"""Exact batching as a property: whatever shares a batch with an item, its codes and samples are its own."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neucodec_tts import NeuCodec
from neucodec_tts.codec.features import pad_waveforms
from tests.parity.comparisons import Agreement
from tests.parity.ours import decode_in_one_batch, encode_in_one_batch
from tests.parity.signals import speechlike

HOP = 320

# Lengths next to a multiple of the hop are where off-by-ones live, so they come up as often as all others.
near_a_frame = st.builds(
    lambda frames, off: max(HOP, frames * HOP + off), st.integers(1, 12), st.integers(-2, 2)
)
samples = st.one_of(near_a_frame, st.integers(HOP, 8_000))
recordings = st.lists(st.tuples(samples, st.integers(0, 1)), min_size=1, max_size=16)
code_counts = st.lists(st.one_of(st.integers(1, 8), st.integers(1, 80)), min_size=1, max_size=16)


@pytest.fixture(scope="module")
def alone(codec: NeuCodec):
    """A function from (samples, seed) to that recording, its codes alone, and the values rounded to them."""

    @functools.cache
    @torch.no_grad()
    def encode(length: int, seed: int) -> tuple[np.ndarray, Tensor, Tensor]:
        waveform = speechlike(length, seed)
        padded, lengths = pad_waveforms([torch.from_numpy(waveform)], HOP, codec.device)
        latents, _ = codec.encode_latents(padded, lengths)
        return waveform, codec.quantizer(latents)[1][0], codec.quantizer.bounded(latents)[0]

    return encode


@settings(max_examples=15)
@given(recordings=recordings)
def test_codes_do_not_depend_on_the_batch(codec, alone, recordings):
    expected = {f"{i}: {length} samples": alone(length, seed) for i, (length, seed) in enumerate(recordings)}
    together = encode_in_one_batch(codec, {name: waveform for name, (waveform, _, _) in expected.items()})
    agreement = Agreement()
    for name, (_, codes, bounded) in expected.items():
        agreement.add_codes(name, codes, together[name], bounded)
    agreement.check()


@settings(max_examples=10)
@given(recordings=recordings, max_batch_seconds=st.floats(0.02, 5))
def test_lists_come_back_in_order_whatever_the_batch_size(codec, alone, recordings, max_batch_seconds):
    expected = [alone(length, seed) for length, seed in recordings]
    together = codec.encode([wave for wave, _, _ in expected], 16_000, max_batch_seconds=max_batch_seconds)
    assert len(together) == len(expected)
    agreement = Agreement()
    for i, ((_, codes, bounded), actual) in enumerate(zip(expected, together, strict=True)):
        agreement.add_codes(str(i), codes, actual, bounded)
    agreement.check()


@settings(max_examples=20)
@given(counts=code_counts, seed=st.integers(0, 2**32 - 1))
def test_samples_do_not_depend_on_the_batch(codec, counts, seed):
    random = np.random.default_rng(seed)
    codes = {f"{i}: {n} codes": random.integers(0, codec.codebook_size, n) for i, n in enumerate(counts)}
    together = decode_in_one_batch(codec, codes)
    agreement = Agreement()
    for name, sequence in codes.items():
        agreement.add_audio(name, codec.decode(sequence), together[name])
    agreement.check()


@settings(max_examples=10)
@given(counts=code_counts, seed=st.integers(0, 2**32 - 1), max_batch_seconds=st.floats(0.02, 5))
def test_lists_of_codes_come_back_in_order(codec, counts, seed, max_batch_seconds):
    random = np.random.default_rng(seed)
    codes = [random.integers(0, codec.codebook_size, n) for n in counts]
    together = codec.decode(codes, max_batch_seconds=max_batch_seconds)
    assert len(together) == len(codes)
    agreement = Agreement()
    for i, (sequence, audio) in enumerate(zip(codes, together, strict=True)):
        agreement.add_audio(str(i), codec.decode(sequence), audio)
    agreement.check()
