"""Speak texts on vLLM's engine: generate, decode and join, for any number of requests at a time."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from neucodec_tts.codec.arrays import TensorCodec
from neucodec_tts.codec.streaming import StreamSettings
from neucodec_tts.prompts import with_emotion
from neucodec_tts.speech.assembly import Assembly, assemble
from neucodec_tts.speech.engine import (
    FinishReason,
    RepetitionDetector,
    Sampling,
    SpeechTokens,
    check_prompt,
)
from neucodec_tts.speech.joins import Pauses
from neucodec_tts.speech.script import Script, Sentence
from neucodec_tts.speech.settling import Spoken, Verdict, fault, is_silent, settle
from neucodec_tts.text import TextReader
from neucodec_tts_vllm.sampling import allowed_tokens, sampling_params
from neucodec_tts_vllm.server.accounts import Account
from neucodec_tts_vllm.server.errors import ApiError
from neucodec_tts_vllm.server.live import LiveSentence
from neucodec_tts_vllm.server.pace import LONGEST_HOLD_SECONDS, Pace, hold_seconds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from neucodec_tts.prompts import PromptFormat
    from neucodec_tts.text import TextFormat
    from neucodec_tts.tokens import SpeechVocabulary
    from neucodec_tts.voices import SpeakerPrompt
    from neucodec_tts_vllm.decoding import DecodeWorker

logger = logging.getLogger(__name__)

_WHOLE_INTERVAL = 25  # tokens an event, where nobody listens yet
_CODES_INTERVAL = 5  # tokens an event, where nobody decodes here
_SENTENCES_AT_A_TIME = 16  # of one request that is answered as a whole
_ANSWER_SECONDS = 5.0  # for an engine that is asked if it is there


class Speaker:
    """Speaks texts on vLLM's engine, any number at a time, in one event loop.

    Args:
        engine: vLLM's ``EngineClient``.
        worker: decodes.
        prompt_format: builds prompts.
        vocabulary: maps codes to token ids.
        context_length: tokens that prompt and speech may have together.
        sampling: the model's defaults.
        utterance_frames: as for `Script`.
        seeds: True if this engine takes seeds.
        reader: reads texts for the model.
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
        reader: TextReader | None = None,
    ) -> None:
        self.worker = worker
        self.sampling = sampling
        self.seeds = seeds
        self._reader = reader or TextReader()
        self._engine = engine
        self._format = prompt_format
        self._vocabulary = vocabulary
        self._context_length = context_length
        self._utterance_frames = utterance_frames
        self._allowed = allowed_tokens(SpeechTokens(vocabulary, tuple(prompt_format.stop_ids)))
        self._pauses = Pauses()
        self._pace = Pace(worker.codec.frame_rate)
        self._numbers = itertools.count()
        # Phones and tokens of text are made here: not in the event loop, and not by two at a time.
        self._text = ThreadPoolExecutor(1, thread_name_prefix="speech-text")

    @property
    def sample_rate(self) -> int:
        """Sample rate of the sound, in Hz."""
        return self.worker.codec.output_sample_rate

    def begin(self, sampling: Sampling) -> tuple[Sampling, Account]:
        """Fix the seed of a request."""
        seed = secrets.randbits(31) if sampling.seed is None else sampling.seed
        return replace(sampling, seed=seed), Account(seed)

    async def script(
        self,
        text: str,
        voice: SpeakerPrompt | None,
        sampling: Sampling,
        text_format: TextFormat = "markdown",
        normalize: bool | None = None,
        emotion: str | None = None,
    ) -> Script:
        """Read a text and split it into sentences; the seed of `sampling` must be given.

        Raises:
            PromptError: there is nothing to speak, or the model has no such emotion.
        """

        def make() -> Script:
            read = self._reader.read(text, text_format, normalize)
            length, frames = self._context_length, self._utterance_frames
            return Script(read.text, voice, prompts, length, sampling, frames, read.warnings)

        prompts = with_emotion(self._format, emotion)
        return await self._in_text_thread(make)

    async def stream(
        self,
        script: Script,
        account: Account,
        *,
        first_chunk: int | None = None,
        retries: int = 1,
        gapless: bool = True,
        speed: float = 1.0,
        lora: Any = None,
    ) -> AsyncGenerator[NDArray[np.float32], None]:
        """Speak while generating; yields samples as soon as they are final, float32 (n,), never none.

        One sentence is generated ahead of the one that is heard. Leaving early gives up everything at once.

        Args:
            script: the text.
            account: gets the figures.
            first_chunk: frames of each sentence's first chunk, if not the default.
            retries: how often a sentence of which nothing is to be heard is generated again.
            gapless: where codes come slowly, let the first sound wait until the rest will come in time.
            speed: at which the listener plays the samples.
            lora: vLLM's LoRA adapter.

        Raises:
            EngineError: the model gave no codes, or the codec failed.
        """
        settings = self._stream_settings(first_chunk)
        waiting: asyncio.Queue[LiveSentence | Exception | None] = asyncio.Queue(1)
        opened: list[LiveSentence] = []
        producer = asyncio.create_task(self._produce(script, account, settings, waiting, opened, lora))
        assembly = Assembly(TensorCodec(self.worker.codec), self._pauses)
        held = not gapless

        async def hear(live: LiveSentence) -> AsyncGenerator[NDArray[np.float32], None]:
            """The sound of a sentence, and of the attempts that follow one of which nothing is to be heard."""
            nonlocal held
            # Before so many codes there is no sound. By this number, and not by what has been sent, a sentence is taken
            # back: the same seed must give the same sound under any load.
            needed = max(live.stream.settings.needed(0), assembly.head_frames)
            while len(live.codes) < needed and not live.ended:
                await live.wait()
            again: list[Sentence] = []
            if len(live.codes) < needed and live.error is None:
                again = (await self._settled(live.spoken(), script, retries)).again
            if again:
                live.stream.close()
            else:
                if live.codes:
                    live.accepted = True
                    if account.codes is not None:
                        account.codes += live.codes
                    if not held:
                        held = True
                        await self._hold(live, speed)
                    async with aclosing(self._play(live, account, assembly)) as sounds:
                        async for sound in sounds:
                            yield sound
                if live.error is not None:
                    raise live.error
                spoken = live.spoken(assembly.silent)
                verdict = await self._settled(spoken, script, retries, sent=True)
                again = verdict.again
                if again:
                    yield assembly.give_up(spoken)
                else:
                    account.settled(verdict)
                    yield assembly.end(spoken)
            for sentence in again:
                other = LiveSentence(sentence, self.worker.open(settings))
                opened.append(other)
                filling = asyncio.create_task(self._fill(other, account, 1, lora))
                try:
                    async with aclosing(hear(other)) as sounds:
                        async for sound in sounds:
                            yield sound
                finally:
                    filling.cancel()
                    await asyncio.gather(filling, return_exceptions=True)
                opened.remove(other)

        try:
            while (live := await waiting.get()) is not None:
                if isinstance(live, Exception):
                    raise live
                async with aclosing(hear(live)) as sounds:
                    async for sound in sounds:
                        if sound.size:
                            yield sound
                opened.remove(live)
        finally:
            producer.cancel()
            for live in opened:
                live.stream.close()
            await asyncio.gather(producer, return_exceptions=True)

    async def whole(
        self, script: Script, account: Account, *, retries: int = 1, lora: Any = None
    ) -> NDArray[np.float32]:
        """Speak all of a text, float32 (n,); a sentence that does not end well is generated once more.

        Raises:
            EngineError: the model gave no codes, or the codec failed.
        """
        sentences = await self._sentences(script, account, retries, lora, decode=True)
        sounds = [(spoken, sound.numpy()) for spoken, sound in sentences if sound is not None]
        codec, pauses = TensorCodec(self.worker.codec), self._pauses
        samples, _ = await self.worker.call(lambda: assemble(codec, pauses, sounds))
        return samples

    async def spoken(
        self, script: Script, account: Account, *, retries: int = 1, lora: Any = None
    ) -> list[Spoken]:
        """Generate the codes of each sentence, and no sound.

        Raises:
            EngineError: the model gave no codes.
        """
        sentences = await self._sentences(script, account, retries, lora, decode=False)
        return [spoken for spoken, _ in sentences]

    async def stream_codes(
        self, script: Script, account: Account, *, retries: int = 1, lora: Any = None
    ) -> AsyncGenerator[tuple[int, list[int]], None]:
        """Generate codes as they are drawn, and no sound; yields the number of a sentence and codes of it, never none.

        A sentence without any is generated once more.

        Raises:
            EngineError: the model gave no codes.
        """
        sentences = enumerate(script)
        while (numbered := await self._in_text_thread(lambda: next(sentences, None))) is not None:
            number, sentence = numbered
            attempts = [sentence]
            while attempts:
                sentence = attempts.pop(0)
                codes: list[int] = []
                ended: FinishReason = "length"
                account.prompt_tokens += len(sentence.prompt_ids)
                async with aclosing(self._tokens(sentence, _CODES_INTERVAL, account, lora)) as tokens:
                    async for new, reason in tokens:
                        account.speech_tokens += len(new)
                        codes += new
                        ended = reason or ended
                        if new:
                            yield number, new
                spoken = Spoken(sentence, codes, ended)
                verdict = await self._settled(spoken, script, retries, sent=bool(codes))
                attempts = verdict.again + attempts
                if not verdict.again:
                    account.settled(verdict)

    async def _sentences(
        self, script: Script, account: Account, retries: int, lora: Any, *, decode: bool
    ) -> list[tuple[Spoken, Tensor | None]]:
        """Generate the sentences of a text; with `decode` the samples of each, float32 (n,), otherwise None."""
        sentences = await self._in_text_thread(lambda: list(script))
        room = asyncio.Semaphore(_SENTENCES_AT_A_TIME)
        codec = self.worker.codec

        async def speak(sentence: Sentence) -> list[tuple[Spoken, Tensor | None]]:
            async with room:
                spoken = await self._generate(sentence, account, lora)
            sound = None
            if decode and fault(spoken, codec.frame_rate) is None:
                with account.trace.span("speech.decode"):
                    sound = await self.worker.decode(spoken.codes)
                spoken = replace(spoken, silent=is_silent(sound.numpy(), codec.output_hop_length))
            verdict = await self._settled(spoken, script, retries)
            if verdict.again:
                return [each for other in verdict.again for each in await speak(other)]
            if decode and sound is None:
                sound = await self.worker.decode(spoken.codes)
            account.prompt_tokens += len(sentence.prompt_ids)
            account.speech_tokens += len(spoken.codes)
            account.settled(verdict)
            return [(spoken, sound)]

        tasks = [asyncio.create_task(speak(sentence)) for sentence in sentences]
        try:
            return [each for group in await asyncio.gather(*tasks) for each in group]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def check(self) -> None:
        """Check that the engine and the decoder answer.

        Raises:
            ApiError: one does not. vLLM's own error if the engine has died.
        """
        await self._engine.check_health()
        try:
            asleep = await asyncio.wait_for(self._engine.is_sleeping(), _ANSWER_SECONDS)
        except asyncio.TimeoutError as error:
            raise ApiError(503, f"the engine has not answered for {_ANSWER_SECONDS:g} s") from error
        if asleep:
            raise ApiError(503, "the engine sleeps (POST /wake_up wakes it)")
        if not self.worker.alive:
            raise ApiError(503, "the decoder has ended; start the server again")

    def close(self) -> None:
        """End the threads."""
        self.worker.close()
        self._text.shutdown(wait=False, cancel_futures=True)

    async def _settled(self, spoken: Spoken, script: Script, retries: int, *, sent: bool = False) -> Verdict:
        """Decide what happens to a generation; another attempt's prompt is made in the thread of texts."""
        frame_rate = self.worker.codec.frame_rate
        if fault(spoken, frame_rate) is None:
            return Verdict()
        return await self._in_text_thread(lambda: settle(spoken, script, retries, frame_rate, sent=sent))

    def _stream_settings(self, first_chunk: int | None) -> StreamSettings | None:
        default = self.worker.settings
        if not first_chunk or first_chunk == default.first_chunk:
            return None
        return replace(default, first_chunk=max(default.overlap, min(first_chunk, default.chunk), 1))

    async def _in_text_thread(self, function: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._text, function)

    async def _produce(
        self,
        script: Script,
        account: Account,
        settings: StreamSettings | None,
        waiting: asyncio.Queue[LiveSentence | Exception | None],
        opened: list[LiveSentence],
        lora: Any,
    ) -> None:
        """Generate sentence after sentence; waits while the listener is more than one behind."""
        first = (settings or self.worker.settings).first_chunk + self.worker.settings.lookahead
        # After the first token, tokens come some at a time, so that the first chunk's last comes when it is drawn.
        interval = max(divisor for divisor in range(1, 6) if (first - 1) % divisor == 0)
        try:
            sentences = iter(script)
            while (sentence := await self._in_text_thread(lambda: next(sentences, None))) is not None:
                live = LiveSentence(sentence, self.worker.open(settings))
                opened.append(live)
                await waiting.put(live)
                await self._fill(live, account, interval, lora)
            await waiting.put(None)
        except Exception as error:
            await waiting.put(error)

    async def _fill(self, live: LiveSentence, account: Account, interval: int, lora: Any) -> None:
        account.prompt_tokens += len(live.sentence.prompt_ids)
        try:
            async with aclosing(self._tokens(live.sentence, interval, account, lora)) as tokens:
                async for codes, reason in tokens:
                    account.speech_tokens += len(codes)
                    live.add(codes, reason)
                    if live.accepted and account.codes is not None:
                        account.codes += codes
        except Exception as error:
            live.error = error
        finally:
            live.end()

    async def _hold(self, live: LiveSentence, speed: float) -> None:
        """Wait with the first sound while codes come so slowly that what follows it would come too late."""
        loop = asyncio.get_running_loop()
        end = loop.time() + LONGEST_HOLD_SECONDS
        sampling = live.sentence.sampling
        expected = min(live.sentence.estimated_frames, sampling.max_frames or live.sentence.estimated_frames)
        while not live.ended:
            pace = self._pace.speed
            longest = end - loop.time()
            seconds = hold_seconds(
                live.stream.settings,
                len(live.codes),
                expected,
                None if pace is None else pace / speed,
                self.worker.codec.frame_rate * speed,
            )
            if not 0 < seconds <= longest:  # waiting is not needed, or does not help
                return
            await live.wait(longest)

    async def _play(
        self, live: LiveSentence, account: Account, assembly: Assembly
    ) -> AsyncGenerator[NDArray[np.float32], None]:
        """The samples of a sentence, but for its last ones."""
        with account.trace.span("speech.decode"):
            if assembly.head_frames:  # the silence at the seam is measured with the codec
                yield await self.worker.call(lambda: assembly.begin(live.codes))
            else:
                yield assembly.begin(live.codes)
            async for samples in live.stream:
                yield assembly.push(samples.numpy())

    async def _generate(self, sentence: Sentence, account: Account, lora: Any) -> Spoken:
        codes: list[int] = []
        reason: FinishReason = "length"
        async with aclosing(self._tokens(sentence, _WHOLE_INTERVAL, account, lora)) as tokens:
            async for new, ended in tokens:
                codes += new
                reason = ended or reason
        return Spoken(sentence, codes, reason)

    async def _tokens(
        self, sentence: Sentence, interval: int, account: Account, lora: Any
    ) -> AsyncGenerator[tuple[list[int], FinishReason | None], None]:
        """Codes of one sentence as vLLM draws them; a loop is noticed and ended."""
        from vllm.inputs import tokens_input

        check_prompt(sentence.prompt_ids, self._context_length)
        sampling = sentence.sampling if self.seeds else replace(sentence.sampling, seed=None)
        params = sampling_params(
            sampling, self._allowed, self._context_length - len(sentence.prompt_ids), interval=interval
        )
        loop = RepetitionDetector(sampling.repetition_frames)
        name = f"speech-{next(self._numbers)}-{secrets.token_hex(4)}"
        with account.trace.span("speech.generate") as headers:
            outputs: AsyncIterator[Any] = self._engine.generate(
                tokens_input(list(sentence.prompt_ids)),
                params,
                name,
                lora_request=lora,
                trace_headers=headers,
            )
            before: float | None = None
            async with aclosing(outputs) as running:  # type: ignore[type-var]
                async for output in running:
                    completion = output.outputs[0]
                    now = time.perf_counter()
                    if account.first_token is None and completion.token_ids:
                        account.first_token = now - account.started
                    if (
                        before is not None
                    ):  # the first token waits for its prompt and says nothing of the rate
                        self._pace.count(len(completion.token_ids), now - before, now)
                    before = now
                    codes = self._vocabulary.codes_among(list(completion.token_ids))
                    for count, code in enumerate(codes, start=1):
                        if loop.push(code):
                            yield codes[:count], "repetition"
                            return
                    reason = completion.finish_reason
                    if reason not in (None, "stop", "length"):
                        raise ApiError(503, f"vLLM gave up this generation ({reason}); try again")
                    yield codes, reason
