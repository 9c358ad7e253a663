"""Small models with random weights of every kind that the table compares, and a folder of recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import (
    DacConfig,
    DacModel,
    EncodecConfig,
    EncodecModel,
    MimiConfig,
    MimiModel,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
)

from neucodec_tts import NeuCodec
from tests.assets import ASSETS
from tests.parity.ours import random_codec
from tests.parity.sizes import small_config, small_distilled_config


def small_dac() -> Any:
    return DacModel(
        DacConfig(encoder_hidden_size=8, decoder_hidden_size=64, n_codebooks=9, sampling_rate=16_000)
    )


def small_mimi() -> Any:
    return MimiModel(
        MimiConfig(
            hidden_size=32,
            num_filters=4,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=32,
            codebook_size=64,
            codebook_dim=16,
            vector_quantization_hidden_dimension=16,
            num_quantizers=16,
            upsample_groups=32,
        )
    )


def small_encodec() -> Any:
    return EncodecModel(EncodecConfig(hidden_size=32, codebook_dim=32, num_filters=4, codebook_size=64))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name of a kind to a folder with a model of it."""
    torch.manual_seed(0)
    made: dict[str, Any] = {
        "dac": small_dac(),
        "mimi": small_mimi(),
        "encodec": small_encodec(),
        "neucodec": random_codec(small_config()),
        "neucodec-44k": random_codec(small_config(44_100, 4)),
        "distill-neucodec": random_codec(small_distilled_config()),
    }
    for name in ("mimi", "encodec"):  # whose codebooks are zeros at first
        for key, buffer in made[name].named_buffers():
            if key.endswith(("embed", "embed_sum")):
                buffer.normal_()
    xcodec2 = NeuCodec(small_config(16_000))
    made["xcodec2"] = random_codec(xcodec2.config)
    root = tmp_path_factory.mktemp("codecs")
    for name, model in made.items():
        model.eval().save_pretrained(root / name)
    return {name: root / name for name in made}


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of other rates, one too short for PESQ and STOI, and a transcript."""
    folder = tmp_path_factory.mktemp("recordings")
    samples, rate = soundfile.read(ASSETS / "demo.flac", dtype="float32")
    soundfile.write(folder / "a.wav", samples[: 3 * rate], rate)
    (folder / "a.txt").write_text("All representatives of the household", encoding="utf-8")
    (folder / "below").mkdir()
    soundfile.write(folder / "below" / "b.flac", samples[3 * rate : 5 * rate : 2], rate // 2)
    soundfile.write(folder / "short.wav", np.sin(np.arange(1600) / 5).astype(np.float32) / 4, 16_000)
    return folder


@pytest.fixture(scope="session")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model for transformers' pipeline; it hears words, but not those that are said."""
    folder = tmp_path_factory.mktemp("recogniser")
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    (folder / "vocab.json").write_text(json.dumps({letter: i for i, letter in enumerate(letters)}))
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(letters),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    model = Wav2Vec2ForCTC(config).eval()
    with torch.no_grad():
        model.lm_head.weight.normal_()
        model.lm_head.bias[:5] = -1000  # it always hears letters
    model.save_pretrained(folder)
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    return folder
