"""Runs upstream's NeuCodec (PyPI ``neucodec`` 0.0.6) and writes what it answers, for a test to compare with.

Upstream needs an environment of its own, so this is a script, not a module of the tests: it is run by that
environment's Python, imports nothing of this project's package, and talks through a folder for each model:

    request.json          what to do, see ``main``
    inputs.safetensors    the waveforms and code sequences that the request names
    checkpoint/           written: upstream's ``pytorch_model.bin`` with random weights
    outputs.safetensors   written: codes/NAME, bounded/NAME (what was rounded to codes), audio/NAME
    outcome.json          written: the error of every case that upstream does not handle, and its attributes

Usage: python upstream_reference.py FOLDER...
"""

from __future__ import annotations

import argparse
import json
import time
import wave
from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

import neucodec.codec_encoder_distill as distilled
import neucodec.model as upstream
import numpy as np
import torch
from random_weights import make_audible, randomise, spread_codes
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    HubertConfig,
    HubertModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2FeatureExtractor,
)

# Training-only parts that the released file still holds and upstream drops by name.
_UNUSED_KEYS = {
    "fc_post_s.weight": (8, 8),
    "fc_post_s.bias": (8,),
    "SemanticDecoder_module.initial_conv.weight": (8, 8, 3),
}


def decoder_of(config: dict) -> AbstractContextManager:
    """A context in which upstream makes its decoder in the configuration's sizes."""
    decoder = upstream.CodecDecoderVocos
    return mock.patch.object(
        upstream,
        "CodecDecoderVocos",
        lambda hop_length, **_: decoder(
            hidden_dim=config["hidden_size"],
            depth=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            pos_meb_dim=config["head_dim"],
            hop_length=hop_length,
            vq_dim=config["quantization_dim"],
        ),
    )


def output_of(config: dict) -> tuple[int, int]:
    """Rate in Hz and hop in samples of the decoder."""
    rate = config["output_sampling_rate"]
    return rate, rate // 50


def build(config: dict) -> upstream.NeuCodec:
    """Upstream's model by its own constructor, with the sizes that it hard-codes replaced by the configuration's.

    Args:
        config: ``NeuCodecConfig`` as a dictionary; ``semantic_layers`` says how many layers upstream's own
            semantic model has (it makes more than the 16 that it uses).
    """
    semantic = config["semantic_model_config"]
    semantic_size, hidden = semantic["hidden_size"], config["hidden_size"]
    both = semantic_size + hidden
    semantic_config = Wav2Vec2BertConfig(
        **{**semantic, "num_hidden_layers": config["semantic_layers"], "output_hidden_states": True}
    )
    extractor = SeamlessM4TFeatureExtractor(
        feature_size=80, num_mel_bins=80, sampling_rate=16_000, stride=2, padding_value=1
    )
    encoder, adapter = upstream.CodecEncoder, upstream.SemanticEncoder
    with (
        mock.patch.object(
            upstream.Wav2Vec2BertModel, "from_pretrained", lambda *_, **__: Wav2Vec2BertModel(semantic_config)
        ),
        mock.patch.object(upstream.AutoFeatureExtractor, "from_pretrained", lambda *_, **__: extractor),
        mock.patch.object(
            upstream,
            "CodecEncoder",
            lambda: encoder(
                ngf=config["encoder_hidden_size"],
                up_ratios=list(config["downsampling_ratios"]),
                hidden_dim=hidden,
            ),
        ),
        decoder_of(config),
        mock.patch.object(
            upstream, "SemanticEncoder", lambda *_: adapter(semantic_size, semantic_size, semantic_size)
        ),
    ):
        model = upstream.NeuCodec(*output_of(config))
    model.fc_prior = nn.Linear(both, both)
    model.fc_post_a = nn.Linear(both, hidden)
    return model.eval()


def build_distilled(config: dict) -> upstream.DistillNeuCodec:
    """As ``build``, for upstream's distilled model and ``DistillNeuCodecConfig`` as a dictionary."""
    semantic_config = HubertConfig(**{**config["semantic_model_config"], "output_hidden_states": True})
    extractor = Wav2Vec2FeatureExtractor(do_normalize=config["normalize_waveform"])
    semantic_size, acoustic_size = semantic_config.hidden_size, config["acoustic_size"]
    feature_size, quantization_dim = config["encoder_hidden_size"], config["quantization_dim"]
    adapter = upstream.SemanticEncoder
    with (
        mock.patch.object(
            upstream.HubertModel, "from_pretrained", lambda *_, **__: HubertModel(semantic_config)
        ),
        mock.patch.object(upstream.AutoFeatureExtractor, "from_pretrained", lambda *_, **__: extractor),
        decoder_of(config),
        mock.patch.object(
            upstream,
            "SemanticEncoder",
            lambda *_: adapter(semantic_size, semantic_size, config["semantic_adapter_size"]),
        ),
    ):
        model = upstream.DistillNeuCodec(*output_of(config))
    if feature_size != 512:  # at the released sizes upstream's own constructor has made it
        *strides, rate = config["downsampling_ratios"]
        model.codec_encoder.encoder = distilled.Encoder(
            feature_dim=feature_size,
            strides=tuple(strides),
            depths=tuple(config["encoder_depths"]),
            dims=tuple(config["encoder_channels"]),
        )
        model.codec_encoder.en_encoder = distilled.CompressedLocalEncoderWithCache(
            feature_dim=feature_size,
            local_window_size=config["attention_window"],
            compress_rate=rate,
            cache_size=0,
            depth=sum(config["encoder_num_layers"]),
            use_dynamic_pos_bias=True,
        )
        model.fc_prior = nn.Linear(semantic_size + acoustic_size, quantization_dim)
        model.fc_sq_prior = nn.Linear(feature_size, acoustic_size)
        model.fc_post_a = nn.Linear(quantization_dim, config["hidden_size"])
    return model.eval()


def checkpoint_of(model: upstream.NeuCodec) -> dict[str, Tensor]:
    """A state dictionary like that of the released ``pytorch_model.bin``, as far as it is known.

    It holds parts that only training used. The decoder's convolutions are there twice, plain and weight-normed:
    upstream, whose decoder has no weight norm, loads the plain ones and ignores the others.
    """
    state = dict(model.state_dict())
    if isinstance(model, upstream.DistillNeuCodec):
        return state  # of whose file it is known that it holds nothing else
    for name, module in model.generator.backbone.named_modules():
        if isinstance(module, nn.Conv1d):
            norm = module.weight.detach().flatten(1).norm(dim=1).view(-1, 1, 1)
            state[f"generator.backbone.{name}.weight_g"] = norm
            state[f"generator.backbone.{name}.weight_v"] = module.weight.detach() * 2
    for key, shape in _UNUSED_KEYS.items():
        state[key] = torch.randn(shape)
    return state


def load_audio(path: str) -> tuple[Tensor, int]:
    """A 16-bit WAV file as ``torchaudio.load`` returns it, float32 (channels, samples) and the rate in Hz.

    torchaudio itself hands files to torchcodec, which has no build for a CPU-only torch.
    """
    with wave.open(path) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
        channels = samples.reshape(-1, file.getnchannels()).T
        return torch.from_numpy(channels.astype(np.float32) / 32768), file.getframerate()


def encode(model: upstream.NeuCodec, audio: Tensor | str) -> tuple[Tensor, Tensor]:
    """Codes (B, 1, F), and the values (B, F, 8) that were rounded to them."""
    seen: list[Tensor] = []
    quantizer = model.generator.quantizer
    bound = quantizer.layers[0].bound
    handle = quantizer.project_in.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        codes = model.encode_code(audio)
    finally:
        handle.remove()
    return codes, bound(bound(seen[0]))


@torch.no_grad()
def main(folder: Path) -> None:
    """Carry out ``request.json``.

    Its keys: ``config``; ``seed``; ``save`` (keys of the checkpoint: "all", "without_semantic" or "none");
    ``encode`` (names of waveforms (B, 1, T) at 16 kHz among the inputs); ``encode_files`` (name to path);
    ``decode`` (names of codes (B, 1, F)). The waveform ``calibration`` decides the spread of the codes.
    """
    torch.set_num_threads(1)  # of two threads on a busy machine, one always waits for the other
    request = json.loads((folder / "request.json").read_text())
    inputs = load_file(folder / "inputs.safetensors")
    config = request["config"]
    model = build_distilled(config) if config["model_type"] == "distill_neucodec" else build(config)
    randomise(model, request["seed"])
    gain = spread_codes(
        model.generator.quantizer.project_in, lambda: model.encode_code(inputs["calibration"])
    )
    make_audible(model.generator.head.out)

    semantic_model = model.semantic_model
    (folder / "checkpoint").mkdir(exist_ok=True)
    if request["save"] != "none":
        state = checkpoint_of(model)
        if request["save"] == "without_semantic":
            state = {key: value for key, value in state.items() if not key.startswith("semantic_model.")}
            semantic_model.save_pretrained(folder / "semantic_model")
            model.feature_extractor.save_pretrained(folder / "semantic_model")
        torch.save(state, folder / "checkpoint" / "pytorch_model.bin")
        del state

    outputs: dict[str, Tensor] = {}
    errors: dict[str, str] = {}
    seconds: dict[str, float] = {}
    sources = {name: inputs[name] for name in request["encode"]} | request["encode_files"]
    with mock.patch.object(upstream.torchaudio, "load", load_audio):
        for name, source in sources.items():
            start = time.perf_counter()
            try:
                codes, bounded = encode(model, source)
            except Exception as error:  # what upstream does not handle is part of the answer
                errors[name] = f"{type(error).__name__}: {error}"
                continue
            outputs[f"codes/{name}"], outputs[f"bounded/{name}"] = codes.contiguous(), bounded.contiguous()
            seconds[name] = time.perf_counter() - start
    for name in request["decode"]:
        start = time.perf_counter()
        outputs[f"audio/{name}"] = model.decode_code(inputs[name]).contiguous()
        seconds[name] = time.perf_counter() - start
    save_file(outputs, folder / "outputs.safetensors")
    attributes = {name: str(getattr(model, name)) for name in ("sample_rate", "hop_length", "device")}
    attributes["codes"] = str(model.encode_code(inputs["calibration"]).dtype)
    outcome = {"gain": gain, "errors": errors, "seconds": seconds, "attributes": attributes}
    (folder / "outcome.json").write_text(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders", type=Path, nargs="+", help="each holds request.json and inputs.safetensors"
    )
    for each in parser.parse_args().folders:
        main(each)
