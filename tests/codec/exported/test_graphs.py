"""The graphs themselves, run as anybody's ONNX Runtime runs them, against torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import NeuCodecConfig

from neucodec_tts import NeuCodec
from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig
from neucodec_tts.codec.onnx import export as exporting
from neucodec_tts.codec.onnx.decoder import decoder_graph, streaming_decoder_graph
from neucodec_tts.codec.onnx.encoder import encoder_graph
from neucodec_tts.codec.onnx.export import export
from neucodec_tts.codec.onnx.graph import OPSET, Graph
from neucodec_tts.codec.streaming import Stream, StreamSettings, Window
from neucodec_tts.metrics.scores import stoi
from tests.parity.comparisons import MIN_EQUAL, MIN_SNR, snr
from tests.parity.ours import random_codec
from tests.parity.signals import speechlike
from tests.parity.sizes import SMALL_WINDOW, small_config, small_distilled_config


def session(graph: Graph) -> onnxruntime.InferenceSession:
    model = graph.model({})
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]
    assert all(node.domain == "" for node in model.graph.node)  # no custom operator
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def changed(**changes: object) -> NeuCodecConfig:
    config: NeuCodecConfig = NeuCodecConfig.from_dict(small_config().to_dict() | changes)
    return config


def distilled(**changes: object) -> DistillNeuCodecConfig:
    config: DistillNeuCodecConfig = DistillNeuCodecConfig.from_dict(
        small_distilled_config().to_dict() | changes
    )
    return config


ENCODERS: dict[str, Callable[[], NeuCodecConfig]] = {
    "NeuCodec": small_config,
    "X-Codec 2": lambda: changed(semantic_margin=160, quantization_levels=[5, 3, 8, 4]),
    "distilled": lambda: distilled(attention_window=SMALL_WINDOW),
    "normalized": lambda: distilled(normalize_waveform=True),
}


@pytest.mark.parametrize("rate", [24_000, 44_100])
def test_the_decoder_gives_torchs_samples(rate):
    codec = random_codec(changed(output_sampling_rate=rate, quantization_levels=[5, 3, 8, 4]))
    run = session(decoder_graph(codec)).run
    for frames in (1, 2, 3, 50, 333):
        codes = torch.randint(codec.codebook_size, (frames,), generator=torch.manual_seed(frames))
        (audio,) = run(None, {"codes": codes.int().numpy()[None, None]})
        assert snr(codec.decode(codes), torch.from_numpy(audio[0, 0])) >= MIN_SNR


@pytest.mark.parametrize("name", ENCODERS)
def test_the_encoder_gives_torchs_codes(name):
    codec = random_codec(ENCODERS[name]())
    run = session(encoder_graph(codec)).run
    equal, count = 0, 0
    for samples in (320, 321, 640, 5_119, 16_000, 50_001):
        waveform = speechlike(samples, seed=samples)
        (codes,) = run(None, {"audio": waveform[None, None]})
        expected = codec.encode(waveform, 16_000).numpy()
        assert codes.shape == (1, 1, len(expected))
        equal, count = equal + int((codes[0, 0] == expected).sum()), count + len(expected)
    assert equal / count >= MIN_EQUAL


def test_the_decoder_takes_batches(codec):
    codes = np.random.default_rng(0).integers(codec.codebook_size, size=(3, 1, 40)).astype(np.int32)
    (audio,) = session(decoder_graph(codec)).run(None, {"codes": codes})
    for expected, actual in zip(codec.decode([*codes[:, 0]]), audio[:, 0], strict=True):
        assert snr(expected, torch.from_numpy(actual)) >= MIN_SNR


def test_the_interface_is_that_of_the_published_decoder(exported):
    run = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    (codes,), (audio,) = run.get_inputs(), run.get_outputs()
    assert (codes.name, codes.type, codes.shape) == ("codes", "tensor(int32)", ["batch", 1, "frames"])
    assert (audio.type, audio.shape) == ("tensor(float)", ["batch", 1, "samples"])


@pytest.mark.parametrize("lookback", [0, 7, 50])
def test_the_streaming_decoder_has_torchs_memory(codec, lookback):
    settings = StreamSettings(lookback=lookback, chunk=20)
    stream: Stream[torch.Tensor] = Stream(settings, codec.output_hop_length)
    stream.push(torch.randint(codec.codebook_size, (120,), generator=torch.manual_seed(0)))
    stream.finish()
    run = session(streaming_decoder_graph(codec)).run
    memory = np.zeros(codec.acoustic_decoder.memory_layout(lookback).size, np.float32)
    windows: list[Window] = []
    while (window := stream.next_window()) is not None:
        windows.append(window)
        audio, memory = run(
            None,
            {
                "codes": window.codes.int().numpy()[None, None],
                "memory": memory.reshape(1, -1),
                "settled": np.array([window.settled], np.int32),
                "before": np.array([window.start], np.int32),
            },
        )
        (decoded,) = codec.decode_windows([window])
        assert snr(decoded.audio, torch.from_numpy(audio[0, 0])) >= MIN_SNR
        assert snr(decoded.memory, torch.from_numpy(memory[0])) >= MIN_SNR
        stream.play(window, decoded)
    assert len(windows) > 8


def test_weights_in_float16_are_those_of_a_checkpoint_in_float16(tiny, exported, tmp_path):
    export(tiny, tmp_path, half=True)
    waveform = speechlike(30_000, seed=1)
    half, whole = NeuCodec.from_pretrained(tmp_path), NeuCodec.from_pretrained(exported)
    codes = whole.encode(waveform, 16_000)
    assert half.encode(waveform, 16_000).equal(codes)
    assert half.decode(codes).equal(whole.decode(codes))
    for name, limit in (("model.onnx", 0.6), ("streaming_decoder.onnx", 0.6), ("encoder.onnx", 0.7)):
        assert (tmp_path / name).stat().st_size < limit * (exported / name).stat().st_size


def test_8_bits_sound_the_same(tiny, exported, exported_int8, codes):
    heard = NeuCodec.from_pretrained(exported_int8).decode(codes)
    expected = tiny.decode(codes)
    assert snr(expected, heard) >= 26
    assert stoi(expected[::3].numpy(), heard[::3].numpy()) >= 0.99
    assert NeuCodec.from_pretrained(exported_int8).encode(expected[::3], 8_000).numel() > 0
    name = "streaming_decoder.onnx"
    assert (exported_int8 / name).stat().st_size < 0.35 * (exported / name).stat().st_size


def test_weights_that_are_too_large_for_a_file_lie_beside_it(tiny, exported, codes, tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_INLINE_BYTES", 2**22)
    sizes = {each.path.name: each.bytes for each in export(tiny, tmp_path / "large")}
    moved = (tmp_path / "large").rename(tmp_path / "moved")
    data = moved / "streaming_decoder.onnx.data"
    assert data.stat().st_size + data.with_suffix("").stat().st_size == sizes["streaming_decoder.onnx"]
    assert (
        NeuCodec.from_pretrained(moved).decode(codes).equal(NeuCodec.from_pretrained(exported).decode(codes))
    )


def test_an_export_is_the_same_each_time(tiny, exported, tmp_path):
    export(tiny, tmp_path)
    for path in sorted(Path(exported).iterdir()):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name
