"""What the tests of the vLLM plugin share: a small model, and the environment that vLLM needs on this machine."""

from __future__ import annotations

import os

import pytest

from neucodec_tts import NeuCodec
from tests.adapters.neucodec_tts_vllm.speaking_model import save_speaking_model

# Read by vLLM's processes when they start.
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


@pytest.fixture(scope="session")
def codec() -> NeuCodec:
    return NeuCodec.from_pretrained("tiny")


@pytest.fixture(scope="session")
def speaking_model(tmp_path_factory, codec):
    """The folder of a small random language model that speaks through `tiny`."""
    pytest.importorskip("vllm", reason="vLLM is not installed (make install brings its CPU build)")
    return save_speaking_model(tmp_path_factory.mktemp("model"), codec)
