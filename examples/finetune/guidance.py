"""A model learns from itself to heed its text and voice: guidance (Ho and Salimans, 2021), made part of the weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, Trainer

from neucodec_tts.prompts.formats import IGNORED
from neucodec_tts.training import SpeechCollator

LIKELIEST = 50
"""Only what the text makes likely is weighed: a rare code is not right because it would be rarer still elsewhere."""


class ContrastCollator:
    """Makes batches of examples with another text and voice each, `contrast_ids`, for `GuidedTrainer`.

    The speech is the same, and stands at the end of both.
    """

    def __init__(self, collator: SpeechCollator) -> None:
        self._collate = collator

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batch = self._collate([{name: each[name] for name in ("input_ids", "labels")} for each in features])
        others = self._collate([self._contrast(each["contrast_ids"], each["labels"]) for each in features])
        return batch | {f"contrast_{name}": value for name, value in others.items()}

    @staticmethod
    def _contrast(ids: Sequence[int], labels: Sequence[int]) -> dict[str, list[int]]:
        spoken = [label for label in labels if label != IGNORED]
        return {"input_ids": list(ids), "labels": [IGNORED] * (len(ids) - len(spoken)) + spoken}


class GuidedTrainer(Trainer):
    """Trains a model to say of its own accord what it says when text and voice count several times.

    A copy of the model as it was at the start is asked twice what comes next: after its text and voice, p, and after
    others, q. The model learns q · (p / q) ^ guide, among what is likely with the text. The loss is the divergence from
    that, in nats. What is said after the training needs no second question, and no engine has to know of it.
    """

    guide = 1.0

    def __init__(self, model: PreTrainedModel, *rest: Any, **more: Any) -> None:
        self._teacher = copy.deepcopy(model).eval().requires_grad_(False)
        super().__init__(model, *rest, **more)
        self._teacher.to(self.args.device)
        self.model_accepts_loss_kwargs = False  # a mean over each batch, not over those that are accumulated

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        own = {name: value for name, value in inputs.items() if not name.startswith("contrast_")}
        other = {name.removeprefix("contrast_"): inputs[name] for name in inputs.keys() - own.keys()}
        with torch.no_grad(), self.accelerator.autocast():  # as the Trainer has the model itself compute
            with_text, without = (spoken_logits(self._teacher, batch) for batch in (own, other))
            likely, tokens = with_text.topk(min(LIKELIEST, with_text.shape[-1]))
            elsewhere = without.gather(1, tokens)
            # Logits serve as well as logarithms of chances, from which they differ by a number for each row.
            wanted = (elsewhere + self.guide * (likely - elsewhere)).log_softmax(-1)
        found = spoken_logits(model, own).log_softmax(-1).gather(1, tokens)
        loss = (wanted.exp() * (wanted - found)).sum(-1).mean()
        return (loss, {}) if return_outputs else loss


def spoken_logits(model: Any, batch: dict[str, Any]) -> Tensor:
    """The float32 logits (N, V) from which the N labelled tokens of a batch come, row by row."""
    asked = batch["labels"][:, 1:] != IGNORED  # by the position before
    first = int(asked.any(dim=0).nonzero()[0])
    rest = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**rest, logits_to_keep=asked.shape[1] + 1 - first).logits
    return logits[:, :-1][asked[:, first:]].float()
