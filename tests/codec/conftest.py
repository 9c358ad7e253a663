"""A small codec with random weights that uses its whole codebook, and speech-like noise to encode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from neucodec_tts import NeuCodec
from tests.parity.ours import random_codec
from tests.parity.signals import speechlike
from tests.parity.sizes import small_config


@pytest.fixture(scope="session")
def codec() -> NeuCodec:
    """2.4 M parameters, float32, on the CPU."""
    return random_codec(small_config())


@pytest.fixture(scope="session")
def speech() -> Callable[[float], Tensor]:
    """Seconds to a waveform (samples,) at 16 kHz, the same for the same number of seconds."""

    def make(seconds: float) -> Tensor:
        samples = round(seconds * 16_000)
        return torch.as_tensor(speechlike(samples, seed=samples))

    return make
