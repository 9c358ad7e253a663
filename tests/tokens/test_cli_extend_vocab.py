"""``neucodec-tts extend-vocab``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import typer
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from neucodec_tts.cli.extend_vocab import extend_vocab
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.prompts import LlasaFormat, NeuTTSFormat, SpeechConfig
from neucodec_tts.tokens.embeddings import embedding_table
from tests.parity.ours import random_codec
from tests.parity.sizes import small_config
from tests.tokens.small_tokenizers import llama_like, qwen_like, tiny_llama, tiny_qwen

Run = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def run() -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(extend_vocab)

    def call(*arguments: object) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, [*map(str, arguments)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout, result.stderr

    return call


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    tokenizer = qwen_like()
    tiny_qwen(len(tokenizer) + 20).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    tokenizer = llama_like()
    tiny_llama(len(tokenizer)).to(torch.bfloat16).save_pretrained(folder)  # type: ignore[arg-type]
    tokenizer.save_pretrained(folder)
    return folder


def test_neutts_with_the_full_codebook(run: Run, qwen: Path, tmp_path: Path):
    out = tmp_path / "deep" / "speaking"
    code, stdout, err = run(
        qwen, "--output", out, "--pad-to-multiple-of", 64, "--language", "de", "--layout", "vocab"
    )
    assert code == 0, err
    assert stdout.count("\n") == 1
    assert "65,536 codes" in stdout
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["speaking"]

    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModelForCausalLM.from_pretrained(out)
    config = SpeechConfig.from_pretrained(out)
    assert config.prompt_format == "neutts"
    assert config.codec == "neuphonic/neucodec"
    assert config.language == "de"
    assert config.sampling["top_k"] == 50
    vocabulary = config.vocabulary(tokenizer)
    assert vocabulary.codebook_size == 65_536
    vocabulary.check_model_rows(model.config.vocab_size)
    assert model.config.vocab_size % 64 == 0
    original = AutoModelForCausalLM.from_pretrained(qwen)
    known = len(qwen_like())
    assert torch.equal(embedding_table(model)[:known], embedding_table(original)[:known])
    format = NeuTTSFormat(tokenizer, vocabulary, str.upper)
    example = format.training_example("Hello", [1, 65_535])
    loss = model(input_ids=torch.tensor([example.input_ids]), labels=torch.tensor([example.labels])).loss
    assert torch.isfinite(loss)


@pytest.fixture(scope="module")
def small_codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec of 320 codes, for which everything goes faster."""
    config = small_config()
    config.quantization_levels = (8, 8, 5)
    folder = tmp_path_factory.mktemp("codec")
    random_codec(config).save_pretrained(folder)
    return folder


def test_llasa_with_another_codec(run: Run, llama: Path, small_codec: Path, tmp_path: Path):
    codec = NeuCodec.from_pretrained(small_codec)
    out = tmp_path / "out"
    code, stdout, err = run(llama, "-o", out, "--format", "llasa", "--codec", small_codec, "--json")
    assert code == 0, err
    result = json.loads(stdout)
    assert result["codes"] == codec.codebook_size == 320
    assert result["codec_id"] == codec.codec_id
    assert result["embedding_rows"]["before"] == len(llama_like())
    config = SpeechConfig.from_pretrained(out)
    assert (config.codec, config.codec_id) == (str(small_codec), codec.codec_id)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert isinstance(config.make_format(tokenizer), LlasaFormat)
    assert tokenizer.convert_tokens_to_ids("<|s_0|>") == result["first_id"]
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.bfloat16  # as it was
    options = ("--format", "llasa", "--codec", small_codec, "--dtype", "float32")
    assert run(llama, "-o", tmp_path / "f32", *options)[0] == 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "f32").dtype == torch.float32


def test_existing_folders_are_safe(run: Run, qwen: Path, small_codec: Path, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "mine", tmp_path / "file"):
        code, _, err = run(qwen, "-o", path, "--overwrite")
        assert code == 1
        assert "no folder of this command" in err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"

    out = tmp_path / "empty"
    out.mkdir()
    assert run(qwen, "-o", out, "--codec", small_codec)[0] == 0
    code, _, err = run(qwen, "-o", out, "--codec", small_codec)
    assert code == 1
    assert "--overwrite" in err
    (out / "old").write_text("x")
    assert run(qwen, "-o", out, "--codec", small_codec, "--overwrite")[0] == 0
    assert not (out / "old").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["{nowhere}"], 1, "there is no folder"),
        (["qwen"], 1, "there is no folder 'qwen'"),
        (["somebody/else"], 1, "cannot get 'somebody/else': offline mode is on"),
        (["{qwen}", "--dtype", "int7"], 2, "int7"),
        (["{qwen}", "--format", "orpheus"], 2, "orpheus"),
        (["{qwen}", "--format", "llasa"], 1, "chat template, and this tokenizer has none"),
        (["{qwen}", "--codec", "{nowhere}"], 1, "there is no folder"),
        (["{qwen}", "--language", "deutsch"], 1, "knows no language 'deutsch'"),
    ],
)
def test_failures_leave_nothing(
    run: Run, qwen: Path, tmp_path: Path, arguments: list[str], exit_code: int, message: str
):
    if "--language" in arguments:
        pytest.importorskip("phonemizer", reason='needs pip install "neucodec-tts[phonemes]"')
    filled = [argument.format(qwen=qwen, nowhere=tmp_path / "nowhere") for argument in arguments]
    code, out, err = run(*filled, "--output", tmp_path / "out")
    assert code == exit_code, err
    assert message in " ".join(err.replace("│", " ").split())
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_named_at_once(tmp_path: Path):
    """In a process of its own, without offline mode; nothing listens at the port."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    command = [
        sys.executable,
        "-m",
        "neucodec_tts",
        "extend-vocab",
        "somebody/else",
        "-o",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot get 'somebody/else': http://127.0.0.1:9 cannot be reached")
    assert list(tmp_path.iterdir()) == []
