"""A recording's codes do not depend on how it is handed over: as a file, an array, or resampled beforehand.

Resampling is upstream's, torchaudio's ``Resample`` with its defaults; that upstream gives the same codes for the
files themselves is seen in ``test_upstream.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.transforms import Resample

from neucodec_tts import NeuCodec
from tests.parity import cases
from tests.parity.ours import random_codec
from tests.parity.signals import speechlike
from tests.parity.sizes import small_config


@pytest.fixture(scope="module")
def random() -> NeuCodec:
    return random_codec(small_config())


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", cases.SAMPLE_RATES)
def test_a_file_an_array_and_the_resampled_array(random: NeuCodec, tmp_path: Path, rate: int, channels: int):
    samples = np.stack(
        [speechlike(rate + 321, seed=rate + i, sample_rate=rate) for i in range(channels)], axis=1
    )
    integers = np.round(samples * 32767).astype(np.int16)
    soundfile.write(tmp_path / "speech.wav", integers, rate)
    soundfile.write(tmp_path / "speech.flac", integers, rate)
    floats = integers.astype(np.float32) / 32768

    mono = torch.from_numpy(floats).mean(dim=1)
    resampled = mono if rate == 16_000 else Resample(rate, 16_000)(mono[None])[0]
    expected = random.encode(resampled, 16_000)
    assert len(expected) == len(resampled) // cases.HOP
    assert len(expected.unique()) > 40  # or equality says little

    answers = {
        "wav": random.encode(tmp_path / "speech.wav"),
        "flac": random.encode(str(tmp_path / "speech.flac")),
        "(samples, channels)": random.encode(floats, rate),
        "(channels, samples)": random.encode(torch.from_numpy(floats.T.copy()), rate, channels_first=True),
        "int16": random.encode(integers, rate),
        "float64": random.encode(floats.astype(np.float64), rate),
        "encode_code": random.encode_code(tmp_path / "speech.wav")[0, 0].long(),
    }
    for name, codes in answers.items():
        assert torch.equal(codes, expected), name


def test_a_list_of_files_of_all_rates_is_each_of_them(random: NeuCodec, audio_files: dict[str, Path]):
    together = random.encode(list(audio_files.values()))
    for path, codes in zip(audio_files.values(), together, strict=True):
        alone = random.encode(path)
        assert len(codes) == len(alone)
        assert (codes == alone).float().mean() > 0.99, path.name
