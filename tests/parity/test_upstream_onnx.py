"""Upstream's own class for ONNX decoders, which ``neutts`` uses, loads ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from neucodec_tts import NeuCodec
from neucodec_tts.codec.onnx.decoder import decoder_graph
from tests.parity.comparisons import MIN_SNR, snr

_SCRIPT = """
import sys
import numpy as np
from neucodec import NeuCodecOnnxDecoder
codes, model, audio = sys.argv[1:]
np.save(audio, NeuCodecOnnxDecoder(model).decode_code(np.load(codes)))
"""


@pytest.mark.slow
@pytest.mark.upstream
def test_upstreams_decoder_takes_our_file(upstream: Path, tmp_path: Path) -> None:
    codec = NeuCodec.from_pretrained("tiny")
    (tmp_path / "model.onnx").write_bytes(decoder_graph(codec).model({}).SerializeToString())
    # As neutts 1.4.1 calls it: int32 (1, 1, frames).
    codes = np.random.default_rng(0).integers(codec.codebook_size, size=(1, 1, 80)).astype(np.int32)
    np.save(tmp_path / "codes.npy", codes)
    files = [tmp_path / name for name in ("codes.npy", "model.onnx", "audio.npy")]
    subprocess.run([upstream, "-c", _SCRIPT, *files], check=True, cwd=tmp_path)
    audio = np.load(tmp_path / "audio.npy")
    assert snr(codec.decode(codes[0, 0]), torch.from_numpy(audio[0, 0])) >= MIN_SNR
