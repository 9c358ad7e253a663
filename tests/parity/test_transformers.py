"""Ours against ``NeuCodecModel`` and ``NeuCodecFeatureExtractor`` of transformers, and checkpoints moved both ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from neucodec_tts import NeuCodec
from tests.parity import cases
from tests.parity.comparisons import Agreement
from tests.parity.ours import decode_in_one_batch, encode_each, encode_in_one_batch, encode_list, random_codec
from tests.parity.signals import speechlike
from tests.parity.sizes import full_config, small_config
from tests.parity.theirs import Theirs


@pytest.fixture(scope="module")
def theirs() -> Theirs:
    """Their model, small, with random weights."""
    return Theirs.random(small_config(), cases.calibration(), seed=7)


@pytest.fixture(scope="module")
def their_folder(theirs: Theirs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their files."""
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def ours(their_folder: Path) -> NeuCodec:
    """Our codec, with their weights from their folder."""
    return NeuCodec.from_pretrained(their_folder)


def check_codes(theirs: Theirs, waveforms: Mapping[str, np.ndarray], *answers: Mapping[str, Tensor]) -> None:
    """Compare each of several ways to encode the same waveforms with theirs."""
    expected = {name: theirs.encode(waveform) for name, waveform in waveforms.items()}
    for codes in answers:
        agreement = Agreement()
        for name, (code, bounded) in expected.items():
            agreement.add_codes(name, code, codes[name], bounded)
        agreement.check()


def check_audio(theirs: Theirs, codes: Mapping[str, np.ndarray], *answers: Mapping[str, Tensor]) -> None:
    """Compare each of several ways to decode the same codes with theirs."""
    expected = {name: theirs.decode(sequence) for name, sequence in codes.items()}
    for audio in answers:
        agreement = Agreement()
        for name, samples in expected.items():
            agreement.add_audio(name, samples, audio[name])
        agreement.check()


@pytest.mark.parametrize("group", [cases.around_multiples, cases.spoken, cases.ragged, cases.unusual])
def test_codes(theirs: Theirs, ours: NeuCodec, group: Callable[[], dict[str, np.ndarray]]):
    waveforms = group()
    alone, listed = encode_each(ours, waveforms), encode_list(ours, waveforms)
    check_codes(theirs, waveforms, alone, listed, encode_in_one_batch(ours, waveforms))


@pytest.mark.parametrize("group", [cases.code_sequences, cases.ragged_codes])
def test_samples(theirs: Theirs, ours: NeuCodec, group: Callable[[], dict[str, np.ndarray]]):
    codes = group()
    alone = {name: ours.decode(sequence) for name, sequence in codes.items()}
    listed = dict(zip(codes, ours.decode(list(codes.values())), strict=True))
    check_audio(theirs, codes, alone, listed, decode_in_one_batch(ours, codes))


def test_there_and_back(their_folder: Path, ours: NeuCodec, tmp_path: Path):
    """Their folder, read and written by us, is read by them as the first was, with equal tensors and settings."""
    ours.save_pretrained(tmp_path)
    before, after = Theirs.from_pretrained(their_folder), Theirs.from_pretrained(tmp_path)
    assert_equal_tensors(before.model.state_dict(), after.model.state_dict())
    ours_alone = {"codec_id", "_name_or_path"}
    settings = [
        {k: v for k, v in x.model.config.to_dict().items() if k not in ours_alone} for x in (before, after)
    ]
    assert settings[0] == settings[1]
    assert before.extractor.to_dict() == after.extractor.to_dict()


def test_ours_is_read_by_them(tmp_path: Path):
    codec = random_codec(small_config(), seed=3)
    codec.save_pretrained(tmp_path)
    theirs = Theirs.from_pretrained(tmp_path)
    waveforms, codes = {"speech": speechlike(20_000, seed=3)}, {"codes": np.arange(0, 65_536, 1_111)}
    check_codes(theirs, waveforms, encode_each(codec, waveforms))
    check_audio(theirs, codes, {"codes": codec.decode(codes["codes"])})


def test_theirs_in_shards_and_in_half_precision(theirs: Theirs, tmp_path: Path):
    sharded, half = tmp_path / "sharded", tmp_path / "half"
    theirs.save_pretrained(sharded, max_shard_size="2MB")
    assert (sharded / "model.safetensors.index.json").exists()
    expected = theirs.model.state_dict()
    assert_equal_tensors(expected, NeuCodec.from_pretrained(sharded).state_dict())

    NeuCodec.from_pretrained(sharded, dtype="float16").save_pretrained(half)
    expected = {name: tensor.half() for name, tensor in expected.items()}
    read, read_by_them = NeuCodec.from_pretrained(half, dtype="auto"), Theirs.from_pretrained(half).model
    assert read.dtype == read_by_them.dtype == torch.float16
    assert_equal_tensors(expected, read_by_them.state_dict())
    # Ours keeps a few small parts as they were.
    actual = read.state_dict()
    kept = {name for name, tensor in actual.items() if tensor.dtype == torch.float32}
    assert 0 < len(kept) < len(actual) / 2
    original = theirs.model.state_dict()
    assert_equal_tensors(expected | {name: original[name] for name in kept}, actual)


def assert_equal_tensors(expected: Mapping[str, Tensor], actual: Mapping[str, Tensor]) -> None:
    assert expected.keys() == actual.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, actual[name]), name


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_full_size(tmp_path: Path):
    """The released sizes: five seconds, a ragged batch, and both back to audio."""
    theirs = Theirs.random(full_config(), speechlike(32_000, seed=5))
    theirs.save_pretrained(tmp_path)
    codec = NeuCodec.from_pretrained(tmp_path)
    five = {"five": speechlike(80_000, seed=1)}
    ragged = {f"ragged{n}": speechlike(n, seed=n) for n in (321, 9_000, 24_000)}
    random = np.random.default_rng(0)
    codes = {f"codes{n}": random.integers(0, cases.CODEBOOK_SIZE, n) for n in (1, 60, 500)}
    check_codes(theirs, five, encode_each(codec, five))
    check_codes(theirs, ragged, encode_in_one_batch(codec, ragged))
    check_audio(theirs, codes, decode_in_one_batch(codec, codes))
