"""From a text to its speech on vLLM's engine: the server's pipeline."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from neucodec_tts.codec.streaming import StreamSettings
from neucodec_tts.errors import EngineError
from neucodec_tts.speech.assembly import Assembly
from neucodec_tts.speech.engine import FinishReason, RepetitionDetector, Sampling, SpeechTokens
from neucodec_tts.speech.joins import Pauses
from neucodec_tts.speech.plan import Plan, Utterance
from neucodec_tts.speech.stream import check_codes
from neucodec_tts_vllm.sampling import allowed_tokens, check_prompt, sampling_params

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from neucodec_tts.prompts import PromptFormat
    from neucodec_tts.tokens import SpeechVocabulary
    from neucodec_tts.voices import SpeakerPrompt
    from neucodec_tts_vllm.decode_stream import DecodeStream
    from neucodec_tts_vllm.decoding import DecodeWorker

logger = logging.getLogger(__name__)

_WHOLE_INTERVAL = 25  # tokens an event, where nobody listens yet
_SENTENCES_AT_A_TIME = 16  # of one request that is answered as a whole


@dataclass
class Account:
    """What a request has come to so far.

    Attributes:
        seed: with it the same text is spoken in the same way again.
        prompt_tokens: of all prompts.
        speech_tokens: generated and kept.
        started: when it began, by `time.perf_counter`.
        first_token: seconds until the first token; None before it.
        first_audio: seconds until the first sound; None before it.
        samples: of sound.
        cut_short: sentences that did not end by themselves.
    """

    seed: int
    prompt_tokens: int = 0
    speech_tokens: int = 0
    started: float = field(default_factory=time.perf_counter)
    first_token: float | None = None
    first_audio: float | None = None
    samples: int = 0
    cut_short: int = 0

    def usage(self) -> dict[str, int]:
        """In the shape of OpenAI's ``speech.audio.done``."""
        return {
            "input_tokens": self.prompt_tokens,
            "output_tokens": self.speech_tokens,
            "total_tokens": self.prompt_tokens + self.speech_tokens,
        }

    def heard(self, samples: int) -> None:
        """Count sound."""
        if samples and self.first_audio is None:
            self.first_audio = time.perf_counter() - self.started
        self.samples += samples


class Speaker:
    """Speaks texts on vLLM's engine, any number at a time, in one event loop.

    Args:
        engine: vLLM's ``EngineClient``.
        worker: decodes.
        prompt_format: builds prompts.
        vocabulary: which token ids are codes.
        context_length: tokens that prompt and speech may have together.
        sampling: the model's defaults.
        utterance_frames: as for `Plan`.
        seeds: whether this engine can be given seeds.
    """

    def __init__(
        self,
        engine: Any,
        worker: DecodeWorker,
        prompt_format: PromptFormat,
        vocabulary: SpeechVocabulary,
        context_length: int,
        sampling: Sampling,
        *,
        utterance_frames: tuple[int, int] | None = None,
        seeds: bool = True,
    ) -> None:
        self.worker = worker
        self.sampling = sampling
        self.seeds = seeds
        self._engine = engine
        self._format = prompt_format
        self._vocabulary = vocabulary
        self._context_length = context_length
        self._utterance_frames = utterance_frames
        self._allowed = allowed_tokens(SpeechTokens(vocabulary, tuple(prompt_format.stop_ids)))
        self._pauses = Pauses()
        self._numbers = itertools.count()
        # Phones and tokens of text are made here: not in the event loop, and not by two at a time.
        self._text = ThreadPoolExecutor(1, thread_name_prefix="speech-text")

    @property
    def sample_rate(self) -> int:
        """Of the sound, in Hz."""
        return self.worker.codec.output_sample_rate

    def begin(self, sampling: Sampling) -> tuple[Sampling, Account]:
        """Fix the seed of a request."""
        seed = secrets.randbits(31) if sampling.seed is None else sampling.seed
        return replace(sampling, seed=seed), Account(seed)

    async def plan(self, text: str, voice: SpeakerPrompt | None, sampling: Sampling) -> Plan:
        """What to generate; its seed must be given.

        Raises:
            PromptError: there is nothing to speak.
        """
        return await self._in_text_thread(
            lambda: Plan(text, voice, self._format, self._context_length, sampling, self._utterance_frames)
        )

    async def stream(
        self, plan: Plan, account: Account, *, first_chunk: int | None = None, lora: Any = None
    ) -> AsyncGenerator[NDArray[np.float32], None]:
        """Speak while generating; yields samples as soon as they are sound, float32 (n,), never none.

        One sentence is generated ahead of the one that is heard. Left early, everything is given up at once.

        Raises:
            EngineError: the model gave no codes, or the codec failed.
        """
        settings = self._stream_settings(first_chunk)
        parts: asyncio.Queue[_Part | Exception | None] = asyncio.Queue(1)
        opened: list[_Part] = []
        producer = asyncio.create_task(self._produce(plan, account, settings, parts, opened, lora))
        assembly = Assembly(self.worker.codec, self._pauses)
        try:
            while (part := await parts.get()) is not None:
                if isinstance(part, Exception):
                    raise part
                async with aclosing(self._hear(part, assembly)) as sounds:
                    async for sound in sounds:
                        if sound.numel():
                            account.heard(sound.numel())
                            yield sound.numpy()
                opened.remove(part)
        finally:
            producer.cancel()
            for part in opened:
                part.stream.close()
            await asyncio.gather(producer, return_exceptions=True)

    async def whole(
        self, plan: Plan, account: Account, *, retries: int = 1, lora: Any = None
    ) -> NDArray[np.float32]:
        """Speak all of it, float32 (n,); a sentence that does not end well is generated once more.

        Raises:
            EngineError: the model gave no codes, or the codec failed.
        """
        spoken = await self._all_sentences(plan, account, retries, lora)
        sounds = await asyncio.gather(*(self.worker.decode(codes) for _, codes, _ in spoken))
        samples = await self.worker.call(lambda: self._assembled(spoken, sounds))
        account.heard(samples.size)
        return samples

    async def codes(
        self, plan: Plan, account: Account, *, retries: int = 1, lora: Any = None
    ) -> list[list[int]]:
        """The codes of each sentence, and no sound, as `whole` would decode them.

        Raises:
            EngineError: the model gave no codes.
        """
        spoken = await self._all_sentences(plan, account, retries, lora)
        return [codes for _, codes, _ in spoken]

    async def _all_sentences(self, plan: Plan, account: Account, retries: int, lora: Any) -> list[_Spoken]:
        utterances = await self._in_text_thread(lambda: list(plan))
        room = asyncio.Semaphore(_SENTENCES_AT_A_TIME)

        async def one(utterance: Utterance) -> list[_Spoken]:
            async with room:
                codes, reason = await self._generate(utterance, account, lora)
            if (reason != "stop" or not codes) and utterance.attempt < retries:
                others = await self._in_text_thread(lambda: plan.again(utterance))
                if others:
                    return [spoken for other in others for spoken in await one(other)]
            check_codes(codes, utterance)
            account.prompt_tokens += len(utterance.prompt_ids)
            account.speech_tokens += len(codes)
            account.cut_short += reason != "stop"
            return [(utterance, codes, reason)]

        tasks = [asyncio.create_task(one(utterance)) for utterance in utterances]
        try:
            return [item for group in await asyncio.gather(*tasks) for item in group]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """End the threads."""
        self.worker.close()
        self._text.shutdown(wait=False, cancel_futures=True)

    def _assembled(self, spoken: list[_Spoken], sounds: list[torch.Tensor]) -> NDArray[np.float32]:
        assembly = Assembly(self.worker.codec, self._pauses)
        parts: list[torch.Tensor] = []
        for (utterance, codes, reason), sound in zip(spoken, sounds, strict=True):
            parts += [assembly.begin(codes), assembly.push(sound), assembly.end(utterance, codes, reason)]
        samples: NDArray[np.float32] = torch.cat(parts).numpy()
        return samples

    def _stream_settings(self, first_chunk: int | None) -> StreamSettings | None:
        default = self.worker.settings
        if not first_chunk or first_chunk == default.first_chunk:
            return None
        return replace(default, first_chunk=max(default.overlap, min(first_chunk, default.chunk), 1))

    async def _in_text_thread(self, function: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._text, function)

    async def _produce(
        self,
        plan: Plan,
        account: Account,
        settings: StreamSettings | None,
        parts: asyncio.Queue[_Part | Exception | None],
        opened: list[_Part],
        lora: Any,
    ) -> None:
        """Generate sentence after sentence; waits while the listener is more than one behind."""
        first = (settings or self.worker.settings).first_chunk + self.worker.settings.lookahead
        # After the first token, tokens come some at a time, so that the first chunk's last comes when it is drawn.
        interval = max(divisor for divisor in range(1, 6) if (first - 1) % divisor == 0)
        try:
            utterances = iter(plan)
            while (utterance := await self._in_text_thread(lambda: next(utterances, None))) is not None:
                part = _Part(utterance, self.worker.open(settings))
                opened.append(part)
                await parts.put(part)
                await self._fill(part, account, interval, lora)
            await parts.put(None)
        except Exception as error:
            await parts.put(error)

    async def _fill(self, part: _Part, account: Account, interval: int, lora: Any) -> None:
        account.prompt_tokens += len(part.utterance.prompt_ids)
        try:
            async with aclosing(self._tokens(part.utterance, interval, account, lora)) as tokens:
                async for codes, reason in tokens:
                    account.speech_tokens += len(codes)
                    part.add(codes, reason)
        except Exception as error:
            part.error = error
        finally:
            account.cut_short += part.reason != "stop"
            part.end()

    async def _hear(self, part: _Part, assembly: Assembly) -> AsyncGenerator[torch.Tensor, None]:
        head = assembly.head_frames
        while len(part.codes) < head and not part.ended:
            await part.wait()
        if head and part.codes:  # the silence at the seam is measured with the codec
            yield await self.worker.call(lambda: assembly.begin(part.codes))
        else:
            yield assembly.begin(part.codes)
        async for samples in part.stream:
            yield assembly.push(samples)
        if part.error is not None:
            raise part.error
        check_codes(part.codes, part.utterance)
        yield assembly.end(part.utterance, part.codes, part.reason)

    async def _generate(
        self, utterance: Utterance, account: Account, lora: Any
    ) -> tuple[list[int], FinishReason]:
        codes: list[int] = []
        reason: FinishReason = "length"
        async with aclosing(self._tokens(utterance, _WHOLE_INTERVAL, account, lora)) as tokens:
            async for new, ended in tokens:
                codes += new
                reason = ended or reason
        return codes, reason

    async def _tokens(
        self, utterance: Utterance, interval: int, account: Account, lora: Any
    ) -> AsyncGenerator[tuple[list[int], FinishReason | None], None]:
        """Codes of one sentence as vLLM draws them; a loop is noticed and ended."""
        from vllm.inputs import tokens_input

        check_prompt(utterance.prompt_ids, self._context_length)
        sampling = utterance.sampling if self.seeds else replace(utterance.sampling, seed=None)
        params = sampling_params(
            sampling, self._allowed, self._context_length - len(utterance.prompt_ids), interval=interval
        )
        loop = RepetitionDetector(sampling.repetition_frames)
        name = f"speech-{next(self._numbers)}-{secrets.token_hex(4)}"
        outputs: AsyncIterator[Any] = self._engine.generate(
            tokens_input(list(utterance.prompt_ids)), params, name, lora_request=lora
        )
        async with aclosing(outputs) as running:  # type: ignore[type-var]
            async for output in running:
                completion = output.outputs[0]
                if account.first_token is None and completion.token_ids:
                    account.first_token = time.perf_counter() - account.started
                codes = self._vocabulary.codes_among(list(completion.token_ids))
                for count, code in enumerate(codes, start=1):
                    if loop.push(code):
                        yield codes[:count], "repetition"
                        return
                reason = completion.finish_reason
                if reason not in (None, "stop", "length"):
                    raise EngineError(f"vLLM gave up a generation ({reason})")
                yield codes, reason


_Spoken = tuple[Utterance, list[int], FinishReason]


class _Part:
    """A sentence that is being generated and heard."""

    def __init__(self, utterance: Utterance, stream: DecodeStream) -> None:
        self.utterance = utterance
        self.stream = stream
        self.codes: list[int] = []
        self.reason: FinishReason = "length"
        self.error: Exception | None = None
        self.ended = False
        self._news = asyncio.Event()

    def add(self, codes: list[int], reason: FinishReason | None) -> None:
        self.codes += codes
        self.reason = reason or self.reason
        self.stream.push(codes)
        self._news.set()

    def end(self) -> None:
        self.ended = True
        self.stream.finish()
        self._news.set()

    async def wait(self) -> None:
        self._news.clear()
        await self._news.wait()
