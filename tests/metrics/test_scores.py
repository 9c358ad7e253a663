from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from neucodec_tts.audio import as_waveform
from neucodec_tts.errors import AudioError
from neucodec_tts.metrics.scores import (
    ScoreError,
    align,
    bit_rate,
    code_usage,
    log_mel_distance,
    pesq,
    score,
    si_sdr,
    snr,
    stoi,
)
from tests.assets import ASSETS


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return as_waveform(ASSETS / "demo.flac")[: 4 * 16_000].numpy()


@pytest.fixture(scope="module")
def noisy(speech) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(speech.size).astype(np.float32)
    return speech + noise * np.float32(np.sqrt(np.mean(speech**2) / np.mean(noise**2) / 10))


def test_a_perfect_copy(speech):
    assert stoi(speech, speech) == pytest.approx(1)
    assert si_sdr(speech, 2 * speech) > 100
    assert snr(speech, speech) == math.inf
    assert log_mel_distance(speech, speech) == 0


def test_noise_of_known_level(speech, noisy):
    assert snr(speech, noisy) == pytest.approx(10, abs=0.01)
    assert si_sdr(speech, noisy) == pytest.approx(10, abs=0.2)
    assert si_sdr(speech, 3 * noisy) == pytest.approx(si_sdr(speech, noisy))
    assert 0.6 < stoi(speech, noisy) < 0.99
    assert log_mel_distance(speech, noisy) > 0.1


def test_all_at_once_and_what_is_missing(speech, noisy):
    found = score(speech, 16_000, noisy, 16_000)
    assert found.stoi == pytest.approx(stoi(speech, noisy))
    silent = score(np.zeros(16_000), 16_000, np.zeros(16_000), 16_000)
    assert silent.stoi is None
    assert "0.4 s of sound" in silent.missing["stoi"]
    assert silent.log_mel_distance == 0


def test_pesq_of_noise(speech, noisy):
    pytest.importorskip("pesq", reason="pesq needs a C compiler to install")
    assert 1 < pesq(speech, noisy) < pesq(speech, speech) == pytest.approx(4.64, abs=0.01)


def test_alignment_brings_both_to_one_rate_and_length(speech):
    reference, estimate = align(speech, 16_000, torch.zeros(24_000), 24_000)
    assert reference.shape == estimate.shape == (16_000,)
    with pytest.raises(AudioError, match="mono"):
        align(speech, 16_000, torch.zeros(2, 100), 24_000)
    with pytest.raises(AudioError, match="one length"):
        snr(speech, speech[:-1])


def test_what_silence_has_no_score_for():
    with pytest.raises(ScoreError, match="silence"):
        si_sdr(np.zeros(100), np.ones(100))
    with pytest.raises(ScoreError, match="silent reference"):
        snr(np.zeros(100), np.ones(100))


def test_code_usage():
    even = code_usage(torch.arange(256), 65_536)
    assert (even.frames, even.used) == (256, 256)
    assert even.entropy_bits == pytest.approx(8)
    assert code_usage(torch.zeros(9, dtype=torch.long), 4).entropy_bits == 0
    assert bit_rate(65_536, 50) == 800
