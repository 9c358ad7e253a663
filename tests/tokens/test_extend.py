"""Adding codes to tokenizers and models, in both layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from neucodec_tts.errors import VocabularyError
from neucodec_tts.tokens import SCHEMES, SpeechVocabulary
from neucodec_tts.tokens.embeddings import code_digits, embedding_table, fsq_vectors
from tests.tokens.small_tokenizers import llama_like, qwen_like, tiny_llama, tiny_qwen

makers = pytest.mark.parametrize("make", [qwen_like, llama_like])
formats = pytest.mark.parametrize("format", ["neutts", "llasa"])
TEXTS = [
    "Alice was late.",
    "  two  spaces\n\nand lines",
    "naïve café 你好 🙂",
    "<|im_end|> <tool_call> 12345",
    "",
]


@makers
@formats
def test_ids_are_those_of_the_original_projects(make, format: str):
    """Control tokens first, then the codes, all in the order in which the projects add them."""
    tokenizer, original = make(), make()
    start = len(tokenizer)
    vocabulary = SpeechVocabulary.extend(tokenizer, codebook_size=256, format=format)
    scheme = SCHEMES[format]
    original.add_tokens([*scheme.control_tokens, *(scheme.pattern.format(code) for code in range(256))])
    assert tokenizer.get_vocab() == original.get_vocab()
    assert tokenizer.convert_tokens_to_ids(list(scheme.control_tokens)) == list(
        range(start, start + len(scheme.control_tokens))
    )
    first = start + len(scheme.control_tokens)
    assert vocabulary.id_range == (first, first + 256)


def test_llama_ids_of_llasa():
    """128,256 tokens of Llama 3 and 8 control tokens put <|s_0|> at 128264 and the stop at 128261."""
    tokenizer = llama_like()
    offset = 128_256 - len(tokenizer)
    vocabulary = SpeechVocabulary.extend(tokenizer, codebook_size=16, format="llasa")
    assert vocabulary.to_ids([0])[0] + offset == 128_264
    assert tokenizer.get_vocab()["<|SPEECH_GENERATION_END|>"] + offset == 128_261


@makers
def test_doing_it_again_changes_nothing(make):
    tokenizer = make()
    model = tiny_qwen(len(tokenizer))
    first = SpeechVocabulary.extend(tokenizer, model, codebook_size=256)
    vocab, weights = tokenizer.get_vocab(), {k: v.clone() for k, v in model.state_dict().items()}
    again = SpeechVocabulary.extend(tokenizer, model, codebook_size=256, init="random")
    assert again == first
    assert tokenizer.get_vocab() == vocab
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_half_extended_tokenizers_are_refused():
    missing_code = qwen_like()
    scheme = SCHEMES["neutts"]
    missing_code.add_tokens([*scheme.control_tokens, *(f"<|speech_{n}|>" for n in range(64) if n != 9)])
    with pytest.raises(VocabularyError, match=r"half-extended.*69 of the 70 tokens; missing: <\|speech_9\|>"):
        SpeechVocabulary.extend(missing_code, codebook_size=64)

    missing_control = qwen_like()
    missing_control.add_tokens(
        [*(c for c in scheme.control_tokens if "END" not in c), *(f"<|speech_{n}|>" for n in range(64))]
    )
    with pytest.raises(
        VocabularyError, match=r"missing: <\|TEXT_PROMPT_END\|>, <\|SPEECH_GENERATION_END\|>\."
    ):
        SpeechVocabulary.extend(missing_control, codebook_size=64)

    other_format = llama_like()
    SpeechVocabulary.extend(other_format, codebook_size=64, format="llasa")
    with pytest.raises(VocabularyError, match=r"half-extended for 'neutts'.*<\|TEXT_REPLACE\|>"):
        SpeechVocabulary.extend(other_format, codebook_size=64, format="neutts")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "orpheus"}, "unknown token scheme 'orpheus'; known are llasa, neutts"),
        ({"init": "zeros"}, "unknown initialisation"),
        ({"codebook_size": 0}, "makes no sense"),
        ({"codebook_size": 100}, "no power of 4"),
        ({"codebook_size": 64, "levels": [4, 4]}, r"FSQ levels \[4, 4\] make 16 codes, not 64"),
        ({"codebook_size": 64, "levels": [64, 1]}, "at least 2"),
    ],
)
def test_bad_arguments_change_nothing(arguments: dict, message: str):
    tokenizer, untouched = qwen_like(), qwen_like()
    with pytest.raises(VocabularyError, match=message):
        SpeechVocabulary.extend(tokenizer, **arguments)
    assert tokenizer.get_vocab() == untouched.get_vocab()


def test_a_raw_tokenizer_is_refused():
    with pytest.raises(VocabularyError, match="not a fast tokenizer"):
        SpeechVocabulary.extend(qwen_like().backend_tokenizer, codebook_size=4)  # type: ignore[arg-type]


@pytest.mark.parametrize("init", ["fsq", "mean", "random"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("make_model", [tiny_qwen, tiny_llama])
def test_models_get_rows_and_keep_the_old_ones(make_model, tied: bool, init):
    tokenizer = qwen_like()
    spare = 11  # as Qwen2.5: more rows than tokens
    model = make_model(len(tokenizer) + spare, tied)
    known = len(tokenizer)
    old_in = model.get_input_embeddings().weight[:known].detach().clone()
    old_out = model.get_output_embeddings().weight[:known].detach().clone()
    vocabulary = SpeechVocabulary.extend(
        tokenizer, model, codebook_size=1024, init=init, pad_to_multiple_of=64
    )

    rows_in, rows_out = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert rows_in.shape[0] % 64 == 0
    assert rows_in.shape[0] - 64 < vocabulary.required_rows <= rows_in.shape[0]
    assert rows_out.shape == rows_in.shape
    assert model.config.vocab_size == rows_in.shape[0]
    assert (rows_in is rows_out) == tied
    assert torch.equal(rows_in[:known], old_in)
    assert torch.equal(rows_out[:known], old_out)

    for rows, old in ((rows_in.detach(), old_in), (rows_out.detach(), old_out)):
        new = rows[torch.from_numpy(vocabulary.ids.copy())]
        assert len(torch.unique(new, dim=0)) == 1024  # no two codes are the same
        offset = (new.mean(0) - old.mean(0)).abs().max()
        spread = new.std(0).mean() / old.std(0).mean()
        assert offset < 0.3 * old.std(0).mean()
        if init == "mean":
            assert spread < 0.01
        else:
            assert 0.8 < spread < 1.25
    control = rows_in[tokenizer.convert_tokens_to_ids("<|SPEECH_GENERATION_START|>")]
    if init != "random":
        assert (control - old_in.mean(0)).abs().max() < 0.01 * old_in.std(0).max() * 5

    ids = torch.tensor([tokenizer.encode("Alice") + vocabulary.to_ids([0, 1023])])
    logits = model(input_ids=ids).logits
    assert logits.shape[-1] == rows_in.shape[0]
    assert torch.isfinite(logits).all()


def test_a_bias_in_the_output_layer():
    tokenizer = qwen_like()
    model = tiny_qwen(len(tokenizer), tied=False)
    model.lm_head = torch.nn.Linear(48, len(tokenizer), bias=True)
    with torch.no_grad():
        model.lm_head.bias.fill_(-3.0)
    vocabulary = SpeechVocabulary.extend(tokenizer, model, codebook_size=64)
    assert torch.equal(model.get_output_embeddings().bias[vocabulary.ids.tolist()], torch.full((64,), -3.0))


def test_model_after_the_tokenizer():
    """The tokenizer was extended earlier; the model gets its rows in a later call."""
    tokenizer = qwen_like()
    model = tiny_qwen(len(tokenizer) + 5)
    old = embedding_table(model).detach().clone()
    vocabulary = SpeechVocabulary.extend(tokenizer, codebook_size=64)
    with pytest.raises(VocabularyError, match="embedding rows"):
        vocabulary.check_model_rows(model.config.vocab_size)
    SpeechVocabulary.extend(tokenizer, model, codebook_size=64, init="mean")
    vocabulary.check_model_rows(model.config.vocab_size)
    rows = embedding_table(model).detach()
    known = old[: len(qwen_like())]
    assert torch.equal(rows[: len(known)], known)
    codes = rows[torch.from_numpy(vocabulary.ids.copy())]
    torch.testing.assert_close(codes.mean(0), known.mean(0), atol=1e-4, rtol=0)


def test_half_precision_and_seed():
    def extended(seed: int) -> torch.Tensor:
        torch.manual_seed(0)
        tokenizer = qwen_like()
        model = tiny_qwen(len(tokenizer)).bfloat16()
        SpeechVocabulary.extend(tokenizer, model, codebook_size=64, seed=seed)
        return embedding_table(model).detach()

    assert extended(1).dtype == torch.bfloat16
    assert torch.equal(extended(1), extended(1))
    assert not torch.equal(extended(1), extended(2))


@pytest.mark.parametrize("levels", [[4] * 5, [8, 5, 5, 5], [2, 3]])
def test_digits_are_those_of_fsq(levels: list[int]):
    """The first dimension is the least significant, as transformers' quantizer has it."""
    size = int(np.prod(levels))
    digits = code_digits(size, levels)
    basis = torch.cumprod(torch.tensor([1, *levels[:-1]]), 0).numpy()
    np.testing.assert_array_equal((digits * basis).sum(1), np.arange(size))
    assert (digits < np.array(levels)).all()
    np.testing.assert_array_equal(digits[1], [1, *([0] * (len(levels) - 1))])


def test_near_codes_start_near():
    levels = [4] * 5
    vectors = fsq_vectors(levels, 256, torch.Generator().manual_seed(0))
    digits = torch.from_numpy(code_digits(1024, levels)).float()
    in_fsq, in_embedding = torch.cdist(digits, digits), torch.cdist(vectors, vectors)
    off_diagonal = ~torch.eye(1024, dtype=torch.bool)
    correlation = torch.corrcoef(torch.stack([in_fsq[off_diagonal], in_embedding[off_diagonal]]))[0, 1]
    assert correlation > 0.9
    # One step in one digit is nearer than three.
    assert in_embedding[0, 1] < in_embedding[0, 2] < in_embedding[0, 3]
    assert in_embedding[0, 1] < 0.6 * in_embedding[0].mean()
    torch.testing.assert_close(vectors.mean(0), torch.zeros(256), atol=1e-5, rtol=0)
    assert 0.9 < vectors.var(0).mean() < 1.1


@makers
@formats
@pytest.mark.parametrize("layout", ["added", "vocab"])
def test_layouts_hold_the_same_ids(make, format: str, layout, tmp_path: Path):
    tokenizer = make()
    vocabulary = SpeechVocabulary.extend(tokenizer, codebook_size=256, format=format)
    vocabulary.save_tokenizer(tokenizer, tmp_path / "saved", layout)
    loaded = AutoTokenizer.from_pretrained(tmp_path / "saved")

    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert len(loaded) == len(tokenizer)
    assert SpeechVocabulary.from_tokenizer(loaded) == vocabulary
    for text in TEXTS:
        assert loaded.encode(text) == tokenizer.encode(text)
    controls = "".join(SCHEMES[format].control_tokens)
    assert loaded.encode(f"a{controls}b", add_special_tokens=False) == tokenizer.encode(
        f"a{controls}b", add_special_tokens=False
    )
    ids = vocabulary.to_ids([0, 255, 17])
    assert loaded.decode(ids) == tokenizer.decode(ids) == "".join(vocabulary.tags([0, 255, 17]))
    assert loaded.chat_template == tokenizer.chat_template
    assert loaded.eos_token_id == tokenizer.eos_token_id

    tagged = "".join(vocabulary.tags([3, 5]))
    encoded = loaded.encode(tagged, add_special_tokens=False)
    if layout == "added":
        assert encoded == vocabulary.to_ids([3, 5])
    else:
        assert not any(vocabulary.is_code(encoded))
        assert loaded.decode(encoded) == tagged


@makers
def test_layouts_change_into_each_other(make, tmp_path: Path):
    tokenizer = make()
    vocabulary = SpeechVocabulary.extend(tokenizer, codebook_size=64)
    reference = tokenizer.encode("a<|speech_3|>b")
    for step, layout in enumerate(["vocab", "vocab", "added", "added", "vocab"]):
        vocabulary.save_tokenizer(tokenizer, tmp_path / str(step), layout)  # type: ignore[arg-type]
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / str(step))
        assert SpeechVocabulary.from_tokenizer(tokenizer) == vocabulary
        assert SpeechVocabulary.extend(tokenizer, codebook_size=64) == vocabulary
        assert (tokenizer.encode("a<|speech_3|>b") == reference) == (layout == "added")


def test_the_vocab_layout_has_few_added_tokens(tmp_path: Path):
    """That is what makes it load fast."""
    tokenizer = qwen_like()
    before = len(tokenizer.added_tokens_decoder)
    vocabulary = SpeechVocabulary.extend(tokenizer, codebook_size=4096)
    vocabulary.save_tokenizer(tokenizer, tmp_path, "vocab")
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    assert len(content["added_tokens"]) == before + len(SCHEMES["neutts"].control_tokens)
    # Ids without holes: other readers rely on it.
    assert sorted(content["model"]["vocab"].values()) == list(range(len(tokenizer)))


def test_other_kinds_of_tokenizer(tmp_path: Path):
    unigram = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0))
    )
    vocabulary = SpeechVocabulary.extend(unigram, codebook_size=4)
    with pytest.raises(VocabularyError, match="layout 'vocab' needs a BPE tokenizer, and this is Unigram"):
        vocabulary.save_tokenizer(unigram, tmp_path, "vocab")
    vocabulary.save_tokenizer(unigram, tmp_path, "added")
    assert SpeechVocabulary.from_tokenizer(AutoTokenizer.from_pretrained(tmp_path)) == vocabulary
    with pytest.raises(VocabularyError, match="unknown layout 'fast'"):
        vocabulary.save_tokenizer(unigram, tmp_path, "fast")  # type: ignore[arg-type]
