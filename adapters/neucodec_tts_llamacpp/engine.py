"""The decoding loop on llama.cpp: one prompt or many, and what prompts have in common is computed once."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.cli.environment import usable_cpus
from neucodec_tts.codec.checkpoints.hub import HubOptions, find_gguf
from neucodec_tts.errors import CheckpointError, EngineError
from neucodec_tts.speech.drawing import Progress, penalised, rank, widest
from neucodec_tts.speech.engine import (
    FinishReason,
    Generated,
    Sampling,
    SpeechTokens,
    TokenStream,
    check_batch,
    check_prompt,
)
from neucodec_tts.tokens.gguf import GGUFFile
from neucodec_tts_llamacpp.runtime import Runtime, Token
from neucodec_tts_llamacpp.speech_only import TokenTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_ROW = 256  # logits that are looked at together
_SPARE = 2
"""Sequences beside those that run, so that voices are kept while others speak."""
_STUCK_SECONDS = 10.0
"""A generation that waits for a place fails if no other computes anything for so long."""
_SAME_VOICE = 32
"""Prompts are taken to be of one voice if they begin with so many common tokens, at least half of the kept prompt."""


class LlamaCppEngine:
    """A `SpeechEngine` on llama.cpp.

    Tokens are drawn as in the other engines, from the logits of codes and stops. The prompt of a voice is computed
    once: a sequence that has spoken keeps it, and the next prompt that begins alike goes on from there.

    Any thread may generate. Where ``max_batch`` generations run already, the next waits for one of them to end.

    Args:
        path: of the GGUF file.
        tokens: the codes and stops of its tokenizer.
        max_batch: generations that run at a time.
        context_length: most tokens of prompt and speech together.
        threads: that compute; by default one for each core that the process may use.
        gpu: True puts the model on the GPU, False on the CPU; None on the GPU where llama.cpp was built for it.

    Attributes:
        runtime: the model; ``runtime.computed`` counts the tokens that were computed.

    Raises:
        CheckpointError: the file is damaged, or llama.cpp does not know its kind of model.
        VocabularyError: the model has fewer rows than its tokenizer has tokens.
        DeviceError: there is not enough memory, or no GPU.
        EngineError: an option is out of range, or llama.cpp is not installed.
    """

    def __init__(
        self,
        path: str,
        tokens: SpeechTokens,
        *,
        max_batch: int = 4,
        context_length: int = 2048,
        threads: int | None = None,
        gpu: bool | None = None,
    ) -> None:
        for name, value in (
            ("max_batch", max_batch),
            ("context_length", context_length),
            ("threads", threads),
        ):
            if value is not None and value < 1:
                raise EngineError(f"{name} is {value}; it must be at least 1")
        self.tokens = tokens
        self.max_batch = max_batch
        file = GGUFFile.read(path)
        self._rows = file.tensors["token_embd.weight"].shape[-1] if "token_embd.weight" in file.tensors else 0
        tokens.check_rows(self._rows)
        wanted = np.concatenate([tokens.vocabulary.ids, np.array(tokens.stop_ids, np.int64)])
        table = TokenTable.of(file, wanted)
        self._columns = wanted
        self._wanted: slice | NDArray[np.int64] = wanted if table is None else slice(None)
        self.runtime = Runtime(
            path,
            table,
            sequences=max_batch + _SPARE,
            context_length=context_length,
            threads=threads or usable_cpus(),
            gpu=gpu,
        )
        self._sequences = [_Sequence(number) for number in range(max_batch + _SPARE)]
        self._clock = itertools.count(1)
        self._room = threading.Condition(self.runtime.lock)

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
    ) -> LlamaCppEngine:
        """Load a model.

        Args:
            model: a GGUF file, a folder or repository of the hub that holds one, or ``OWNER/REPOSITORY/FILE.gguf``.
            tokens: the codes and stops of its tokenizer.
            device: ``"cpu"``, or any other name for the GPU; the GPU where llama.cpp was built for it by default.
            dtype: must be None; a GGUF file has its own.
            hub: how a repository of the hub is reached.
            options: ``max_batch``, ``context_length`` and ``threads``.

        Raises:
            CheckpointError: there is no such model, it is damaged, or it is not in GGUF.
            VocabularyError: it lacks tokens.
            DeviceError: there is not enough memory, or no GPU.
            EngineError: an option is unknown or out of range, or llama.cpp is not installed.
        """
        if dtype is not None:
            raise EngineError(
                f"dtype is {dtype!r}, but a GGUF file has its own; convert the model again instead"
            )
        unknown = set(options) - {"max_batch", "context_length", "threads"}
        if unknown:
            raise EngineError(f"the engine llama-cpp has no option {', '.join(sorted(unknown))}")
        path = find_gguf(model, hub)
        if path is None:
            raise CheckpointError(
                f"{model} is not in GGUF; make it so: neucodec-tts convert {model} --gguf q8_0"
            )
        return cls(str(path), tokens, gpu=None if device is None else device != "cpu", **options)

    @property
    def context_length(self) -> int:
        """Tokens that prompt and speech may have together."""
        return self.runtime.context_length

    def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> TokenStream:
        """Continue one prompt; each token is there as soon as it is drawn, and no thread is involved.

        Raises:
            EngineError: the prompt leaves no room for speech, or holds ids that the model lacks; or, when the first
                token is asked for, ``max_batch`` generations run that cannot go on before this one does.
        """
        check_prompt(prompt_ids, self.context_length, self._rows)
        return TokenStream(self._generate(prompt_ids, sampling))

    def _generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> Generator[int, None, FinishReason]:
        running = self._begin(0, prompt_ids, sampling)
        try:
            while True:
                token = self._draw(running)
                if token is None:
                    return "stop"
                reason = running.progress.push(token)
                yield token
                if reason is not None:
                    return reason
                self._compute([running])
        finally:
            self._end(running)

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
        waiting = [(index, *each) for index, each in enumerate(zip(prompts, samplings, strict=True))]
        waiting.reverse()  # the next is the last
        running: list[_Running] = []
        try:
            while waiting or running:
                while waiting and len(running) < self.max_batch:
                    with self.runtime.lock:
                        if running and not self._has_room():
                            break  # others may be waiting for these
                        running.append(self._begin(*waiting.pop()))
                for each in list(running):
                    token = self._draw(each)
                    reason: FinishReason | None = "stop"
                    if token is not None:
                        reason = each.progress.push(token)
                    if reason is not None:
                        running.remove(each)
                        self._end(each)
                        yield each.index, Generated(each.ids, reason)
                self._compute(running)
        finally:
            for each in running:
                self._end(each)

    def _begin(self, index: int, prompt: Sequence[int], sampling: Sampling) -> _Running:
        """Compute a prompt; what it has in common with another that is still there is not computed again."""
        prompt = [int(id) for id in prompt]
        with self.runtime.lock:
            self._wait_for_room()
            sequence, common = self._take(prompt)
            logger.debug("a prompt of %d tokens, %d of which are known", len(prompt), common)
            sequence.busy, sequence.thread = True, threading.get_ident()
            try:
                new = [
                    Token(id, position, sequence.number, position == len(prompt) - 1)
                    for position, id in enumerate(prompt[common:], start=common)
                ]
                sequence.ids = prompt[:common]
                (logits,) = self.runtime.compute(new)
                sequence.ids = prompt
                return _Running(
                    index,
                    sequence,
                    Progress.begin(prompt, sampling, self.context_length, self._columns),
                    self._choices(logits),
                )
            except BaseException:
                sequence.busy = False
                self._room.notify()
                raise

    def _wait_for_room(self) -> None:
        """Wait until fewer than ``max_batch`` generations run.

        Raises:
            EngineError: they are all of this thread, or none of them goes on.
        """
        while not self._has_room():
            computed, mine = self.runtime.computed, threading.get_ident()
            waits = any(each.busy and each.thread != mine for each in self._sequences)
            if not waits or (not self._room.wait(_STUCK_SECONDS) and self.runtime.computed == computed):
                raise EngineError(
                    f"{self.max_batch} generations run already; close one, or load the engine with a larger max_batch"
                )

    def _take(self, prompt: list[int]) -> tuple[_Sequence, int]:
        """A free sequence that holds as much as possible of a prompt, and how many tokens that is."""
        free = [each for each in self._sequences if not each.busy]
        best = max(self._sequences, key=lambda each: each.common(prompt))
        common = min(best.common(prompt), len(prompt) - 1)  # the last is computed for its logits
        target = best
        if best.busy or common < max(_SAME_VOICE, len(best.ids) / 2):
            target = min(free, key=lambda each: each.used)  # the one that nobody has asked for longest
        if common and target is not best:
            self.runtime.copy(best.number, target.number)
        common = self.runtime.cut(target.number, common)
        target.used = best.used = next(self._clock)
        return target, common

    def _has_room(self) -> bool:
        return sum(each.busy for each in self._sequences) < self.max_batch

    def _draw(self, running: _Running) -> int | None:
        """Draw the next token; None is the stop."""
        logits, progress = running.logits, running.progress
        codes = self.tokens.vocabulary.codebook_size
        if not progress.may_stop:
            logits = logits[:codes]
        logits = penalised(logits, progress)
        best = _likeliest(logits, widest(progress.sampling, len(logits)))
        choice = int(best[rank(logits[best], progress.sampling, progress.dice.roll())])
        if choice >= codes:
            return None
        progress.see(choice)
        running.ids.append(int(self.tokens.vocabulary.ids[choice]))
        return running.ids[-1]

    def _compute(self, running: Sequence[_Running]) -> None:
        """Compute the tokens that were drawn last."""
        if not running:
            return
        with self.runtime.lock:
            tokens = [
                Token(each.ids[-1], len(each.sequence.ids) + len(each.ids) - 1, each.sequence.number, True)
                for each in running
            ]
            for each, logits in zip(running, self.runtime.compute(tokens), strict=True):
                each.logits = self._choices(logits)

    def _choices(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits of codes and stops, a copy (codes + stops,)."""
        return logits[self._wanted].copy()

    def _end(self, running: _Running) -> None:
        """Give a sequence back; it keeps its prompt."""
        with self.runtime.lock:
            sequence = running.sequence
            sequence.ids = sequence.ids[: self.runtime.cut(sequence.number, len(sequence.ids))]
            sequence.busy = False
            self._room.notify()


@dataclass(eq=False)
class _Sequence:
    """A place for the keys and values of one prompt and its speech.

    Attributes:
        number: llama.cpp's.
        ids: the prompt, all of it computed.
        busy: True while a generation runs.
        thread: that began it.
        used: when it was last asked for.
    """

    number: int
    ids: list[int] = field(default_factory=list)
    busy: bool = False
    thread: int = 0
    used: int = 0

    def common(self, prompt: Sequence[int]) -> int:
        """Number of tokens at the beginning that are the same."""
        for place, (ours, theirs) in enumerate(zip(self.ids, prompt, strict=False)):
            if ours != theirs:
                return place
        return min(len(self.ids), len(prompt))


@dataclass(eq=False)
class _Running:
    """A running generation: its tokens so far, and the logits of the next."""

    index: int
    sequence: _Sequence
    progress: Progress
    logits: NDArray[np.float32]
    ids: list[int] = field(default_factory=list)


def _likeliest(logits: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Indices of the largest, the largest first; a NaN is among them."""
    if count == 1:
        return np.array([int(np.argmax(logits))])
    best = np.arange(len(logits))
    highest = logits[: len(logits) // _ROW * _ROW].reshape(-1, _ROW).max(axis=1)
    if count < len(highest):
        # As many rows have one at least as large as this, so that few others need to be looked at: 8 times faster.
        best = np.flatnonzero(~(logits < np.partition(highest, -count)[-count]))
    if count < len(best):
        best = best[np.argpartition(logits[best], -count)[-count:]]
    return best[np.argsort(-logits[best], kind="stable")]
