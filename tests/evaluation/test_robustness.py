"""Flipped bits and the agreement of codes, against direct computations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from neucodec_tts.audio import as_waveform
from neucodec_tts.errors import CodesError
from neucodec_tts.evaluation.agreement import compare
from neucodec_tts.evaluation.bit_errors import channel, flip_bits, plot_bit_errors
from neucodec_tts.evaluation.codecs import OurCodec, load_codec
from neucodec_tts.evaluation.corpora import Clip
from neucodec_tts.evaluation.measuring import Measures
from neucodec_tts.evaluation.run import Results, evaluate_codec
from neucodec_tts.evaluation.table import summarise
from neucodec_tts.metrics.scores import mel_mse, stoi


def test_so_many_bits_are_flipped():
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, 65_536, (2, 5000)))
    for share in (0.0, 0.001, 0.05, 0.5, 1.0):
        flipped = flip_bits(codes, (65_536, 65_536), share, seed=1)
        changed = (codes ^ flipped).numpy()
        ones = sum(int((changed >> bit & 1).sum()) for bit in range(16))
        expected = share * 16 * codes.numel()
        assert abs(ones - expected) <= 5 * np.sqrt(expected * (1 - share) + 1)
        assert torch.equal(flipped, flip_bits(codes, (65_536, 65_536), share, seed=1))
    assert not torch.equal(flip_bits(codes, (65_536,) * 2, 0.05, 1), flip_bits(codes, (65_536,) * 2, 0.05, 2))


def test_codes_stay_in_codebooks_of_any_size():
    codes = torch.from_numpy(np.random.default_rng(0).integers(0, 1000, (1, 5000)))
    flipped = flip_bits(codes, (1000,), 0.3, seed=0)
    assert 0 <= int(flipped.min()) <= int(flipped.max()) < 1000
    assert flipped.dtype == torch.int64


def test_a_curve_is_that_of_a_direct_computation(folders: dict[str, Path], recordings: Path, tmp_path: Path):
    codec, clips = load_codec(str(folders["neucodec"]), "cpu"), [Clip.of(recordings / "a.wav")]
    assert isinstance(codec, OurCodec)
    results = Results(tmp_path / "results", {})
    wave = as_waveform(recordings / "a.wav", target_rate=16_000)
    codes = codec.codec.encode(wave, 16_000).numpy()
    curve = []
    for share in (0.0, 0.01, 0.1):
        evaluate_codec(
            str(share),
            codec,
            clips,
            Measures(["stoi", "mel_mse"]),
            results,
            lambda _: None,
            channel(codec, share, 3),
        )
        curve.append({**summarise(str(share), codec, results), "bit_errors": share})
        random = np.random.default_rng(3).random((codes.size, 16)) < share
        noisy = codes ^ (random * 2 ** np.arange(16)).sum(axis=1)
        resampled = as_waveform(codec.codec.decode(noisy), 24_000, target_rate=16_000).numpy()
        length = min(resampled.size, wave.numel())
        pair = wave.numpy()[:length], resampled[:length]
        assert curve[-1]["mel_mse"] == pytest.approx(mel_mse(*pair), abs=1e-3)
        assert curve[-1]["stoi"] == pytest.approx(stoi(*pair), abs=1e-3)
    assert curve[0]["mel_mse"] != curve[2]["mel_mse"]
    plot_bit_errors(tmp_path / "curve.png", {"random": curve}, "one recording")
    assert (tmp_path / "curve.png").stat().st_size > 5000


def test_agreement(folders: dict[str, Path]):
    first, second = (load_codec(str(folders[name]), "cpu") for name in ("neucodec", "distill-neucodec"))
    random = np.random.default_rng(0)
    codes = random.integers(0, 65_536, (1, 400))
    other = codes.copy()
    other[0, :100] ^= 0b01  # the lowest digit, of two bits, by one level
    other[0, 100:120] ^= 0b1000  # the second, by two
    found = compare(first, second, [(codes, np.pad(other, ((0, 0), (0, 1))))])
    assert (found.frames, found.codes) == (400, 280 / 400)
    assert found.digits == (300 / 400, 380 / 400, 1, 1, 1, 1, 1, 1)
    assert found.near_digits == 1 - 20 / (400 * 8)
    assert not found.one_codebook
    same = compare(first, first, [(codes, codes)])
    assert same.one_codebook
    assert same.cosine == pytest.approx(1)
    halves = [(codes[:, :150], other[:, :150]), (codes[:, 150:], other[:, 150:])]
    assert compare(first, second, halves).cosine == pytest.approx(found.cosine)
    vectors = [
        each.codec.quantizer.lookup(torch.from_numpy(its[0])).detach().numpy()
        for each, its in ((cast(Any, first), codes), (cast(Any, second), other))
    ]
    lengths = [np.linalg.norm(each, axis=1) for each in vectors]
    cosines = (vectors[0] * vectors[1]).sum(axis=1) / (lengths[0] * lengths[1])
    assert found.cosine == pytest.approx(cosines.mean(), abs=1e-3)


def test_what_cannot_be_compared(folders: dict[str, Path]):
    ours, theirs, tiny = (
        load_codec(name, "cpu") for name in (str(folders["neucodec"]), str(folders["mimi"]), "tiny")
    )
    codes = np.zeros((1, 5), np.int64)
    with pytest.raises(CodesError, match="digit by digit"):
        compare(ours, theirs, [(codes, codes)])
    with pytest.raises(CodesError, match="cannot agree"):
        compare(ours, tiny, [(codes, codes)])
    with pytest.raises(CodesError, match="no codes"):
        compare(ours, ours, [])
