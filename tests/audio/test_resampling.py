"""Resampling must give torchaudio's numbers, because upstream's codes were made from them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchaudio.transforms import Resample

from neucodec_tts.audio import resampling
from neucodec_tts.audio.resampling import ResamplingStream, output_length, resample


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rate", [8000, 11025, 12000, 22050, 24000, 32000, 44100, 48000, 96000])
@pytest.mark.parametrize("samples", [1, 2, 319, 441, 16_000, 100_003])
def test_equals_torchaudio_bit_for_bit(rate, samples):
    waveform = noise(samples)
    assert torch.equal(resample(waveform, rate, 16_000), Resample(rate, 16_000)(waveform))


def test_the_same_rate_changes_nothing():
    waveform = noise(1000)
    assert resample(waveform, 16_000, 16_000) is waveform


@pytest.mark.parametrize("rate", [8000, 22050, 24000, 44100, 48000, 12345])
@pytest.mark.parametrize("samples", [5001, 10_000, 48_000, 50_001])
def test_pieces_equal_the_whole(monkeypatch, rate, samples):
    monkeypatch.setattr(resampling, "_PIECE_SAMPLES", 5000)
    waveform = noise(samples)
    whole = Resample(rate, 16_000)(waveform)
    pieces = resample(waveform, rate, 16_000)
    assert pieces.shape == whole.shape
    # Equal up to the order in which a convolution adds.
    assert float((pieces - whole).abs().max()) < 5e-7


@given(
    rate=st.sampled_from([8000, 11025, 16_001, 22_050, 44_100, 48_000, 12_345]),
    target=st.sampled_from([16_000, 24_000]),
    samples=st.integers(1, 3000),
    seed=st.integers(0, 100),
)
def test_the_few_taps_give_what_the_whole_filter_gives(rate, target, samples, seed):
    divisor = math.gcd(rate, target)
    old, new = rate // divisor, target // divisor
    waveform = noise(samples, seed)
    by_taps = resampling._resample_by_taps(waveform, old, new, math.ceil(6 * old / (min(old, new) * 0.99)))
    if new * old > 1e8:  # torchaudio would want gigabytes; its length is known all the same
        assert by_taps.numel() == output_length(samples, old, new)
        return
    whole = Resample(rate, target)(waveform)
    assert by_taps.shape == whole.shape
    assert float((by_taps - whole).abs().max()) < 5e-7


def test_rates_without_a_common_divisor_keep_a_tone():
    rate = 44_101  # a prime: torchaudio's filter would have 706 million taps
    tone = torch.sin(2 * math.pi * 440 * torch.arange(rate) / rate)
    converted = resample(tone, rate, 16_000)
    assert converted.numel() == 16_000
    expected = torch.sin(2 * math.pi * 440 * torch.arange(16_000) / 16_000)
    assert float((converted - expected)[100:-100].abs().max()) < 2e-3


@pytest.mark.parametrize("samples", [1, 440, 441, 442, 12_345_679, 2**31 + 1])
def test_length_is_the_one_torchaudio_would_give(samples):
    wanted = int(torch.ceil(torch.as_tensor(160 * samples / 441)))
    assert output_length(samples, 441, 160) == min(wanted, 160 * (samples // 441 + 1))


@pytest.mark.parametrize("sizes", [[44_100], [1, 7, 441, 5, 20_000, 3], [1000] * 30])
@pytest.mark.parametrize("rates", [(44_100, 48_000), (48_000, 16_000), (24_000, 44_100)])
def test_a_stream_gives_what_the_whole_gives(rates: tuple[int, int], sizes: list[int]):
    wave = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(1))
    stream = ResamplingStream(*rates)
    parts = [*(stream.push(part) for part in wave.split(sizes)), stream.flush()]
    torch.testing.assert_close(torch.cat(parts), resample(wave, *rates), atol=1e-5, rtol=0)
    if len(sizes) == 30:
        assert sum(part.numel() > 0 for part in parts) > 10, "it comes as it goes"
