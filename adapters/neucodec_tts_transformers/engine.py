"""The decoding loop: one prompt or many, a token at a time."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache

from neucodec_tts.codec.checkpoints.hub import HubOptions
from neucodec_tts.errors import DeviceError, EngineError
from neucodec_tts.speech.drawing import Progress
from neucodec_tts.speech.engine import (
    FinishReason,
    Generated,
    Sampling,
    SpeechTokens,
    TokenStream,
    check_batch,
    check_prompt,
)
from neucodec_tts_transformers.drawing import draw, penalise
from neucodec_tts_transformers.loading import load_model
from neucodec_tts_transformers.logits import CodeHead, check_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


class TransformersEngine:
    """A `SpeechEngine` on a causal language model of `transformers`.

    Args:
        model: any `AutoModelForCausalLM`; it is put in `eval` mode and left where it is.
        tokens: the codes and stops of its tokenizer.
        max_batch: prompts that run together in `generate_batch`.

    Raises:
        VocabularyError: the model has fewer rows than its tokenizer has tokens.
        EngineError: it is no causal language model.
    """

    def __init__(self, model: PreTrainedModel, tokens: SpeechTokens, *, max_batch: int = 8) -> None:
        if max_batch < 1:
            raise EngineError(f"max_batch is {max_batch}; it must be at least 1")
        self.model = model.eval()
        self.tokens = tokens
        self.max_batch = max_batch
        self._rows = check_rows(model, tokens)
        self._head = CodeHead(model, tokens)

    @classmethod
    def load(
        cls,
        model: str,
        tokens: SpeechTokens,
        *,
        device: str | None = None,
        dtype: str | None = None,
        hub: HubOptions | None = None,
        **options: Any,
    ) -> TransformersEngine:
        """Load a model from a folder or the hub.

        Args:
            model: folder or hub id.
            tokens: the codes and stops of its tokenizer.
            device: ``"cuda"`` where there is a GPU, else ``"cpu"``, by default.
            dtype: ``"bfloat16"`` on a GPU and ``"float32"`` on a CPU by default.
            hub: how a repository of the hub is reached.
            options: ``max_batch``, and what `AutoModelForCausalLM.from_pretrained` takes besides, such as
                ``attn_implementation``.

        Raises:
            CheckpointError: there is no such model, or it is damaged.
            DeviceError: there is no such device.
            VocabularyError: it lacks tokens.
        """
        max_batch = options.pop("max_batch", 8)
        loaded = load_model(model, device=device, dtype=dtype, hub=hub or HubOptions(), options=options)
        return cls(loaded, tokens, max_batch=max_batch)

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.device

    @property
    def context_length(self) -> int:
        """Tokens that prompt and speech may have together: what the model's positions allow."""
        config = self.model.config.get_text_config(decoder=True)
        return int(getattr(config, "max_position_embeddings", None) or 2048)

    def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> TokenStream:
        """Continue one prompt; each token is there as soon as it is drawn, and no thread is involved.

        Raises:
            EngineError: the prompt leaves no room for speech, or holds ids that the model lacks.
        """
        check_prompt(prompt_ids, self.context_length, self._rows)
        return TokenStream(self._generate(prompt_ids, sampling))

    def _generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> Generator[int, None, FinishReason]:
        for step in self._steps([prompt_ids], [sampling]):
            for event in step:
                if event.token is not None:
                    yield event.token
                if event.finish_reason is not None:
                    return event.finish_reason
        raise EngineError("the generation ended without a reason")

    def generate_batch(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> Iterator[tuple[int, Generated]]:
        """Continue many prompts, up to ``max_batch`` of them at a time; yields index and outcome as each ends.

        Raises:
            EngineError: a prompt leaves no room for speech, or holds ids that the model lacks.
        """
        check_batch(prompts, samplings, self.context_length, self._rows)
        return self._generate_batch(prompts, samplings)

    def _generate_batch(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> Iterator[tuple[int, Generated]]:
        for first in range(0, len(prompts), self.max_batch):
            group = slice(first, first + self.max_batch)
            ids: dict[int, list[int]] = {}
            for step in self._steps(prompts[group], samplings[group]):
                for event in step:
                    so_far = ids.setdefault(event.index, [])
                    if event.token is not None:
                        so_far.append(event.token)
                    if event.finish_reason is not None:
                        yield first + event.index, Generated(so_far, event.finish_reason)

    def _steps(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> Iterator[list[_Event]]:
        """Run prompts together, a token for each in every step; rows that have ended leave the batch."""
        rows = [
            (index, Progress.begin(prompt, sampling, self.context_length, self._head.columns))
            for index, (prompt, sampling) in enumerate(zip(prompts, samplings, strict=True))
        ]
        batch = _Batch(self._head, prompts, self.device)
        while rows:
            too_short = [number for number, (_, row) in enumerate(rows) if not row.may_stop]
            logits = batch.next_logits(too_short)
            penalise(logits, [row for _, row in rows])
            choices = draw(logits, [row for _, row in rows])
            events, kept = [], []
            for number, ((index, row), choice) in enumerate(zip(rows, choices, strict=True)):
                if choice >= self._head.code_count:
                    events.append(_Event(index, None, "stop"))
                    continue
                row.see(choice)
                reason = row.push(choice)
                events.append(_Event(index, self._head.token_id(choice), reason))
                if reason is None:
                    kept.append(number)
            yield events
            if kept:
                batch.append([self._head.token_id(choices[number]) for number in kept], kept, len(rows))
            rows = [rows[number] for number in kept]


@dataclass(frozen=True)
class _Event:
    index: int
    token: int | None
    finish_reason: FinishReason | None


class _Batch:
    """Prompts padded on the left, so that all end at the same column, and the cache of what was computed."""

    def __init__(self, head: CodeHead, prompts: Sequence[Sequence[int]], device: torch.device) -> None:
        self._head = head
        self._device = device
        self._cache = DynamicCache(config=head.config)
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.as_tensor(prompt, dtype=torch.long)
            mask[row, longest - len(prompt) :] = 1
        self._ids = ids.to(device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        self._positions = positions.to(device)
        # Without padding there is nothing to mask, and attention takes its fast path.
        self._mask: Tensor | None = None if bool(mask.all()) else mask.to(device)

    @torch.inference_mode()
    def next_logits(self, too_short: list[int]) -> Tensor:
        """Logits after the tokens that are there, float32 (rows, codes + stops); rows ``too_short`` may not stop."""
        try:
            logits = self._head(self._ids, self._mask, self._positions, self._cache)
            logits[too_short, self._head.code_count :] = -torch.inf
            return logits
        except torch.OutOfMemoryError as error:
            rows, columns = self._ids.shape[0], int(self._positions.max()) + 1
            raise DeviceError(
                f"{self._device} has too little memory for {rows} prompts of up to {columns} tokens; lower max_batch"
            ) from error

    def append(self, ids: list[int], kept: list[int], count: int) -> None:
        """Go on with the rows ``kept`` of ``count``, each with its new token."""
        if len(kept) < count:
            keep = torch.tensor(kept, device=self._device)
            self._select(keep)
        self._ids = torch.tensor(ids, device=self._device)[:, None]
        self._positions = self._positions[:, -1:] + 1
        if self._mask is not None:
            self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)

    @torch.inference_mode()
    def _select(self, keep: Tensor) -> None:
        self._cache.batch_select_indices(keep)
        self._positions = self._positions[keep]
        if self._mask is not None:
            self._mask = self._mask[keep]
