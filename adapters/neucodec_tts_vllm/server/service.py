"""The service behind the routes: the speaker, the voices, the limits, and the way from a request to sound."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.codec.checkpoints.hub import HubOptions
from neucodec_tts.errors import EngineError, VocabularyError
from neucodec_tts.speech.engine import Sampling
from neucodec_tts.speech.loading import SpeechModel
from neucodec_tts.speech.watermark import Watermarker, WatermarkStream, is_wanted
from neucodec_tts.voices import VoiceLibrary
from neucodec_tts_vllm.cores import spare_cores
from neucodec_tts_vllm.decoding import DecodeWorker
from neucodec_tts_vllm.server.encoding import encode
from neucodec_tts_vllm.server.errors import ApiError
from neucodec_tts_vllm.server.metrics import metrics
from neucodec_tts_vllm.server.models import ModelNames
from neucodec_tts_vllm.server.samples import SAMPLE_FORMAT, Samples, sample_request
from neucodec_tts_vllm.server.settings import ServerSettings
from neucodec_tts_vllm.server.speaking import Speaker
from neucodec_tts_vllm.server.time_stretch import TimeStretch
from neucodec_tts_vllm.server.tracing import RequestTrace, tracer_of
from neucodec_tts_vllm.server.voices import Voices

if TYPE_CHECKING:
    from argparse import Namespace

    from numpy.typing import NDArray
    from opentelemetry.trace import Tracer

    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.prompts import SpeechConfig
    from neucodec_tts.speech.script import Script
    from neucodec_tts_vllm.server.accounts import Account
    from neucodec_tts_vllm.server.protocol import Settings

    #: Changes the sound of one answer, as it comes.
    Filter = TimeStretch | WatermarkStream

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A request that can be spoken.

    Attributes:
        request: as the client sent it.
        script: its sentences.
        account: its figures.
        lora: vLLM's LoRA adapter; None for the model itself.
        voice: name of the voice; None for a recording of the client's, or the model's own.
        model: name of the model or adapter; None where none is known.
    """

    request: Settings
    script: Script
    account: Account
    lora: Any = None
    voice: str | None = None
    model: str | None = None


class SpeechService:
    """Speaks for one server.

    Args:
        speaker: generates and decodes.
        voices: finds and keeps voices.
        settings: limits.
        models: names of models; any by default.
        language: that the model speaks, if it is known.
        mark: marks the sound as synthetic; None leaves it unmarked.
        tracer: makes spans; None where tracing is off.
    """

    def __init__(
        self,
        speaker: Speaker,
        voices: Voices,
        settings: ServerSettings,
        models: ModelNames | None = None,
        language: str | None = None,
        mark: Watermarker | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.speaker = speaker
        self.voices = voices
        self.settings = settings
        self.models = models or ModelNames()
        self.language = language
        self._mark = mark
        self._tracer = tracer
        self._samples = Samples()
        self._active = 0
        self._sessions = 0
        self._ending = False
        self._working: set[asyncio.Task[Any]] = set()
        self._metrics = metrics()
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, engine: Any, state: Any, args: Namespace) -> SpeechService:
        """Load the model's description of itself, and its codec.

        Raises:
            NeuCodecError: the model is none that speaks, or a part of it is missing.
        """
        settings = ServerSettings.from_environment()
        # They quote what a client wrote: the client gets them, and the log does not.
        logging.getLogger("neucodec_tts.text").setLevel(logging.ERROR)
        mark = await asyncio.to_thread(Watermarker) if is_wanted(settings.watermark) else None
        speaker, config = await _load(engine, args, settings)
        default = config.default_voice
        voices = Voices(speaker.worker, settings, VoiceLibrary.of_model(args.model), default)
        await voices.check_aliases()
        if voices.default:
            await voices.load(voices.default)
        await speaker.worker.warm_up()
        models = ModelNames(getattr(state, "openai_serving_models", None), settings.strict_names)
        tracer = await tracer_of(engine)
        return cls(speaker, voices, settings, models, config.language, mark, tracer)

    @property
    def watermarked(self) -> bool:
        """True if the sound of all answers carries a watermark."""
        return self._mark is not None

    def check_room(self, count: int = 1) -> None:
        """Refuse requests that there is no room for, as early as that can be known.

        Raises:
            ApiError: too many are being worked on, or the server goes down.
        """
        self._refuse_at_the_end()
        if self._active + count > self.settings.max_requests:
            self._metrics.requests.labels("refused").inc(count)
            raise ApiError(
                429,
                f"{self._active} requests are being worked on, and this server takes no more; try again in a while",
            )

    @contextmanager
    def admitted(self, count: int = 1) -> Iterator[None]:
        """Take requests in, or refuse them.

        Raises:
            ApiError: too many are being worked on.
        """
        self.check_room(count)
        if self._watch is None:  # not before: vLLM's start holds the event loop for most of a second
            self._watch = asyncio.create_task(self._metrics.watch_event_loop())
        task = asyncio.current_task()
        assert task is not None
        self._working.add(task)
        self._active += count
        self._metrics.active.set(self._active)
        try:
            yield
        finally:
            self._working.discard(task)
            self._active -= count
            self._metrics.active.set(self._active)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Take in a WebSocket, or refuse it. It takes a place among the requests only while it speaks.

        Raises:
            ApiError: too many are open.
        """
        self._refuse_at_the_end()
        if self._sessions >= self.settings.max_sessions:
            self._metrics.requests.labels("refused").inc()
            raise ApiError(429, f"{self._sessions} sessions are open, and this server takes no more")
        self._sessions += 1
        try:
            yield
        finally:
            self._sessions -= 1

    async def check(self, request: Settings, text: str) -> Any:
        """Check the things that cost little to check; returns the LoRA adapter that the request names, or None.

        Raises:
            ApiError: something is wrong.
        """
        if len(text) > self.settings.max_text_chars:
            raise ApiError(
                400,
                f"the text has {len(text):,} characters, and this server takes {self.settings.max_text_chars:,}; "
                "send it in parts",
                "input",
            )
        if request.seed is not None and not self.speaker.seeds:
            raise ApiError(
                400,
                "this server cannot take a seed: vLLM's CPU engine dies of one while prompts are computed in pieces. "
                "Start it with --no-enable-chunked-prefill, or by `neucodec-tts serve`",
                "seed",
            )
        self._check_language(request.language)
        return await self.models.lora(request.model)

    async def begin(
        self, request: Settings, text: str, lora: Any = None, headers: Mapping[str, str] | None = None
    ) -> Task:
        """Find the voice of a request, fix its seed, and split its text.

        Args:
            request: that was checked.
            text: to speak.
            lora: as `check` returned it.
            headers: of the HTTP request; they may name the span that it belongs to.

        Raises:
            ApiError: something is wrong with it.
            NeuCodecError: there is nothing to speak, or the voice cannot be used.
        """
        trace = RequestTrace(self._tracer, headers)
        name, voice = await self.voices.of(request)
        sampling, account = self.speaker.begin(self._sampling(request))
        script = await self.speaker.script(
            text, voice, sampling, request.text_format, request.normalize, request.emotion
        )
        if request.ref_audio is not None and voice is not None:
            account.warnings += [one.message for one in voice.advice]
        account.warnings += script.warnings
        account.trace = trace
        return Task(request, script, account, lora, name, self.models.name_of(lora))

    async def stream(self, task: Task) -> AsyncGenerator[NDArray[np.float32], None]:
        """Speak while generating, float32 (n,), never none."""
        account, filters = task.account, self._filters(task.request)
        if self._mark is not None:
            filters.append(self._mark.stream(self.speaker.sample_rate))
        with self._counted(account):
            request = task.request
            sounds = self.speaker.stream(
                task.script,
                account,
                first_chunk=request.initial_codec_chunk_frames,
                gapless=request.gapless,
                speed=request.speed,
                lora=task.lora,
            )
            async with aclosing(sounds) as running:
                async for sound in running:
                    if filters:
                        sound = await asyncio.to_thread(_filtered, sound, filters)
                    if sound.size:
                        account.heard(sound.size)
                        yield sound
            if filters and (rest := await asyncio.to_thread(_filtered, None, filters)).size:
                account.heard(rest.size)
                yield rest

    async def whole(self, task: Task) -> NDArray[np.float32]:
        """Speak all of a text, float32 (n,)."""

        def finished() -> NDArray[np.float32]:
            stretched = samples
            if filters := self._filters(task.request):
                stretched = np.concatenate([_filtered(samples, filters), _filtered(None, filters)])
            return stretched if self._mark is None else self._mark.apply(stretched, self.speaker.sample_rate)

        with self._counted(task.account):
            samples = await self.speaker.whole(task.script, task.account, lora=task.lora)
            samples = await asyncio.to_thread(finished)
            task.account.heard(samples.size)
            return samples

    async def stream_codes(self, task: Task) -> AsyncGenerator[tuple[int, list[int]], None]:
        """Generate codes and no sound; yields the number of a sentence and codes of it, never none."""
        with self._counted(task.account):
            codes = self.speaker.stream_codes(task.script, task.account, lora=task.lora)
            async with aclosing(codes) as running:
                async for number, new in running:
                    self._heard_codes(task, len(new))
                    yield number, new

    async def codes(self, task: Task) -> list[list[int]]:
        """Generate the codes of each sentence, and no sound."""
        with self._counted(task.account):
            sentences = await self.speaker.spoken(task.script, task.account, lora=task.lora)
            self._heard_codes(task, sum(len(spoken.codes) for spoken in sentences))
            return [spoken.codes for spoken in sentences]

    def _heard_codes(self, task: Task, frames: int) -> None:
        task.account.heard(frames * self.speaker.worker.codec.output_hop_length)

    def facts(self, task: Task) -> dict[str, Any]:
        """What is known of an answer before it is whole, for headers and events."""
        codec, request = self.speaker.worker.codec, task.request
        codes = request.response_format == "codes"
        facts: dict[str, Any] = {
            "format": request.response_format,
            "sample_rate": self.speaker.sample_rate,
            "watermarked": self.watermarked and not codes,
            "seed": task.account.seed,
            "voice": task.voice,
            "model": task.model,
            "codec": codec.codec_id if codes else None,
            "frame_rate": codec.frame_rate if codes else None,
            "unused": request.unused or None,
            "warnings": task.account.warnings or None,
        }
        return {name: value for name, value in facts.items() if value is not None}

    def ending(self, task: Task) -> dict[str, Any]:
        """What is known of an answer when all of it has been said."""
        account = task.account
        return {
            "usage": account.usage(),
            "audio_seconds": round(account.samples / self.speaker.sample_rate, 3),
            "cut_short": account.cut_short,
            **({"warnings": account.warnings} if account.warnings else {}),
        }

    async def sample(self, voice: str) -> bytes:
        """Speak a sentence in a voice, as MP3, or return what has been spoken before.

        Raises:
            ApiError: there is no such voice, or no room for the work.
            NeuCodecError: it could not be spoken.
        """
        request = sample_request(voice, self.language, self.speaker.seeds)
        _, found = await self.voices.of(request)

        async def speak() -> bytes:
            with self.admitted():
                samples = await self.whole(await self.begin(request, request.input))
                return await asyncio.to_thread(encode, samples, SAMPLE_FORMAT, self.speaker.sample_rate)

        return await self._samples.of(
            b"" if found is None else found.codes.tobytes() + found.text.encode(), speak
        )

    async def check_ready(self) -> None:
        """Check that speech can be asked for.

        Raises:
            ApiError: the server goes down, or a part of it does not answer.
        """
        self._refuse_at_the_end()
        await self.speaker.check()

    def finish(self, seconds: float) -> int:
        """Take no more requests, and wait until those that have begun end; for any thread but the event loop's.

        Args:
            seconds: the longest wait; those that have not ended by then are cancelled.

        Returns:
            their number.
        """
        self._ending = True
        deadline = time.monotonic() + seconds
        while self._active and time.monotonic() < deadline:
            time.sleep(0.02)
        left = self._active
        for task in tuple(
            self._working
        ):  # they would wait for an engine that is gone, and the server for them
            task.get_loop().call_soon_threadsafe(task.cancel)
        return left

    def _refuse_at_the_end(self) -> None:
        if self._ending:
            raise ApiError(503, "this server is going down and takes no more requests; ask another")

    def close(self) -> None:
        """End the threads."""
        if self._watch is not None:
            self._watch.cancel()
        self.speaker.close()

    @contextmanager
    def _counted(self, account: Account) -> Iterator[None]:
        outcome = "abandoned"
        try:
            yield
            outcome = "completed"
        except Exception:
            outcome = "failed"
            raise
        finally:
            self._count(account, outcome)

    def _count(self, account: Account, outcome: str) -> None:
        seconds = account.samples / self.speaker.sample_rate
        first_audio = account.first_audio
        if first_audio is not None:
            first_audio = time.perf_counter() - account.started - first_audio
        figures = {
            "gen_ai.usage.prompt_tokens": account.prompt_tokens,
            "gen_ai.usage.completion_tokens": account.speech_tokens,
            "speech.audio_seconds": seconds,
            "speech.cut_short": account.cut_short,
        }
        account.trace.end(outcome, first_audio, figures)
        self._metrics.requests.labels(outcome).inc()
        self._metrics.speech_tokens.inc(account.speech_tokens)
        self._metrics.audio_seconds.inc(seconds)
        if account.first_token is not None:
            self._metrics.first_token.observe(account.first_token)
        if account.first_audio is not None:
            self._metrics.first_audio.observe(account.first_audio)
        if outcome == "completed" and seconds:
            self._metrics.real_time_factor.observe((time.perf_counter() - account.started) / seconds)

    def _filters(self, request: Settings) -> list[Filter]:
        return [] if request.speed == 1 else [TimeStretch(request.speed, self.speaker.sample_rate)]

    def _sampling(self, request: Settings) -> Sampling:
        """Return the model's defaults with the changes of the request."""
        default = self.speaker.sampling
        changed: dict[str, Any] = {"seed": request.seed}
        if request.temperature is not None:
            changed["temperature"] = request.temperature
        if request.top_k is not None:
            changed["top_k"] = max(0, request.top_k)
        for name in ("top_p", "min_p", "repetition_penalty"):
            if getattr(request, name) is not None:
                changed[name] = getattr(request, name)
        if request.max_new_tokens is not None:
            longest = min(request.max_new_tokens, default.max_frames or request.max_new_tokens)
            changed |= {"max_frames": longest, "min_frames": min(default.min_frames, longest)}
        try:
            return replace(default, **changed)
        except EngineError as error:
            raise ApiError(400, str(error)) from error

    def _check_language(self, language: str | None) -> None:
        if not language or language.lower() == "auto" or not self.language:
            return
        spoken = self.language.lower()
        names = {"en": "english", "de": "german", "fr": "french", "es": "spanish"}
        if language.lower() not in (spoken, spoken.split("-")[0], names.get(spoken[:2])):
            raise ApiError(400, f"this model speaks {self.language}, not {language!r:.40}", "language")


def _filtered(sound: NDArray[np.float32] | None, filters: Sequence[Filter]) -> NDArray[np.float32]:
    """Send samples, float32 (n,), through filters; None sends their rest."""
    samples = np.zeros(0, np.float32) if sound is None else sound
    for each in filters:
        pushed = each.push(samples)
        samples = pushed if sound is not None else np.concatenate([pushed, each.flush()])
    return samples


async def _load(engine: Any, args: Namespace, settings: ServerSettings) -> tuple[Speaker, SpeechConfig]:
    from vllm.platforms import current_platform

    platform = str(current_platform.device_type)
    device = settings.codec_device or ("cpu" if platform == "cpu" else platform)
    hub = HubOptions(args.revision, args.download_dir, args.hf_token)

    def load() -> tuple[SpeechModel, NeuCodec]:
        model = SpeechModel.load(args.model, hub, args.tokenizer)
        return model, model.load_codec(settings.codec or None, device, decoder=settings.decoder or None)

    model, codec = await asyncio.to_thread(load)
    if model.vocabulary.codebook_size != codec.codebook_size:
        raise VocabularyError(
            f"{model.name} speaks {model.vocabulary.codebook_size:,} codes, and the codec here, {codec.codec_id}, has "
            f"{codec.codebook_size:,}; give the right one (NEUCODEC_TTS_CODEC)"
        )
    seeds = not (platform == "cpu" and engine.vllm_config.scheduler_config.enable_chunked_prefill)
    if not seeds:
        logger.warning(
            "seeds are refused: on a CPU, vLLM's engine dies of a seed while prompts are computed in pieces "
            "(--no-enable-chunked-prefill allows them)"
        )
    context = min(model.config.context_length, int(engine.model_config.max_model_len))
    cores = spare_cores(engine.vllm_config) if device == "cpu" else None
    speaker = Speaker(
        engine,
        DecodeWorker(codec, on_batch=metrics().decoded, cores=cores),
        model.prompt_format,
        model.vocabulary,
        context,
        model.sampling,
        utterance_frames=model.config.utterance_frames,
        seeds=seeds,
        reader=model.config.make_reader(),
    )
    logger.info("speaking %s through %s on %s, context %d", model.name, codec.codec_id, device, context)
    return speaker, model.config
