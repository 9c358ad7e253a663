"""A packed or padded example is computed, and learnt from, as if it were alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from neucodec_tts.errors import DatasetError
from neucodec_tts.tokens.embeddings import embedding_table
from neucodec_tts.training import SpeechCollator
from tests.tokens.small_tokenizers import tiny_llama, tiny_qwen

ROWS = 200
PAD = 7


def examples(*lengths: int) -> list[dict[str, list[int]]]:
    """Random tokens, of which the first third is prompt."""
    generator = torch.Generator().manual_seed(sum(lengths))
    made = []
    for length in lengths:
        ids = torch.randint(ROWS, (length,), generator=generator).tolist()
        made.append({"input_ids": ids, "labels": [-100] * (length // 3) + ids[length // 3 :]})
    return made


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def attention(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[tiny_qwen, tiny_llama], ids=["qwen2", "llama"])
def model(request: pytest.FixtureRequest, attention: str) -> PreTrainedModel:
    torch.manual_seed(0)
    made: PreTrainedModel = request.param(ROWS).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.normal_(
                    0, 0.3
                )  # as initialised, attention is almost uniform, and would show little
    made.set_attn_implementation(attention)
    return made


@torch.no_grad()
def alone(model: PreTrainedModel, example: dict[str, list[int]]) -> torch.Tensor:
    logits: torch.Tensor = model(torch.tensor([example["input_ids"]])).logits[0]
    return logits


ROWS_OF_EXAMPLES = {
    "packed": [[0, 1, 2], [3], [4, 5]],
    "one row": [[0, 1, 2, 3, 4, 5]],
    "padded": [[0], [1], [2], [3], [4], [5]],
}


@pytest.mark.parametrize("arrangement", ROWS_OF_EXAMPLES)
@pytest.mark.parametrize("layout", ["rows", "flat"])
def test_logits_are_those_of_the_example_alone(model: PreTrainedModel, layout: Any, arrangement: str):
    made = examples(9, 1, 14, 20, 5, 8)
    rows = ROWS_OF_EXAMPLES[arrangement]
    batch = SpeechCollator(PAD, layout=layout, pad_to_multiple_of=8)([[made[n] for n in row] for row in rows])
    assert batch["input_ids"].shape[1] % 8 == 0
    with torch.no_grad():
        logits = model(**batch).logits
    if layout == "flat":
        rows = [[n for row in rows for n in row]]
    for number, row in enumerate(rows):
        at = 0
        for index in row:
            length = len(made[index]["input_ids"])
            torch.testing.assert_close(
                logits[number, at : at + length], alone(model, made[index]), atol=1e-4, rtol=1e-4
            )
            at += length


@pytest.mark.parametrize("layout", ["rows", "flat"])
def test_loss_is_that_of_the_examples_alone(model: PreTrainedModel, layout: Any):
    """Summed over the tokens that are learnt, and its gradient too."""
    made = examples(9, 14, 20, 5)
    batch = SpeechCollator(PAD, layout=layout)([[made[0], made[1]], [made[2]], [made[3]]])
    learnt = sum(label != -100 for example in made for label in example["labels"])

    def gradient(run: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        loss = run()
        torch.autograd.backward(loss)
        weight = embedding_table(model)
        assert weight.grad is not None
        return loss.item(), weight.grad.clone()

    together = gradient(lambda: model(**batch).loss)
    each = gradient(
        lambda: torch.stack(
            [
                model(
                    torch.tensor([example["input_ids"]]),
                    labels=torch.tensor([example["labels"]]),
                    num_items_in_batch=learnt,
                ).loss
                for example in made
            ]
        ).sum()
    )
    assert together[0] == pytest.approx(each[0], rel=1e-5)
    torch.testing.assert_close(together[1], each[1], atol=1e-5, rtol=1e-4)


def test_what_the_collator_guards_against(model: PreTrainedModel):
    """With a mask of ones, or with a cache, transformers lets examples see each other."""
    made = examples(9, 14)
    batch = SpeechCollator(PAD)([made])
    second = alone(model, made[1])
    for other in ({"attention_mask": torch.ones_like(batch["input_ids"])}, {"use_cache": True}):
        with torch.no_grad():
            logits = model(**{**batch, **other}).logits[0, 9:]
        assert (logits - second).abs().max() > 0.1, "no longer needed: transformers has changed"


def test_padded_batch():
    batch = SpeechCollator(PAD)(examples(3, 5))
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch["input_ids"][0, 3:].tolist() == [PAD, PAD]
    assert batch["labels"][0, 3:].tolist() == [-100, -100]


def test_packed_batch():
    made = examples(3, 2, 4)
    for example in made:
        example["labels"] = list(example["input_ids"])  # nothing is masked
    batch = SpeechCollator(PAD)([made[:2], made[2:]])
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]]
    assert (batch["labels"] == -100).tolist() == [[1, 0, 0, 1, 0], [1, 0, 0, 0, 1]]
    assert "attention_mask" not in batch


def test_flat_batch_has_bounds_for_flash_attention():
    batch = SpeechCollator(PAD, layout="flat", pad_to_multiple_of=4)([examples(3, 2), examples(4)])
    assert batch["cu_seq_lens_q"].tolist() == [0, 3, 5, 9, 12]
    assert batch["cu_seq_lens_q"].dtype == torch.int32
    assert batch["max_length_q"] == batch["max_length_k"] == 4
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2, 3, 0, 1, 2]]


def test_max_length():
    made = examples(3, 5)
    with pytest.raises(DatasetError, match="8 tokens, more than max_length 7"):
        SpeechCollator(PAD, max_length=7)([made])
    cut = SpeechCollator(PAD, max_length=4, truncate=True)(made)
    assert cut["input_ids"][1].tolist() == made[1]["input_ids"][:4]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"input_ids": [1, 2]}, "no 'labels'"),
        ({"input_ids": [1, 2], "labels": [1]}, "equally long"),
        ({"input_ids": [], "labels": []}, "equally long"),
    ],
)
def test_broken_examples(broken: dict[str, list[int]], message: str):
    with pytest.raises(DatasetError, match=message):
        SpeechCollator(PAD)([broken])
    with pytest.raises(DatasetError, match="at least one example"):
        SpeechCollator(PAD)([])


def test_examples_are_not_changed():
    """A tensor, an array or a list, they are the caller's."""
    labels = torch.tensor([4, 5, 6])
    SpeechCollator(PAD)([{"input_ids": labels, "labels": labels}])
    assert labels.tolist() == [4, 5, 6]
