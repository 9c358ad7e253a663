"""Examples to tensors: padded, or several in a row with attention kept inside each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch

from neucodec_tts.errors import DatasetError
from neucodec_tts.prompts.formats import IGNORED

if TYPE_CHECKING:
    from torch import Tensor

    from neucodec_tts.training.packing import Example

Layout = Literal["rows", "flat"]


class SpeechCollator:
    """Makes a batch for a causal language model of transformers.

    Each item of a batch is an example (``input_ids`` and ``labels``, integers (tokens,), not shifted), or a list of
    examples that share a row (`PackedExamples`). The batch depends on that:

    - No row has more than one example: ``input_ids``, ``labels`` and ``attention_mask``, each int64 (B, L), padded on
      the right.
    - Some do: ``input_ids``, ``labels`` and ``position_ids``, each int64 (B, L), and ``use_cache=False``. Positions
      begin anew with each example and with the padding. From that, and only without an attention mask and without a
      cache, transformers keeps attention inside each example, in "sdpa", "eager" and "flex_attention". With
      FlashAttention it does so only for a single row, so there use ``layout="flat"``.
    - ``layout="flat"``: everything in one row (1, tokens) without padding, with ``cu_seq_lens_q``, ``cu_seq_lens_k``
      (int32 (examples + 1,)), ``max_length_q`` and ``max_length_k`` for FlashAttention's kernels of variable length.
      Other attention works with it, too.

    The first label of every example is `IGNORED`: it would have to be predicted from the example before.

    Args:
        pad_id: token for padding. Any will do: it is masked, and its label is ignored.
        max_length: tokens of the context; a longer row is an error, or cut off with `truncate`.
        truncate: cut rows of one example at `max_length`, as `fit_examples` counted it.
        pad_to_multiple_of: pad rows to a multiple of so many tokens.
        layout: see above.
    """

    def __init__(
        self,
        pad_id: int,
        *,
        max_length: int | None = None,
        truncate: bool = False,
        pad_to_multiple_of: int = 1,
        layout: Layout = "rows",
    ) -> None:
        if layout not in ("rows", "flat"):
            raise DatasetError(f"layout is {layout!r}; it must be 'rows' or 'flat'")
        if truncate and max_length is None:
            raise DatasetError("truncate needs max_length: say at how many tokens")
        self.pad_id = pad_id
        self.max_length = max_length
        self.truncate = truncate
        self.pad_to_multiple_of = max(1, pad_to_multiple_of)
        self.layout = layout

    def __call__(self, features: Sequence[Example | Sequence[Example]]) -> dict[str, Any]:
        """Make a batch.

        Raises:
            DatasetError: an example has no labels, or not one for each token, or a row is too long.
        """
        if not features:
            raise DatasetError("a batch needs at least one example")
        rows = [
            [self._tensors(example) for example in ([item] if isinstance(item, Mapping) else item)]
            for item in features
        ]
        for row in rows:
            length = sum(len(ids) for ids, _ in row)
            if self.max_length is not None and length > self.max_length:
                raise DatasetError(
                    f"a row has {length} tokens, more than max_length {self.max_length}; choose what fits with "
                    "fit_examples"
                )
        if self.layout == "flat":
            return self._flat([example for row in rows for example in row])
        return self._padded(rows)

    def _tensors(self, example: Example) -> tuple[Tensor, Tensor]:
        try:
            ids, labels = example["input_ids"], example["labels"]
        except KeyError as missing:
            raise DatasetError(
                f"an example has no {missing}; add tokens to the data set with `neucodec-tts prepare --model`"
            ) from missing
        tokens = torch.as_tensor(ids, dtype=torch.long)
        learnt = torch.as_tensor(labels, dtype=torch.long)
        if tokens.ndim != 1 or tokens.shape != learnt.shape or not len(tokens):
            raise DatasetError(
                f"an example has input_ids {tuple(tokens.shape)} and labels {tuple(learnt.shape)}; both must be flat "
                "and equally long"
            )
        if self.truncate:
            tokens, learnt = tokens[: self.max_length], learnt[: self.max_length]
        learnt = learnt.clone()
        learnt[0] = IGNORED
        return tokens, learnt

    def _padded(self, rows: list[list[tuple[Tensor, Tensor]]]) -> dict[str, Any]:
        longest = max(sum(len(ids) for ids, _ in row) for row in rows)
        longest += -longest % self.pad_to_multiple_of
        size = (len(rows), longest)
        input_ids = torch.full(size, self.pad_id)
        labels = torch.full(size, IGNORED)
        positions = torch.arange(longest).repeat(len(rows), 1)
        mask = torch.zeros(size, dtype=torch.long)
        for number, row in enumerate(rows):
            at = 0
            for ids, learnt in row:
                end = at + len(ids)
                input_ids[number, at:end] = ids
                labels[number, at:end] = learnt
                mask[number, at:end] = 1
                positions[number, at:] = torch.arange(longest - at)
                at = end
            positions[number, at:] = torch.arange(longest - at)
        if all(len(row) == 1 for row in rows):
            return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}
        return {"input_ids": input_ids, "position_ids": positions, "labels": labels, "use_cache": False}

    def _flat(self, examples: list[tuple[Tensor, Tensor]]) -> dict[str, Any]:
        input_ids = torch.cat([ids for ids, _ in examples])
        labels = torch.cat([learnt for _, learnt in examples])
        lengths = [len(ids) for ids, _ in examples]
        positions = torch.cat([torch.arange(length) for length in lengths])
        padding = -len(input_ids) % self.pad_to_multiple_of
        if padding:
            input_ids = torch.cat([input_ids, torch.full((padding,), self.pad_id)])
            labels = torch.cat([labels, torch.full((padding,), IGNORED)])
            positions = torch.cat([positions, torch.arange(padding)])
            lengths.append(padding)
        bounds = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
        return {
            "input_ids": input_ids[None],
            "position_ids": positions[None],
            "labels": labels[None],
            "use_cache": False,
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
        }
