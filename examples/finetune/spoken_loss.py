"""The loss of a language model whose vocabulary is far larger than its layers: cross-entropy in pieces.

A Qwen with codes has 217,000 tokens, and so many logits for each place: 14 GB in float32 for 16,384 places. Here a few
places at a time get their logits, their loss and their gradients, only those that have a label. What is kept is the
gradient of the output layer, in float32. As Liger's fused linear cross-entropy (arXiv:2410.10989) does it for some
architectures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from neucodec_tts.prompts.formats import IGNORED

NUMBERS = {"cpu": 1 << 24, "cuda": 1 << 27}
"""Logits that are computed at a time."""
ALONE = {"logits_to_keep": 1}
"""Has a model compute the logits of the last place alone, which is the fewest that it takes."""


class LinearCrossEntropy(torch.autograd.Function):
    """The sum of the cross-entropies of ``hidden @ weight.T``, whose gradients are found on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """(N, D), (V, D) and (N,) to a scalar, float32; products are computed in ``dtype``."""
        device = hidden.device.type
        learning = any(ctx.needs_input_grad)
        by_hidden = torch.empty_like(hidden) if learning else None
        by_weight = torch.zeros_like(weight, dtype=torch.float32) if learning else None
        rows, table = hidden.detach().to(dtype), weight.detach().to(dtype)
        together = max(1, NUMBERS.get(device, NUMBERS["cuda"]) // len(weight))
        loss = torch.zeros((), device=hidden.device)
        with torch.autocast(device, enabled=False):
            for first in range(0, len(rows), together):
                piece, wanted = rows[first : first + together], labels[first : first + together, None]
                logits = (piece @ table.T).float()
                likely = logits.softmax(1)
                # The logarithm of all exponentials together, by way of the likeliest, which is never near 0.
                total = logits.amax(1) - likely.amax(1).log()
                loss += (total - logits.gather(1, wanted)[:, 0]).sum()
                if by_hidden is not None and by_weight is not None:
                    likely.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=torch.float32))
                    share = likely.to(dtype)
                    by_hidden[first : first + together] = share @ table
                    by_weight += share.T @ piece
        ctx.save_for_backward(by_hidden, by_weight)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_hidden, by_weight = ctx.saved_tensors
        return by_hidden * gradients[0], by_weight * gradients[0], None, None


class LossInPieces:
    """Computes the loss of one causal language model from what its last layer yields.

    Args:
        model: with an output layer of one matrix.
        dtype: of the products with that; the matrix' own if None.
    """

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | None = None) -> None:
        self._model, self._dtype = model, dtype
        self._hidden: Tensor | None = None
        self._hook = model.base_model.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: Any, outputs: Any) -> None:
        self._hidden = outputs[0]

    def _kept(self) -> Tensor:
        """The last layer's output (B, T, D) for the batch just heard. It is then let go."""
        hidden, self._hidden = self._hidden, None
        assert hidden is not None
        return hidden

    def close(self) -> None:
        """Leave the model as it was."""
        self._hook.remove()
        self._hidden = None

    def __call__(
        self, _outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The loss of the batch that the model has just heard, as ``Trainer`` asks for it.

        Args:
            labels: LongTensor (B, T), -100 where there is nothing to learn.
            num_items_in_batch: by which the sum is divided; the labels of this batch if None.
        """
        hidden, weight = self._kept(), self._model.get_output_embeddings().weight
        if not torch.is_grad_enabled():
            hidden, weight = hidden.detach(), weight.detach()
        wanted = F.pad(labels, (0, 1), value=IGNORED)[:, 1:]
        asked = wanted != IGNORED
        total = LinearCrossEntropy.apply(hidden[asked], weight, wanted[asked], self._dtype or weight.dtype)
        count = asked.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        return total / (count.to(total.device) if isinstance(count, Tensor) else count)

    @torch.no_grad()
    def is_the_models_own(self, inputs: Mapping[str, Any]) -> bool:
        """Try on one row whether the model's own loss is this one. Some models scale or cap their logits.

        Args:
            inputs: of the model, one batch.
        """
        head, config = self._model.get_output_embeddings(), self._model.config
        # What a few small logits do not show: a cap for large ones, and losses beside.
        if getattr(config, "final_logit_softcapping", None) or getattr(config, "output_router_logits", False):
            return False
        if type(head) is not nn.Linear or head.bias is not None:
            return False
        ids, asked = inputs["input_ids"], inputs["labels"] != IGNORED
        row = int(asked.any(dim=1).int().argmax())
        # The last place with a label: behind it may be padding, whose logits say nothing.
        place = int(asked[row].nonzero().max()) if bool(asked[row].any()) else ids.shape[1] - 1
        one = {
            name: value[row : row + 1]
            if isinstance(value, Tensor) and value.ndim > 1 and len(value) == len(ids)
            else value
            for name, value in inputs.items()
            if name != "labels"
        }
        training = self._model.training
        try:
            logits = self._model.eval()(**one, logits_to_keep=ids.shape[1] - place).logits[:, 0].float()
        except (TypeError, ValueError):  # it cannot leave logits out
            return False
        finally:
            self._model.train(training)
        ours = (self._kept()[:, place].to(head.weight.dtype) @ head.weight.T).float()
        return bool((ours - logits).norm() <= 0.02 * logits.norm())
