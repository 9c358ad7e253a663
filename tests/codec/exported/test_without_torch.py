"""Decoding and speaking with exported files and llama.cpp do not import torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from neucodec_tts.codec.arrays import load_array_codec
from tests.parity.comparisons import MIN_SNR, snr

# A command, then the check; torch is installed here, so that any import of it would succeed.
SCRIPT = """
import sys
from neucodec_tts.cli import main
try:
    main(sys.argv[1:])
finally:
    loaded = {"torch", "torchaudio"} & set(sys.modules)
    assert not loaded, loaded
"""


def run(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)  # a stream is no text
    assert done.returncode == 0, done.stderr.decode()


def test_decode(exported, tiny, codes, tmp_path):
    np.save(tmp_path / "codes.npy", codes.numpy().astype(np.uint16))
    run(tmp_path, "decode", "codes.npy", "-o", "sound.wav", "--codec", str(exported))
    samples, rate = soundfile.read(tmp_path / "sound.wav", dtype="float32")
    assert rate == 24_000
    assert snr(tiny.decode(codes), torch.from_numpy(samples)) > 50  # of 16 bits


@pytest.mark.llamacpp
def test_say(exported, tmp_path):
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed (make install compiles it)")
    pytest.importorskip("gguf")
    from neucodec_tts_llamacpp.conversion import convert_to_gguf

    model = convert_to_gguf("tiny", tmp_path / "tiny", "q8_0").file
    options = ("--model", str(model), "--codec", str(exported), "--no-watermark", "--seed", "1")
    run(tmp_path, "say", "They are all gone. I am here.", *options, "-o", "whole.wav")
    assert soundfile.info(tmp_path / "whole.wav").frames > 24_000
    run(tmp_path, "say", "They are all gone.", *options, "--stream")


def test_arrays_are_the_samples_of_the_codec(exported, tiny, codes):
    exact, theirs = load_array_codec(exported), load_array_codec("tiny", device="cpu")
    array = codes.numpy()
    for name in ("codec_id", "codebook_size", "frame_rate", "output_sample_rate", "output_hop_length"):
        assert getattr(exact, name) == getattr(theirs, name)
    for ours, expected in zip(
        exact.decode([array, array[:31]]), theirs.decode([array, array[:31]]), strict=True
    ):
        assert ours.dtype == expected.dtype == np.float32
        assert snr(torch.from_numpy(expected), torch.from_numpy(ours)) >= MIN_SNR
    assert exact.codec.decode(codes[:31]).equal(torch.from_numpy(exact.decode([array[:31]])[0]))
    assert theirs.device_name == exact.device_name == "cpu"
