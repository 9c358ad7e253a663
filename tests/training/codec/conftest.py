"""A small codec of random weights and a corpus of synthetic voices, seconds long."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import NeuCodecConfig, Wav2Vec2BertConfig

from neucodec_tts import NeuCodec
from neucodec_tts.audio import load_audio
from neucodec_tts.training.codec.discriminators import DiscriminatorSizes
from neucodec_tts.training.codec.packed_speech import Recording
from neucodec_tts.training.codec.segments import SegmentSettings
from neucodec_tts.training.codec.settings import LossWeights, TrainingSettings


def small_codec(seed: int = 0, **changes: object) -> NeuCodec:
    """NeuCodec with a few thousand parameters."""
    torch.manual_seed(seed)
    semantic = Wav2Vec2BertConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conformer_conv_dropout=0.0,
        feature_projection_input_dim=160,
    )
    values: dict[str, object] = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "encoder_hidden_size": 1,
        "downsampling_ratios": [8, 5, 4, 2],
        "semantic_model_config": semantic,
        "activation_dropout": 0.0,
        "quantization_dim": 64,
        "quantization_levels": [4, 4, 4],
    }
    return NeuCodec(NeuCodecConfig(**(values | changes)))  # type: ignore[arg-type]


SETTINGS = TrainingSettings(
    train="scratch",
    steps=4,
    rate=1e-3,
    warmup=2,
    discriminators=DiscriminatorSizes(
        periods=(2,), period_channels=(2, 4), windows=(0.02,), spectrum_channels=2
    ),
    segments=SegmentSettings(batch_seconds=2.0, shortest=0.5, longest=0.7, changed_share=0.5),
    weights=LossWeights(mel=1.0, stft=0.5, cepstrum=1.0, envelope=1.0, spread=0.2, steady=0.2),
    log_every=1,
    save_every=1000,
    validate_every=1000,
)


def voice(seconds: float, rate: int, pitch: float, seed: int) -> np.ndarray:
    """A buzz whose loudness comes and goes, float32 (n,)."""
    time = np.arange(int(seconds * rate)) / rate
    random = np.random.default_rng(seed)
    tone = sum(np.sin(2 * np.pi * pitch * k * time + random.uniform(0, 6)) / k for k in range(1, 12))
    return (0.1 * tone * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def write_corpus(folder: Path, rate: int = 24_000, clips: int = 4, seconds: float = 1.2) -> Path:
    """A manifest of two speakers. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(clips):
        wave = voice(seconds, rate, 110 * (1 + number % 2), number)
        soundfile.write(folder / f"{number}.wav", wave, rate)
        rows.append(
            {"id": f"c{number}", "audio": f"{number}.wav", "text": "Hm.", "speaker": "ab"[number % 2]}
        )
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def listed(manifest: Path) -> dict[str, list[Recording]]:
    """The recordings of a manifest, as ``pack`` takes them."""
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    return {
        "corpus": [
            Recording(
                row["id"], row["speaker"], row["audio"], partial(load_audio, manifest.parent / row["audio"])
            )
            for row in rows
        ]
    }
