"""A small language model with random weights, for trying the recipe and for training from nothing."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast

SMALL = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes, so that nothing need be downloaded."""
    names = ["<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")


def read_config(name: str, rows: int) -> PretrainedConfig:
    """The configuration "small", or one in a JSON file with a `model_type`, as ``config.json`` of a model has it."""
    if name == "small":
        values = dict(SMALL)
    else:
        try:
            values = json.loads(Path(name).read_text())
            values["model_type"]
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise SystemExit(f"error: {name} is no JSON file with a model_type: {problem}") from problem
    values.update(vocab_size=rows, bos_token_id=None, eos_token_id=None, pad_token_id=0)
    return AutoConfig.for_model(**values)


def save_random_model(name: str, folder: Path, seed: int) -> None:
    """Write a model folder: random weights, and a tokenizer of bytes."""
    tokenizer = byte_tokenizer()
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(read_config(name, len(tokenizer)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
