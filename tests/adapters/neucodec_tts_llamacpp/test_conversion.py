"""`convert`: weights, tokenizer and description in one file, the same model as before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from neucodec_tts.errors import CheckpointError, VocabularyError
from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.speech.loading import SpeechModel, load_tokenizer
from neucodec_tts.tokens.gguf import TOKENIZER_JSON, GGUFFile
from neucodec_tts.voices import VoiceLibrary
from neucodec_tts_llamacpp.conversion import convert_to_gguf
from neucodec_tts_llamacpp.runtime import Runtime, Token
from neucodec_tts_llamacpp.speech_only import TokenTable
from tests.tokens.small_tokenizers import qwen_like, tiny_qwen

TEXTS = [
    "",
    " ",
    "Alice was beginning to get very tired, at 12:30 on 1234567 days!",
    "həlˈoʊ wˈɜːld, ðɪs ɪz ɐ tˈɛst",
    "don't  DON'T\n\n\tü e\u0301 中文 🙂 x",
    "<|im_start|>user<tool_call>",
]


def test_the_file_says_all_that_is_needed(tiny_gguf: Path):
    file = GGUFFile.read(tiny_gguf)
    assert file.metadata["general.architecture"] == "llama"
    assert SpeechConfig.from_gguf(file) == SpeechConfig.from_pretrained("tiny")
    assert SpeechConfig.from_pretrained(tiny_gguf) == SpeechConfig.from_pretrained(tiny_gguf.parent)
    ours, theirs = SpeechModel.load(str(tiny_gguf)), SpeechModel.load("tiny")
    assert ours.tokens.stop_ids == theirs.tokens.stop_ids
    assert ours.vocabulary == theirs.vocabulary
    voices = VoiceLibrary.of_model(tiny_gguf)
    assert voices is not None
    assert voices.names() == VoiceLibrary.of_model("tiny").names()  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["tiny", "qwen2", "llama"])
def test_tokens_are_those_of_the_original(kind, small, converted, tiny_gguf):
    original: Any = load_tokenizer("tiny" if kind == "tiny" else str(small[kind]))
    read: Any = SpeechModel.load(str(tiny_gguf if kind == "tiny" else converted[kind]))
    ours = GGUFFile.read(read.name).tokenizer(read.config.token_pattern)
    for text in TEXTS:
        for special in (True, False):
            assert ours.encode(text, add_special_tokens=special) == original.encode(
                text, add_special_tokens=special
            )
    assert len(ours) == len(original)
    voice = None
    prompt = read.prompt_format.prompt_ids("Once upon a time, 3 times.", voice)
    assert prompt == SpeechModel.load(
        "tiny" if kind == "tiny" else str(small[kind])
    ).prompt_format.prompt_ids("Once upon a time, 3 times.", voice)


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_tokens_are_the_same_by_the_tables_of_llama_cpp(kind, small, converted):
    """Published files hold these tables only."""
    original: Any = load_tokenizer(str(small[kind]))
    file = GGUFFile.read(converted[kind])
    bare = replace(file, metadata={key: v for key, v in file.metadata.items() if key != TOKENIZER_JSON})
    config = SpeechConfig.from_gguf(file)
    ours = bare.tokenizer(config.token_pattern)
    for text in TEXTS:
        for special in (True, False):
            assert ours.encode(text, add_special_tokens=special) == original.encode(
                text, add_special_tokens=special
            )
    assert np.array_equal(config.vocabulary(ours).ids, config.vocabulary(original).ids)
    assert ours.eos_token_id == original.eos_token_id
    assert ours.chat_template == original.chat_template


@pytest.mark.llamacpp
@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_logits_are_those_of_transformers(kind, small, converted):
    """Rotations, biases, shared keys, scaled positions and the two tables have found their places."""
    theirs = AutoModelForCausalLM.from_pretrained(small[kind], dtype=torch.float32).eval()
    model = SpeechModel.load(str(converted[kind]))
    wanted = np.concatenate([model.vocabulary.ids, np.array(model.tokens.stop_ids)])
    ids = np.random.default_rng(0).integers(0, len(model.vocabulary.ids), 90).tolist()
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0, -1].numpy()
    tokens = [Token(id, place, 0, place == 89) for place, id in enumerate(ids)]
    options: Any = {"sequences": 1, "context_length": 128, "threads": 1, "gpu": False}
    whole = Runtime(model.name, None, **options)
    (all_logits,) = whole.compute(tokens)
    assert len(all_logits) == len(expected)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(all_logits / scale, expected / scale, atol=5e-3)
    # Only codes and stops: the very same numbers.
    table = TokenTable.of(GGUFFile.read(model.name), wanted)
    assert table is not None
    reduced = Runtime(model.name, table, **options)
    (logits,) = reduced.compute(tokens)
    assert np.array_equal(logits, all_logits[wanted])


@pytest.mark.llamacpp
def test_other_programs_read_codes_and_the_stop_in_the_text(converted):
    """As neutts 1.4.1 does: it finds codes in the text that llama.cpp gives, and stops at the name of the end."""
    from llama_cpp import Llama

    model: Any = Llama(str(converted["qwen2"]), n_ctx=64, verbose=False, seed=0)
    names = ["<|speech_7|>", "<|speech_255|>", "<|SPEECH_GENERATION_END|>"]
    ids = model.tokenize("".join(names).encode(), add_bos=False, special=True)
    assert len(ids) == 3
    assert model.detokenize(ids).decode() == "".join(names)
    with pytest.MonkeyPatch.context() as patch:
        answers = iter(ids)
        patch.setattr(model, "sample", lambda *_, **__: next(answers))
        (answer,) = model("<|SPEECH_GENERATION_START|>", max_tokens=8, stop=names[-1:])["choices"]
    assert answer["text"] == "".join(names[:2])
    assert answer["finish_reason"] == "stop"


@pytest.mark.llamacpp
@pytest.mark.parametrize(("kind", "bits", "closeness"), [("q8_0", (8.5, 13), 0.1), ("q4_0", (5.5, 11), 0.3)])
def test_quantized_models_are_close_to_exact_ones(kind, bits, closeness, small, tmp_path):
    done = convert_to_gguf(str(small["qwen2"]), tmp_path / kind, kind)
    assert bits[0] < 8 * sum(map(_bytes, _weights(done.file))) / done.parameters < bits[1]
    theirs = AutoModelForCausalLM.from_pretrained(small["qwen2"], dtype=torch.float32).eval()
    ids = [5, 300, 17, 600, 601]
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits[0, -1].numpy()
    runtime = Runtime(str(done.file), None, sequences=1, context_length=64, threads=1, gpu=False)
    (logits,) = runtime.compute([Token(id, place, 0, place == 4) for place, id in enumerate(ids)])
    error = float(np.square(logits - expected).sum() / np.square(expected).sum()) ** 0.5
    assert error < closeness
    table = TokenTable.of(GGUFFile.read(done.file), np.arange(600, 700))
    assert table is not None
    rows = theirs.get_input_embeddings().weight.detach().numpy()[ids]
    assert np.abs(table(ids) - rows).max() < 0.01 * np.abs(rows).max()


def _weights(path: Path) -> Any:
    from gguf import GGUFReader

    return GGUFReader(path).tensors


def _bytes(tensor: Any) -> int:
    return int(tensor.n_bytes)


def test_a_vocabulary_with_holes(tmp_path):
    """Ids that no token has, and rows above the last, are named and never drawn."""
    folder = tmp_path / "model"
    tokenizer = qwen_like()
    model = tiny_qwen(len(tokenizer), width=64)
    from neucodec_tts.tokens import SpeechVocabulary

    vocabulary = SpeechVocabulary.extend(tokenizer, model, 16, "random", pad_to_multiple_of=128)
    model.save_pretrained(folder)
    vocabulary.save_tokenizer(tokenizer, folder, "vocab")
    path = folder / "tokenizer.json"
    stored = json.loads(path.read_text())
    stored["added_tokens"] = [each for each in stored["added_tokens"] if each["content"] != "<|fim_prefix|>"]
    path.write_text(json.dumps(stored))
    SpeechConfig("neutts-text", codec="tiny", codebook_size=16).save(folder)
    file = GGUFFile.read(convert_to_gguf(str(folder), tmp_path / "gguf", "q8_0").file)
    rows = file.tensors["token_embd.weight"].shape[1]
    assert rows % 128 == 0
    assert len(file.tokens) == len(set(file.tokens)) == rows
    assert file.tokens[-1] == f"[PAD{rows - 1}]"
    # A hole among the codes is another thing.
    names = [name if name != "<|speech_7|>" else "[PAD]" for name in file.tokens]
    broken = replace(file, metadata={**file.metadata, "tokenizer.ggml.tokens": names, TOKENIZER_JSON: ""})
    config = SpeechConfig.from_gguf(file)
    with pytest.raises(VocabularyError, match=r"only 15 of 16 code tokens; missing: <\|speech_7\|>"):
        config.vocabulary(broken.tokenizer(config.token_pattern))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "gpt2"}, "is a gpt2; only llama, qwen2, qwen3"),
        ({"hidden_act": "gelu"}, "only models with SiLU"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}}, "'yarn' cannot be"),
    ],
)
def test_what_cannot_be_converted(change, says, small, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in small["qwen2"].iterdir():
        (folder / path.name).symlink_to(path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match=says):
        convert_to_gguf(str(folder), tmp_path / "out", "q8_0")
    assert not (tmp_path / "out").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"model"}  # nothing is left behind
