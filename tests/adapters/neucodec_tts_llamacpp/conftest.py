"""Small models in GGUF, written by `convert`. Those who run llama.cpp skip where it is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.speech.loading import SpeechModel
from neucodec_tts.tokens import SpeechVocabulary
from neucodec_tts_llamacpp import LlamaCppEngine
from neucodec_tts_llamacpp.conversion import convert_to_gguf
from tests.tokens.small_tokenizers import llama_like, qwen_like, tiny_llama, tiny_qwen

CODES = 256
# As in Llama 3.1, for a model that was trained with texts of 64 tokens.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.fixture(autouse=True)
def _runs_llama_cpp(request: pytest.FixtureRequest) -> None:
    """Skip a test that is marked ``llamacpp`` where the binding is missing."""
    if request.node.get_closest_marker("llamacpp"):
        request.getfixturevalue("llama_cpp")


@pytest.fixture(scope="session")
def llama_cpp() -> Any:
    return pytest.importorskip(
        "llama_cpp", reason="llama-cpp-python is not installed (make install compiles it)"
    )


def save_small(folder: Path, kind: str, width: int = 64) -> Path:
    """A model of one layer that speaks 256 codes: a Qwen2 with one table, or a Llama 3.1 with two."""
    tokenizer: Any = qwen_like() if kind == "qwen2" else llama_like()
    torch.manual_seed(0)
    model: Any = (tiny_qwen if kind == "qwen2" else tiny_llama)(len(tokenizer), kind == "qwen2", width)
    if kind == "llama":
        model.config.rope_parameters = LLAMA3_ROPE
        model = type(model)(model.config)
    scheme = "neutts" if kind == "qwen2" else "llasa"
    vocabulary = SpeechVocabulary.extend(
        tokenizer, model, CODES, "random", format=scheme, pad_to_multiple_of=64
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(
                1 if parameter.ndim == 1 else 0, 0.2
            )  # as initialised, all logits are almost equal
    model.save_pretrained(folder)
    vocabulary.save_tokenizer(tokenizer, folder)
    SpeechConfig(
        "neutts-text" if kind == "qwen2" else "llasa",
        codec="neuphonic/neucodec",
        token_pattern=vocabulary.pattern,
        codebook_size=CODES,
    ).save(folder)
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the small models in the layout of transformers."""
    folder = tmp_path_factory.mktemp("small")
    return {kind: save_small(folder / kind, kind) for kind in ("qwen2", "llama")}


@pytest.fixture(scope="session")
def converted(small: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Their files in GGUF, float16."""
    folder = tmp_path_factory.mktemp("gguf")
    return {kind: convert_to_gguf(str(path), folder / kind, "f16").file for kind, path in small.items()}


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in model in GGUF, float16."""
    return convert_to_gguf("tiny", tmp_path_factory.mktemp("tiny") / "tiny", "f16").file


@pytest.fixture(scope="session")
def tiny_engine(llama_cpp: Any, tiny_gguf: Path) -> LlamaCppEngine:
    """The built-in model on llama.cpp."""
    return LlamaCppEngine.load(str(tiny_gguf), SpeechModel.load(str(tiny_gguf)).tokens, device="cpu")
