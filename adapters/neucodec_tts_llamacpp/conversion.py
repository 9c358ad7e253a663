"""Write a language model of `transformers` as one GGUF file, with all that is needed to speak."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from neucodec_tts.built_in import speech_model
from neucodec_tts.codec.checkpoints.hub import HubOptions, locate
from neucodec_tts.errors import CheckpointError, EngineError, VocabularyError
from neucodec_tts.files import atomic_folder
from neucodec_tts.prompts.speech_config import SpeechConfig
from neucodec_tts.speech.loading import load_tokenizer
from neucodec_tts.tokens.gguf import CONTROL, CUTS, SPEECH_CONFIG, TOKENIZER_JSON, USER_DEFINED
from neucodec_tts.voices.library import MODEL_VOICES, VoiceLibrary
from neucodec_tts_llamacpp.runtime import INSTALL

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from neucodec_tts.tokens import SpeechVocabulary

GGUFType = Literal["q8_0", "q4_0", "f16"]
_NORMAL, _UNUSED = 1, 5  # types of tokens
_STOP = "<|SPEECH_GENERATION_END|>"
_ARCHITECTURES = ("llama", "qwen2", "qwen3")


@dataclass(frozen=True)
class Converted:
    """A model that was written.

    Attributes:
        file: in GGUF.
        parameters: numbers in it.
        bits: of a number, on average.
        voices: that lie beside it.
    """

    file: Path
    parameters: int
    bits: float
    voices: int


def convert_to_gguf(
    model: str, output: str | os.PathLike[str], kind: GGUFType, hub: HubOptions | None = None
) -> Converted:
    """Write a model into a folder: one GGUF file, and its voices beside it.

    The file holds the weights, the tokenizer (whole, and as llama.cpp has it) and ``speech_config.json``.

    Args:
        model: a folder with a ``speech_config.json``, a hub id, or ``"tiny"``; a Llama, Qwen2 or Qwen3.
        output: the folder; it is written as a whole or not at all.
        kind: number format of the matrices. ``"q8_0"`` and ``"q4_0"`` have blocks of 32 numbers of 8 and 4 bits; the
            table of tokens has 8 in both. Vectors are float32.
        hub: how a repository of the hub is reached.

    Raises:
        CheckpointError: the model is missing, damaged or of a kind that is not known here; or nothing can be written.
        VocabularyError: it has no code tokens.
        EngineError: the package ``gguf`` is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise EngineError(f"the package gguf is not installed: {INSTALL}") from error

    folder, name, hub = Path(output), speech_model(model), hub or HubOptions()
    config = SpeechConfig.from_pretrained(name, **hub.keywords())
    tokenizer = load_tokenizer(name, hub)
    vocabulary = config.vocabulary(tokenizer)
    network = _load(name, hub)
    table: Any = network.get_input_embeddings()
    rows = int(table.weight.shape[0])
    vocabulary.check_model_rows(rows)
    title = Path(model).name
    source = Path(name).expanduser()
    if config.codec.startswith(".") and source.is_dir():
        config = replace(config, codec=os.path.relpath((source / config.codec).resolve(), folder.resolve()))
    voices = VoiceLibrary.of_model(name)
    with atomic_folder(folder, CheckpointError) as written:
        path = written / f"{title}-{kind}.gguf"
        writer = gguf.GGUFWriter(path, network.config.model_type)
        writer.add_name(title)
        _add_shape(writer, network.config, rows)
        _add_tokenizer(writer, tokenizer, vocabulary, rows)
        writer.add_string(SPEECH_CONFIG, json.dumps(config.to_dict(), ensure_ascii=False))
        if config.prompt_format.startswith("neutts"):  # by which the package neutts knows what to feed it
            writer.add_string("neuphonic.input_format", "phonemes" if config.needs_phones else "BPE")
        parameters = _add_weights(writer, network, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        bits = 8 * path.stat().st_size / parameters
        if voices is not None:
            shutil.copytree(voices.folder, written / MODEL_VOICES)
    return Converted(folder / path.name, parameters, bits, len(voices.names()) if voices else 0)


def _load(name: str, hub: HubOptions) -> PreTrainedModel:
    """Load a model of a kind that can be converted, in the number format of its file."""
    from transformers import AutoModelForCausalLM

    location = locate(name, hub)
    described = location.find("config.json")
    if described is None:
        raise CheckpointError(f"{name} holds no config.json; it is not a model of transformers")
    try:
        kind = json.loads(described.read_text(encoding="utf-8")).get("model_type")
        if kind not in _ARCHITECTURES:
            raise CheckpointError(f"{name} is a {kind}; only {', '.join(_ARCHITECTURES)} can be converted")
        loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            str(location.folder or location.name), dtype="auto", **hub.keywords()
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{name} cannot be loaded as a causal language model: {error}") from error
    except Exception as error:  # safetensors raises a class of its own, which derives from Exception only
        if type(error).__module__.startswith("safetensors"):
            raise CheckpointError(
                f"the weights of {name} are damaged: {error}; download them again"
            ) from error
        raise
    return loaded


def _add_shape(writer: GGUFWriter, config: Any, rows: int) -> None:
    """Add the sizes of the layers.

    Raises:
        CheckpointError: the model has something that GGUF cannot say of its kind.
    """
    rope = dict(config.rope_parameters)
    if rope.get("rope_type", "default") not in ("default", "llama3"):
        raise CheckpointError(f"positions scaled by {rope['rope_type']!r} cannot be converted")
    if config.hidden_act != "silu" or getattr(config, "use_sliding_window", False):
        raise CheckpointError("only models with SiLU and without a sliding window can be converted")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(_head_size(config))
    writer.add_key_length(_head_size(config))
    writer.add_value_length(_head_size(config))
    writer.add_vocab_size(rows)


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _add_tokenizer(
    writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, vocabulary: SpeechVocabulary, rows: int
) -> None:
    """Add the tokenizer twice: whole, for us; and in the tables of llama.cpp, for other programs."""
    stored = _as_json(tokenizer, vocabulary)
    by_id = {id: name for name, id in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    # neutts reads codes and the stop in what llama.cpp writes of them as text, and it writes no control tokens.
    as_text = {by_id[id] for id in vocabulary.ids.tolist()} | {_STOP}
    kinds = []
    for id in range(rows):
        kind = _NORMAL if id in by_id else _UNUSED
        if by_id.get(id) in as_text:
            kind = USER_DEFINED
        elif id in added:
            name = added[id].content
            looks_special = name.startswith("<|") and name.endswith("|>")
            kind = CONTROL if added[id].special or looks_special else USER_DEFINED
        kinds.append(kind)
    cut = _cut(stored)
    # llama.cpp has no tables for other kinds than byte pairs with known cuts; "none" lets it run by ids alone.
    writer.add_tokenizer_model("none" if cut is None else "gpt2")
    writer.add_token_list([by_id.get(id, f"[PAD{id}]") for id in range(rows)])
    writer.add_token_types(kinds)
    if cut is not None:
        writer.add_tokenizer_pre(cut)
        merges = (pair if isinstance(pair, str) else " ".join(pair) for pair in stored["model"]["merges"])
        writer.add_token_merges(list(merges))
    for special, add in (
        ("bos", writer.add_bos_token_id),
        ("eos", writer.add_eos_token_id),
        ("unk", writer.add_unk_token_id),
        ("pad", writer.add_pad_token_id),
    ):
        id = getattr(tokenizer, f"{special}_token_id")
        if id is not None:
            add(id)
    first = tokenizer.encode("")[:1]
    writer.add_add_bos_token(bool(first) and first == [tokenizer.bos_token_id])
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
    writer.add_string(TOKENIZER_JSON, json.dumps(stored, ensure_ascii=False))


def _as_json(tokenizer: PreTrainedTokenizerBase, vocabulary: SpeechVocabulary) -> dict[str, Any]:
    """The contents of ``tokenizer.json``, with the codes as ordinary tokens where they may be: it loads faster."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            vocabulary.save_tokenizer(tokenizer, folder, "vocab")
        except VocabularyError:
            vocabulary.save_tokenizer(tokenizer, folder, "added")
        loaded: dict[str, Any] = json.loads(Path(folder, "tokenizer.json").read_text(encoding="utf-8"))
    return loaded


def _cut(tokenizer: dict[str, Any]) -> str | None:
    """The name that llama.cpp has for the way in which the tokenizer cuts a text, or None if it has none."""
    steps = tokenizer["pre_tokenizer"] or {}
    steps = steps.get("pretokenizers", [steps])
    if tokenizer["model"].get("type") != "BPE" or not steps or steps[-1].get("type") != "ByteLevel":
        return None
    if steps[-1].get("add_prefix_space"):
        return None
    if len(steps) == 1:
        return "gpt-2" if steps[0].get("use_regex", True) else None
    if steps[0].get("type") == "Digits" and steps[0].get("individual_digits"):
        return "smollm"
    pattern = steps[0].get("pattern", {}).get("Regex")
    return next((name for name, known in CUTS.items() if known == pattern and known is not None), None)


def _add_weights(writer: GGUFWriter, network: PreTrainedModel, kind: GGUFType) -> int:
    """Add all tensors; returns how many numbers they hold."""
    import gguf

    config: Any = network.config
    architecture = {text: number for number, text in gguf.MODEL_ARCH_NAMES.items()}[config.model_type]
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    formats = {each: gguf.GGMLQuantizationType[each.upper()] for each in ("q8_0", "q4_0", "f16", "f32")}
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind.upper()}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    count = 0
    factors = _rope_factors(config)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    for name, tensor in network.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values: NDArray[np.float32] = tensor.float().numpy()
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise CheckpointError(f"the weight {name} has no place in a GGUF file of a {config.model_type}")
        if config.model_type == "llama" and ".self_attn.q_proj." in name:
            values = _interleave(values, config.num_attention_heads)
        if config.model_type == "llama" and ".self_attn.k_proj." in name:
            values = _interleave(values, config.num_key_value_heads)
        is_table = name == "lm_head.weight" or "embed_tokens" in name
        wanted = formats["q8_0" if is_table and kind == "q4_0" else kind]
        if values.ndim < 2:
            wanted = formats["f32"]
        elif values.shape[-1] % 32:  # the size of a block
            wanted = formats["f16"]
        count += values.size
        writer.add_tensor(target, _packed(values, wanted), raw_dtype=wanted)
    return count


def _packed(values: NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[Any]:
    import gguf

    return np.ascontiguousarray(gguf.quantize(values, kind))


def _interleave(values: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of queries or keys in llama.cpp's order: it rotates neighbours where transformers rotates the two halves."""
    shape = values.shape
    return values.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def _rope_factors(config: Any) -> NDArray[np.float32] | None:
    """What Llama 3.1 divides the frequencies of positions by, (head size / 2,); None where they stay as they are.

    As in `transformers`, ``_compute_llama3_parameters``.
    """
    rope = dict(config.rope_parameters)
    if rope.get("rope_type", "default") != "llama3":
        return None
    size, trained = _head_size(config), rope["original_max_position_embeddings"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    frequencies = rope["rope_theta"] ** -(np.arange(0, size, 2) / size)
    turns = trained * frequencies / (2 * math.pi)  # in the text that the model was trained with
    share = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / ((1 - share) / rope["factor"] + share)).astype(np.float32)
