"""The logits processor that keeps requests for speech to codes and stops, in both of vLLM's runners.

vLLM loads it into every engine of the environment. A request that does not ask for speech costs one dictionary
look-up when it arrives; where no request asks for speech, a step costs a comparison.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from vllm.v1.sample.logits_processor import LogitsProcessor as RunnerV1
from vllm.v1.sample.logits_processor import process_dict_updates
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as RunnerV2

from neucodec_tts_vllm.constraint import AllowedTokens, SpeechConstraint, constrain

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.config import VllmConfig
    from vllm.v1.sample.logits_processor import BatchUpdate
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcRequestState

logger = logging.getLogger(__name__)

_UNLIMITED = np.iinfo(np.int32).max


class SpeechLogitsProcessor(RunnerV1, RunnerV2):
    """The class that the entry point names: a subclass of both interfaces that creates the one that the runner uses.

    The V1 runner passes ``(vllm_config, device, is_pin_memory)``, Model Runner V2 ``(vllm_config, req_states)``.
    Requests ask for speech by `SpeechConstraint.to_extra_args` in ``SamplingParams.extra_args``.
    """

    def __new__(cls, vllm_config: VllmConfig, *arguments: Any) -> Any:  # noqa: D102 - the class says it
        if len(arguments) == 2:
            return SpeechProcessorV1(vllm_config, *arguments)
        return SpeechProcessorV2(vllm_config, *arguments)

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuse a request whose constraint is malformed, before it reaches the engine.

        Raises:
            ValueError: it is; vLLM answers 400.
        """
        SpeechConstraint.from_extra_args(sampling_params.extra_args)


def _constraint_of(params: SamplingParams, vocab_size: int) -> SpeechConstraint | None:
    """The constraint of a request that has been validated; None if there is none or this model cannot obey it."""
    constraint = SpeechConstraint.from_extra_args(params.extra_args)
    if constraint is None:
        return None
    tokens = constraint.tokens
    if max(tokens.end - 1, *tokens.stop_ids) >= vocab_size:
        # Everything would be forbidden, which no sampler survives.
        logger.warning(
            "a request asks for codes %d to %d and stops %s, and the model has %d tokens; it is not constrained",
            tokens.first,
            tokens.end - 1,
            tokens.stop_ids,
            vocab_size,
        )
        return None
    return constraint


class SpeechProcessorV1(RunnerV1):
    """For the V1 runner: rows of the logits are requests in the order of a persistent batch."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._vocab_size = int(vllm_config.model_config.get_vocab_size())
        self._device = device
        self._pin = is_pin_memory
        # Row -> constraint and the list of the tokens that it has generated, which the runner goes on filling.
        self._requests: dict[int, tuple[SpeechConstraint, list[int]]] = {}
        self._batch_size = 0
        self._states: tuple[tuple[int, bool, bool], ...] = ()  # what the masks below were made from
        self._masks: list[tuple[AllowedTokens, Tensor | None, Tensor | None, Tensor | None]] = []

    def is_argmax_invariant(self) -> bool:
        """No: the likeliest token may be one that is not allowed."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow requests as they come, go and move; called before each step."""
        if not self._requests and (batch_update is None or not batch_update.added):
            return
        changed = process_dict_updates(self._requests, batch_update, self._add)
        if batch_update is not None and batch_update.batch_size != self._batch_size:
            self._batch_size = batch_update.batch_size
            changed = True
        states = tuple(
            (
                row,
                len(output) < constraint.min_frames,
                constraint.max_frames is not None and len(output) >= constraint.max_frames,
            )
            for row, (constraint, output) in self._requests.items()
        )
        if changed or states != self._states:
            self._states = states
            self._masks = self._build()

    def apply(self, logits: Tensor) -> Tensor:
        """Constrain the rows of requests for speech, in place; logits are (batch, vocabulary)."""
        for tokens, rows, stop_blocked, codes_blocked in self._masks if self._requests else ():
            constrain(logits, tokens, rows=rows, stop_blocked=stop_blocked, codes_blocked=codes_blocked)
        return logits

    def _add(
        self, params: SamplingParams, prompt_ids: list[int] | None, output_ids: list[int]
    ) -> tuple[SpeechConstraint, list[int]] | None:
        constraint = _constraint_of(params, self._vocab_size)
        return None if constraint is None else (constraint, output_ids)

    def _build(self) -> list[tuple[AllowedTokens, Tensor | None, Tensor | None, Tensor | None]]:
        groups: dict[AllowedTokens, list[tuple[int, bool, bool]]] = {}
        for state in self._states:
            groups.setdefault(self._requests[state[0]][0].tokens, []).append(state)
        return [
            (
                tokens,
                None if len(states) == self._batch_size else self._rows([row for row, _, _ in states]),
                self._rows([row for row, too_short, _ in states if too_short], optional=True),
                self._rows([row for row, _, too_long in states if too_long], optional=True),
            )
            for tokens, states in groups.items()
        ]

    def _rows(self, rows: list[int], optional: bool = False) -> Tensor | None:
        """A mask with these rows, bool (batch,); None if there are none and that is allowed."""
        if optional and not rows:
            return None
        mask = torch.zeros(self._batch_size, dtype=torch.bool, pin_memory=self._pin)
        mask[rows] = True
        return mask.to(self._device, non_blocking=True)


class SpeechProcessorV2(RunnerV2):
    """For Model Runner V2: requests have slots, rows are mapped to slots anew in each step.

    With speculative decoding a request has a row for each draft token, so frames are counted by a row's position.
    """

    def __init__(self, vllm_config: VllmConfig, req_states: LogitsProcRequestState) -> None:
        self._vocab_size = int(req_states.vocab_size)
        self._device = req_states.device
        self._prompt_len = req_states.prompt_len.np
        slots = req_states.max_num_reqs
        self._kinds: list[AllowedTokens] = []
        # By slot: index into _kinds (-1: not speech), prompt length, shortest and longest in frames.
        self._host = np.zeros((4, slots), np.int32)
        self._host[0] = -1
        self._on_device = torch.from_numpy(self._host.copy()).to(self._device)
        self._stale = False
        self._speaking = (
            0  # slots with speech, those counted whose request has ended and that nobody has taken yet
        )

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        """Take over a slot; says whether its request is one for speech."""
        constraint = _constraint_of(sampling_params, self._vocab_size)
        spoke = bool(self._speaking) and bool(self._host[0, req_idx] >= 0)
        self._speaking += (constraint is not None) - spoke
        if constraint is None:
            if spoke:
                self._host[0, req_idx] = -1
                self._stale = True
            return False
        longest = _UNLIMITED if constraint.max_frames is None else constraint.max_frames
        self._host[:, req_idx] = (
            self._kind(constraint.tokens),
            self._prompt_len[req_idx],
            constraint.min_frames,
            longest,
        )
        self._stale = True
        return True

    def apply_staged_writes(self) -> None:
        """Bring what changed to the device; called once a step."""
        if self._stale:
            # A copy, because the next step may change the original while this one is still on its way.
            staged = torch.from_numpy(self._host.copy())
            if self._device.type == "cuda":
                staged = staged.pin_memory()
            self._on_device = staged.to(self._device, non_blocking=True)
            self._stale = False

    def apply(self, logits: Tensor, ctx: LogitsContext) -> Tensor:
        """Constrain the rows of requests for speech, in place; logits are (rows, vocabulary)."""
        if not self._speaking:
            return logits
        slots = ctx.idx_mapping_np
        present = np.unique(self._host[0, slots])
        if not (present >= 0).any():
            return logits
        kind, prompt, least, most = self._on_device[:, ctx.expanded_idx_mapping.long()]
        frames = ctx.pos + 1 - prompt
        stop_blocked = frames < least
        limited = bool((self._host[3, slots] < _UNLIMITED).any())
        codes_blocked = frames >= most if limited else None
        for index in present[present >= 0].tolist():
            rows = None if len(present) == 1 else kind == index
            constrain(
                logits,
                self._kinds[index],
                rows=rows,
                stop_blocked=stop_blocked,
                codes_blocked=codes_blocked,
            )
        return logits

    def _kind(self, tokens: AllowedTokens) -> int:
        """Number of a set of tokens. Those that no slot refers to any more are forgotten, so the list stays short."""
        if tokens in self._kinds:
            return self._kinds.index(tokens)
        used = set(self._host[0].tolist())
        for index in range(len(self._kinds)):
            if index not in used:
                self._kinds[index] = tokens
                return index
        self._kinds.append(tokens)
        return len(self._kinds) - 1
