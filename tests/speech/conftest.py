"""What the tests of the pipeline share."""

from __future__ import annotations

import numpy as np
import pytest

from neucodec_tts import NeuCodec
from tests.assets import ASSETS
from tests.speech.scripted import Stage


@pytest.fixture(scope="session")
def codec() -> NeuCodec:
    return NeuCodec.from_pretrained("tiny")


@pytest.fixture(scope="session")
def stage(codec: NeuCodec) -> Stage:
    return Stage.build(codec)


@pytest.fixture(scope="session")
def speech_codes(codec: NeuCodec) -> np.ndarray:
    """Codes of 9 s of human speech."""
    return codec.encode(ASSETS / "demo.flac").numpy()
