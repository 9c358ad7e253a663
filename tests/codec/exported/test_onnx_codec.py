"""A codec made of ONNX files is used as any other."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neucodec_tts import CheckpointError, CodesError, DeviceError, DistillNeuCodec, NeuCodec, TextToSpeech
from neucodec_tts.codec.onnx import network
from neucodec_tts.codec.onnx.export import export
from neucodec_tts.codec.onnx.onnx_codec import OnnxCodec
from tests.assets import DEMO
from tests.parity.comparisons import MIN_SNR, snr
from tests.parity.ours import random_codec
from tests.parity.sizes import small_distilled_config


@pytest.fixture(scope="module")
def loaded(exported) -> NeuCodec:
    return NeuCodec.from_pretrained(exported)


def test_the_folder_loads_by_itself(loaded, tiny, exported):
    assert isinstance(loaded, OnnxCodec)
    assert isinstance(NeuCodec.from_pretrained(exported, backend="onnxruntime"), OnnxCodec)
    assert not isinstance(tiny, OnnxCodec)
    assert (loaded.codec_id, loaded.codebook_size) == (tiny.codec_id, tiny.codebook_size)
    assert (loaded.input_sample_rate, loaded.output_sample_rate) == (16_000, 24_000)
    assert (loaded.input_hop_length, loaded.output_hop_length, loaded.frame_rate) == (320, 480, 50)
    assert (loaded.sample_rate, loaded.hop_length) == (24_000, 480), "upstream's names"
    assert loaded.encoder_fingerprint() == tiny.encoder_fingerprint()
    assert str(loaded.eval().device) == "cpu"


def test_it_encodes_and_decodes(loaded, tiny, codes):
    assert loaded.encode(DEMO).equal(codes)
    assert snr(tiny.decode(codes), loaded.decode(codes)) >= MIN_SNR
    both = loaded.decode([codes[:31], codes[:77]])
    assert both[0].equal(loaded.decode(codes[:31]))
    assert both[1].equal(loaded.decode(codes[:77]))
    wave = torch.randn(2, 1, 8_000, generator=torch.manual_seed(0)) * 0.1
    assert loaded.encode_code(wave).equal(tiny.encode_code(wave))
    with pytest.raises(CodesError, match=r"outside this codec's 0 to 16383"):
        loaded.decode([20_000])


@settings(max_examples=5)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_streams_do_not_depend_on_the_split(loaded, tiny, codes, sizes):
    codes = codes[:120]
    with loaded.stream() as decoder:
        whole = torch.cat([decoder.push(codes), decoder.flush()])
        pieces, start = [], 0
        for size in sizes:
            pieces.append(decoder.push(codes[start : start + size]))
            start += size
        pieces += [decoder.push(codes[start:]), decoder.flush()]
    assert torch.cat(pieces).equal(whole)
    with tiny.stream() as decoder:
        assert snr(torch.cat([decoder.push(codes), decoder.flush()]), whole) >= MIN_SNR


def test_long_items_go_through_windows(loaded, tiny, monkeypatch):
    monkeypatch.setattr(network, "EXACT_SECONDS", 12.0)
    codes = torch.randint(16_384, (50 * 30,), generator=torch.manual_seed(0))
    wave = loaded.decode(codes)
    assert wave.shape == (480 * 50 * 30,)
    assert snr(tiny.decode(codes)[:24_000], wave[:24_000]) > 10
    assert loaded.encode(wave[: 24_000 * 20], 24_000).shape == (50 * 20,)


def test_a_distilled_one(tmp_path):
    codec = random_codec(small_distilled_config())
    export(codec, tmp_path)
    loaded = NeuCodec.from_pretrained(tmp_path)
    wave = torch.randn(5_000, generator=torch.manual_seed(0))
    assert loaded.encode(wave, 16_000).equal(codec.encode(wave, 16_000))
    assert loaded.encode(wave[:1], 16_000).numel() == 1
    assert DistillNeuCodec.from_pretrained(tmp_path).codec_id == codec.codec_id


def test_it_speaks(exported):
    tts = TextToSpeech.from_pretrained("tiny", codec=exported, watermark=False)
    assert isinstance(tts.codec, OnnxCodec)
    expected = TextToSpeech.from_pretrained("tiny", watermark=False).speak("They are all gone.", seed=3)
    result = tts.speak("They are all gone.", seed=3)
    assert snr(torch.from_numpy(expected.samples), torch.from_numpy(result.samples)) >= MIN_SNR
    with tts.stream("They are all gone.", seed=3) as speech:
        assert sum(chunk.size for chunk in speech) == result.samples.size


def test_it_is_on_the_cpu(exported):
    with pytest.raises(DeviceError, match=r"ONNX Runtime computes on the CPU here, not on meta"):
        NeuCodec.from_pretrained(exported, device="meta")


def test_backends_that_the_files_are_not_for(exported):
    with pytest.raises(
        CheckpointError, match=r"tiny holds no ONNX files.*neucodec-tts export tiny -o FOLDER"
    ):
        NeuCodec.from_pretrained("tiny", backend="onnxruntime")
    with pytest.raises(CheckpointError, match=r"neither model.safetensors nor a .bin file for torch"):
        NeuCodec.from_pretrained(exported, backend="torch")
    with pytest.raises(CheckpointError, match=r"backend is 'jax'; it must be 'torch' or 'onnxruntime'"):
        NeuCodec.from_pretrained(exported, backend="jax")
    with pytest.raises(CheckpointError, match=r"holds a NeuCodec, not a DistillNeuCodec"):
        DistillNeuCodec.from_pretrained(exported)


def test_what_only_a_checkpoint_has(loaded, tmp_path):
    with pytest.raises(CheckpointError, match=r"made of ONNX files; export the checkpoint"):
        export(loaded, tmp_path)
    with pytest.raises(AttributeError, match=r"load the checkpoint that they were exported from"):
        loaded.decode_latents(torch.zeros(1, 2, 3))


def test_a_decoder_of_the_published_form(exported, tiny, tmp_path):
    """Neuphonic's repositories hold ``model.onnx`` alone, of NeuCodec's codebook."""
    (tmp_path / "model.onnx").write_bytes((exported / "model.onnx").read_bytes())
    published = NeuCodec.from_pretrained(tmp_path)
    assert published.codebook_size == 65_536
    assert snr(tiny.decode([1, 2, 3]), published.decode([1, 2, 3])) >= MIN_SNR
    with pytest.raises(CheckpointError, match=r"has no streaming_decoder.onnx, which streaming needs"):
        published.stream().push(list(range(40)))
    with pytest.raises(CheckpointError, match=r"has no encoder.onnx, which encoding needs"):
        published.encode(np.zeros(16_000, np.float32), 16_000)


def test_a_missing_package_is_named(exported, tiny, tmp_path, monkeypatch):
    install = r'which is not installed: pip install "neucodec-tts\[onnx\]"'
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CheckpointError, match=f"exporting needs onnx, {install}"):
        export(tiny, tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(CheckpointError, match=f"streaming_decoder.onnx needs onnxruntime, {install}"):
        NeuCodec.from_pretrained(exported).decode([1])


def test_a_session_needs_no_torch(exported):
    script = """
import subprocess
import sys
from pathlib import Path
import numpy as np
from neucodec_tts.codec.onnx.session import Session
(audio,) = Session(Path(sys.argv[1]), ["codes"]).run(codes=np.array([[[1, 2, 3]]], np.int32))
assert audio.shape == (1, 1, 1440)
assert not {"torch", "transformers", "onnx"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script, exported / "model.onnx"], check=True)
