"""The logits of codes and stops.

A language model for speech has the tokens of text as well, often twice as many as codes. They are excluded by the
range in which the codes lie, never by a list of 65,537 ids.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LogitsProcessor

from neucodec_tts.errors import EngineError
from neucodec_tts.speech.engine import SpeechTokens

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedConfig, PreTrainedModel
    from transformers.cache_utils import Cache

logger = logging.getLogger(__name__)

_PADDED_ROWS = 1024
"""More rows than this above the last token are no padding any more."""


def check_rows(model: PreTrainedModel, tokens: SpeechTokens) -> int:
    """Check that the model has a row for each code and each stop; returns how many rows it has.

    Rows above the tokenizer's last token are fine, models pad their tables; they are never drawn.

    Raises:
        VocabularyError: it has too few rows.
        EngineError: it is no causal language model.
    """
    output: Any = model.get_output_embeddings()
    inputs: Any = model.get_input_embeddings()
    if output is None or inputs is None:
        raise EngineError(f"{type(model).__name__} is not a causal language model: it has no output layer")
    rows = min(int(output.weight.shape[0]), int(inputs.weight.shape[0]))
    tokens.check_rows(rows)
    if rows > tokens.required_rows + _PADDED_ROWS:
        logger.debug("the model has %d rows, %d above its codes", rows, rows - tokens.required_rows)
    return rows


class CodeHead:
    """Runs a model and returns the logits of the codes and the stops, in this order.

    Llama and Qwen have a plain linear output layer on the last hidden state. There only the rows of codes and stops are
    computed: a third of the layer in NeuTTS Air, whose tokenizer has 151,936 tokens of text. Some models scale or cap
    their logits, so both ways are compared once.

    Args:
        model: in the state in which it will run (device, dtype).
        tokens: the codes and stops.
    """

    def __init__(self, model: PreTrainedModel, tokens: SpeechTokens) -> None:
        self._model = model
        self._tokens = tokens
        vocabulary = tokens.vocabulary
        device = model.get_output_embeddings().weight.device
        self._stops = torch.tensor(tokens.stop_ids, device=device)
        # A slice is a view; a model whose codes are scattered pays for a copy of their rows.
        self._codes: slice | Tensor
        if vocabulary.id_range is not None:
            self._codes = slice(*vocabulary.id_range)
        else:
            self._codes = torch.from_numpy(vocabulary.ids.copy()).to(device)
        parameters = inspect.signature(model.forward).parameters
        self._keeps_last = "logits_to_keep" in parameters
        # transformers 5.24 renamed past_key_values, and drops the old name in 5.40.
        self._cache_argument = "cache" if "cache" in parameters else "past_key_values"
        self._rows: list[tuple[Tensor, Tensor | None]] | None = None
        self._rows = self._plain_rows()

    @property
    def config(self) -> PreTrainedConfig:
        """The model's configuration."""
        return self._model.config

    @property
    def code_count(self) -> int:
        """Logits below this index are codes, the others stops."""
        return self._tokens.vocabulary.codebook_size

    @property
    def computes_rows_only(self) -> bool:
        """True if the rows of text are left out of the computation."""
        return self._rows is not None

    def token_id(self, choice: int) -> int:
        """Token id of the code ``choice``."""
        return int(self._tokens.vocabulary.ids[choice])

    @property
    def columns(self) -> NDArray[np.int64]:
        """Token ids of the logits, codes and stops."""
        return np.concatenate([self._tokens.vocabulary.ids, np.array(self._tokens.stop_ids, np.int64)])

    @torch.inference_mode()
    def __call__(
        self, ids: Tensor, mask: Tensor | None, positions: Tensor | None, cache: Cache | None
    ) -> Tensor:
        """Compute the logits of the next token.

        Args:
            ids: LongTensor (B, T).
            mask: 1 where there is a token, 0 where there is padding, LongTensor (B, all tokens so far).
            positions: LongTensor (B, T).
            cache: keys and values of the tokens before; changed in place.

        Returns:
            float32 (B, codes + stops), on the model's device.
        """
        arguments: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": positions,
            self._cache_argument: cache,
            "use_cache": cache is not None,
        }
        if self._rows is None:
            return self._pick(self._last_logits(arguments)).float()
        hidden = self._model.base_model(**arguments).last_hidden_state[:, -1]
        parts = [nn.functional.linear(hidden, weight, bias) for weight, bias in self._rows]
        return torch.cat(parts, dim=-1).float()

    def _last_logits(self, arguments: dict[str, Any]) -> Tensor:
        if self._keeps_last:
            arguments = {**arguments, "logits_to_keep": 1}
        return self._model(**arguments).logits[:, -1]

    def _pick(self, logits: Tensor) -> Tensor:
        return torch.cat([logits[:, self._codes], logits[:, self._stops]], dim=-1)

    def _plain_rows(self) -> list[tuple[Tensor, Tensor | None]] | None:
        """Weights and biases of the codes and of the stops, or None if they alone do not give the logits."""
        layer = self._model.get_output_embeddings()
        if type(layer) is not nn.Linear or self._model.base_model is self._model:
            return None
        weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
        rows: list[tuple[Tensor, Tensor | None]] = [
            (weight[at], None if bias is None else bias[at]) for at in (self._codes, self._stops)
        ]
        ids = torch.tensor([[self._tokens.stop_ids[0], self.token_id(0)]], device=weight.device)
        with torch.inference_mode():
            theirs = self._pick(self._last_logits({"input_ids": ids, "use_cache": False})).float()
            self._rows = rows
            try:
                ours = self(ids, None, None, None)
            except (TypeError, ValueError, AttributeError, RuntimeError) as error:
                logger.debug(
                    "%s does not run without its output layer: %s", type(self._model).__name__, error
                )
                return None
        tolerance = 0.02 * float(theirs.abs().max())  # rounding of bfloat16
        if ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=0.02, atol=tolerance):
            return rows
        logger.debug("%s does more than a linear output layer", type(self._model).__name__)
        return None


class CodesOnly(LogitsProcessor):
    """For ``model.generate(logits_processor=[...])``: allows codes and, when it is time, the stop.

    Args:
        tokens: the codes and stops.
        prompt_length: tokens of the prompt, padding included, so that codes can be counted.
        min_frames: the stop is forbidden until there are so many codes.
        max_frames: only the stop is allowed after so many codes; None for no limit.
    """

    supports_continuous_batching = False

    def __init__(
        self, tokens: SpeechTokens, prompt_length: int, *, min_frames: int = 0, max_frames: int | None = None
    ) -> None:
        self.tokens = tokens
        self.prompt_length = prompt_length
        self.min_frames = min_frames
        self.max_frames = max_frames
        self._scattered: dict[torch.device, Tensor] = {}

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return the scores with minus infinity where a token is not allowed; the argument stays as it is.

        Args:
            input_ids: prompt and codes so far, (B, T).
            scores: of the next token, (B, rows).
        """
        frames = input_ids.shape[1] - self.prompt_length
        allowed = torch.full_like(scores, -torch.inf)
        if self.max_frames is None or frames < self.max_frames:
            codes = self._codes(scores.device)
            allowed[:, codes] = scores[:, codes]
        if frames >= self.min_frames:
            stops = list(self.tokens.stop_ids)
            allowed[:, stops] = scores[:, stops]
        return allowed  # type: ignore[return-value]

    def _codes(self, device: torch.device) -> slice | Tensor:
        span = self.tokens.vocabulary.id_range
        if span is not None:
            return slice(*span)
        if device not in self._scattered:
            self._scattered[device] = torch.from_numpy(self.tokens.vocabulary.ids.copy()).to(device)
        return self._scattered[device]
