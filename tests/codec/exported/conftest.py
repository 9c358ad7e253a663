"""``tiny`` as ONNX files, in float32 and in 8 bits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from neucodec_tts import NeuCodec
from neucodec_tts.codec.onnx.export import export
from tests.assets import DEMO


@pytest.fixture(scope="session")
def tiny() -> NeuCodec:
    return NeuCodec.from_pretrained("tiny")


@pytest.fixture(scope="session")
def exported(tiny: NeuCodec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder, in float32. Not to be written to."""
    folder = tmp_path_factory.mktemp("float32")
    export(tiny, folder)
    return folder


@pytest.fixture(scope="session")
def exported_int8(tiny: NeuCodec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder, in 8 bits and float16. Not to be written to."""
    folder = tmp_path_factory.mktemp("int8")
    export(tiny, folder, int8=True, half=True)
    return folder


@pytest.fixture(scope="session")
def codes(tiny: NeuCodec) -> Tensor:
    """Of the shipped recording."""
    return torch.as_tensor(tiny.encode(DEMO))
