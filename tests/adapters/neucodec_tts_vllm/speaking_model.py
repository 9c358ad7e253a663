"""A small random language model in a folder that vLLM serves; it speaks nonsense through the built-in codec."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from neucodec_tts import NeuCodec, SpeakerPrompt, SpeechVocabulary
from neucodec_tts.prompts import SpeechConfig
from tests.tokens.small_tokenizers import qwen_like

MAX_FRAMES = 40
RANK = 8


def save_speaking_model(folder: Path, codec: NeuCodec) -> Path:
    """Write the folder, as `extend-vocab` does, with NeuTTS-2E's prompts, which need no espeak-ng."""
    tokenizer = qwen_like()
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=64,  # heads of 32, the smallest that vLLM's CPU attention knows
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
        )
    )
    vocabulary = SpeechVocabulary.extend(
        tokenizer, model, codebook_size=codec.codebook_size, init="random", format="neutts"
    )
    model.save_pretrained(folder)
    vocabulary.save_tokenizer(tokenizer, folder, "vocab")
    SpeechConfig(
        "neutts-text",
        codec="tiny",
        codec_id=codec.codec_id,
        codebook_size=codec.codebook_size,
        sampling={"max_frames": MAX_FRAMES},
    ).save(folder)
    (folder / "voices").mkdir()
    voice = SpeakerPrompt(np.arange(160), "A voice that the model brings.", codec_id=codec.codec_id)
    voice.save(folder / "voices" / "resident.safetensors")
    return folder


def save_adapter(model: Path, folder: Path) -> Path:
    """Write a random LoRA adapter of the model that changes what it says, in the form of `peft`."""
    language_model = Qwen2ForCausalLM.from_pretrained(model)
    generator = torch.Generator().manual_seed(1)
    weights = {}
    targets = ("q_proj", "v_proj", "down_proj")
    for name, layer in language_model.named_modules():
        if isinstance(layer, torch.nn.Linear) and name.rpartition(".")[2] in targets:
            for side, shape in (("A", (RANK, layer.in_features)), ("B", (layer.out_features, RANK))):
                weights[f"base_model.model.{name}.lora_{side}.weight"] = 0.5 * torch.randn(
                    shape, generator=generator
                )
    save_file(weights, folder / "adapter_model.safetensors")
    described = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": list(targets)}
    described |= {"bias": "none", "base_model_name_or_path": str(model)}
    (folder / "adapter_config.json").write_text(json.dumps(described), encoding="utf-8")
    return folder
