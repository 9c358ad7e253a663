"""Language models in GGUF of the sizes of NeuTTS Air and Nano, with random weights: as slow as trained ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.prompts.speech_config import SpeechConfig
from neucodec_tts.tokens.gguf import SPEECH_CONFIG, USER_DEFINED
from neucodec_tts.tokens.scheme import SCHEMES, tags

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODES = 65536
_SPREAD = 0.02  # of the weights


@dataclass(frozen=True)
class Shape:
    """The size of a model, Qwen2 or Llama.

    Attributes:
        kind: architecture in GGUF.
        layers: number of them.
        width: of the hidden states.
        heads: of queries.
        kv_heads: of keys and values.
        inner: width of the feed-forward layers.
        words: tokens of text.
    """

    kind: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    inner: int
    words: int


SHAPES = {
    "air": Shape("qwen2", 24, 896, 14, 2, 4864, 151_936),  # Qwen2.5-0.5B's
    # 116.8 M parameters and a table of 111.9 M, as on the model's card; the shape is SmolLM2's, three layers more.
    "nano": Shape("llama", 33, 576, 9, 3, 1536, 128_714),
}


def write_random_gguf(path: Path, size: str, kind: str) -> Path:
    """Write a model that speaks codes whatever it is told and never stops; one that is there already stays.

    Args:
        path: of the file.
        size: ``"air"`` or ``"nano"``.
        kind: ``"q4_0"``, with 8 bits for the table of tokens as Neuphonic's files have it, or ``"q8_0"``.
    """
    import gguf

    if path.exists():
        return path
    shape, scheme = SHAPES[size], SCHEMES["neutts"]
    formats = {name: gguf.GGMLQuantizationType[name.upper()] for name in ("q4_0", "q8_0")}
    numbers = np.random.default_rng(0)
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, shape.kind)
    head = shape.width // shape.heads
    writer.add_name(f"random {size}")
    writer.add_context_length(32768)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_rope_dimension_count(head)
    letters = sorted(_byte_letters())
    words = [*letters, "ab", *(f"word{n}" for n in range(shape.words - len(letters) - 1))]
    names = [*words, *scheme.control_tokens, *tags(scheme.pattern, range(CODES))]
    writer.add_vocab_size(len(names))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(names)
    writer.add_token_types([1] * len(words) + [USER_DEFINED] * (len(names) - len(words)))
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(len(words) + scheme.control_tokens.index("<|SPEECH_GENERATION_END|>"))
    config = SpeechConfig.from_pretrained("neuphonic/neutts-air")
    writer.add_string(SPEECH_CONFIG, json.dumps(config.to_dict()))
    writer.add_string("neuphonic.input_format", "phonemes")

    def matrix(name: str, rows: int, columns: int, wanted: str = kind, scale: Any = 1.0) -> None:
        blocks = _blocks(numbers, rows, columns, wanted, scale)
        writer.add_tensor(name, blocks, raw_dtype=formats[wanted])

    # Words weigh nothing in the table, so that the likeliest tokens are codes.
    weights = np.full(len(names), 1e-3)
    weights[-CODES:] = 1
    matrix("token_embd.weight", len(names), shape.width, "q8_0", weights[:, None])
    writer.add_tensor("output_norm.weight", np.ones(shape.width, np.float32))
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}.{name}.weight", np.ones(shape.width, np.float32))
        for name, heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads)):
            matrix(f"{block}.attn_{name}.weight", heads * head, shape.width)
            if shape.kind == "qwen2":
                writer.add_tensor(f"{block}.attn_{name}.bias", np.zeros(heads * head, np.float32))
        matrix(f"{block}.attn_output.weight", shape.width, shape.heads * head)
        matrix(f"{block}.ffn_gate.weight", shape.inner, shape.width)
        matrix(f"{block}.ffn_up.weight", shape.inner, shape.width)
        matrix(f"{block}.ffn_down.weight", shape.width, shape.inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return partial.rename(path)


def _blocks(
    numbers: np.random.Generator, rows: int, columns: int, kind: str, scale: float | NDArray[np.float64]
) -> NDArray[np.uint8]:
    """A random matrix in blocks of 32 numbers: a float16 step, then 4 or 8 bits for each."""
    payload, spread = (16, 4.6) if kind == "q4_0" else (32, 73.9)  # bytes; standard deviation in steps
    blocks = numbers.integers(0, 256, (rows, columns // 32, 2 + payload), np.uint8)
    steps = np.broadcast_to(np.asarray(scale) * (_SPREAD / spread), (rows, columns // 32))
    blocks[:, :, :2] = np.ascontiguousarray(steps, np.float16)[:, :, None].view(np.uint8)
    return blocks.reshape(rows, -1)


def _byte_letters() -> list[str]:
    """The letters that stand for single bytes in byte-level vocabularies."""
    from tokenizers.pre_tokenizers import ByteLevel

    return ByteLevel.alphabet()
