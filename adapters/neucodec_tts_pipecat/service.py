"""Pipecat's interface of text to speech, over the WebSocket of a server.

Text is sent as the bot's language model writes it. An interruption tells the server to be silent and keeps the
connection: events name their utterance, so nothing of an old one is heard in a new one.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from loguru import logger
from pipecat.frames.frames import ErrorFrame, Frame, InterruptionFrame, TTSAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TextAggregationMode, WebsocketTTSService
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.types import NOT_GIVEN, NotGiven

from neucodec_tts.errors import NeuCodecError
from neucodec_tts_client import (
    SentenceStarted,
    Sound,
    SpeechConnectionError,
    SpeechServerError,
    SpeechSession,
    UtteranceDone,
    open_session,
    session_config,
    session_url,
)

_KEEPALIVE_SECONDS = 20.0  # a server closes a session that is silent for 60


@dataclass
class NeuCodecTTSSettings(TTSSettings):
    """What can be changed while the bot runs: ``model``, ``voice``, ``language``, ``speed``; None for the server's own.

    Attributes:
        speed: 0.25 to 4.
    """

    speed: float | NotGiven | None = field(default_factory=lambda: NOT_GIVEN)


class NeuCodecTTSService(WebsocketTTSService):
    """Speaks through a server that `neucodec-tts serve` has started.

    Args:
        base_url: of the server.
        api_key: of the server; by default the environment variable ``NEUCODEC_TTS_API_KEY``.
        settings: voice and the like; a change while the bot speaks holds for the next reply.
        options: other fields of ``session.config``, as ``{"seed": 1, "split_granularity": "clause"}``.
        timeout: seconds that the server may take to connect, and be silent while it has something to say.
        kwargs: of Pipecat's `WebsocketTTSService`.

    Raises:
        SpeechUrlError: the address is none of a server.
    """

    Settings = NeuCodecTTSSettings
    _settings: NeuCodecTTSSettings

    def __init__(
        self,
        *,
        base_url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        settings: NeuCodecTTSSettings | None = None,
        options: Mapping[str, Any] | None = None,
        timeout: float = 10.0,
        **kwargs: Any,
    ) -> None:
        session_url(base_url)  # a wrong address is said here
        complete = NeuCodecTTSSettings(model=None, voice=None, language=None, speed=None)
        if settings is not None:
            complete.apply_update(settings)
        # The server splits the text. It says when an utterance is over, so silence alone ends none before the timeout.
        defaults = {
            "text_aggregation_mode": TextAggregationMode.TOKEN,
            "stop_frame_timeout_s": timeout + 1,
        }
        super().__init__(
            push_start_frame=True, push_stop_frames=True, settings=complete, **{**defaults, **kwargs}
        )
        self._base_url = base_url
        self._api_key = api_key or os.environ.get("NEUCODEC_TTS_API_KEY")
        self._options = dict(options or {})
        self._timeout = timeout
        self._session: SpeechSession | None = None
        self._receive_task: Any = None
        self._rate = 0  # of the sentence that is heard, in Hz
        self._complete: set[str] = set()  # contexts that get no more text
        self._unspoken: str | None = None  # the last context for which there was no connection

    def can_generate_metrics(self) -> bool:
        """Time to first byte and characters are measured."""
        return True

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Connect before there is a text."""
        await super().setup(setup)
        await self._connect()

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Send a piece of text; its sound comes by itself."""
        if (
            self._unspoken == context_id
        ):  # a reply without a connection: one try and one error, not one for each word
            return
        try:
            session = await self._ready()
            if context_id not in session.pending:
                await session.configure(self._config())
            await session.send_text(text, context_id)
        except NeuCodecError as error:
            self._unspoken = context_id
            yield ErrorFrame(f"the reply is not spoken: {error}", exception=error)
            return
        await self.start_tts_usage_metrics(text)
        yield None

    async def flush_audio(self, context_id: str | None = None) -> None:
        """Let what is left of the text be spoken."""
        if context_id is None:
            return
        self._complete.add(context_id)
        session = self._session
        if session is not None and context_id in session.pending:
            try:
                await session.finish()
            except SpeechConnectionError as error:  # the receiving task deals with it
                logger.debug(f"{self}: {error}")
        await self._close_if_complete(context_id)

    async def _handle_interruption(self, frame: InterruptionFrame, direction: FrameDirection) -> None:
        await self._silence()
        await super()._handle_interruption(frame, direction)
        self._complete &= set(self.get_audio_contexts())

    async def _silence(self) -> None:
        """End generation at once, unless something is under way that must not be interrupted."""
        session = self._session
        if session is None:
            return
        kept = [
            name
            for name in session.pending
            if name in self._tts_contexts and not self._tts_contexts[str(name)].interruptible
        ]
        try:
            await (session.finish() if kept else session.cancel())
        except SpeechConnectionError as error:  # the receiving task deals with it
            logger.debug(f"{self}: {error}")

    def _config(self) -> dict[str, Any]:
        chosen = self._settings
        language = None if chosen.language is None else str(chosen.language)
        fields = session_config(model=chosen.model, voice=chosen.voice, language=language, speed=chosen.speed)
        return {**self._options, **fields}

    async def _ready(self) -> SpeechSession:
        """Return an open session; connect if the receiving task, which does so after a loss, has ended.

        Raises:
            SpeechConnectionError: there is none.
        """
        if self._receive_task is None or self._receive_task.done():
            await self._connect()
        if self._session is None or self._session.closed:
            raise SpeechConnectionError(f"there is no connection to {self._base_url}")
        return self._session

    async def _connect(self) -> None:
        await super()._connect()
        await self._connect_websocket()
        if self._websocket:
            if self._receive_task is None or self._receive_task.done():
                self._receive_task = self.create_task(self._receive_task_handler(self._report_error))
            self._create_keepalive_task(_KEEPALIVE_SECONDS)

    async def _disconnect(self) -> None:
        await super()._disconnect()
        if self._receive_task is not None:
            await self.cancel_task(self._receive_task)
            self._receive_task = None
        await self._cancel_keepalive_task()
        await self._disconnect_websocket()

    async def _connect_websocket(self) -> None:
        if self._session is not None and not self._session.closed:
            return
        try:
            session = await open_session(
                self._base_url,
                api_key=self._api_key,
                timeout=self._timeout,
                connect=self._websocket_connect,
            )
            await session.configure(self._config())
        except NeuCodecError as error:
            self._session = self._websocket = None
            await self.push_error(str(error), exception=error)
            await self._call_event_handler("on_connection_error", str(error))
            return
        self._session, self._websocket = session, session.socket
        await self._call_event_handler("on_connected")

    async def _disconnect_websocket(self) -> None:
        session, self._session, self._websocket = self._session, None, None
        if session is not None:
            await session.close()
            await self._call_event_handler("on_disconnected")

    async def _receive_messages(self) -> None:
        session = self._session
        if session is None:
            return
        try:
            while True:
                await self._hear(session)
        except SpeechServerError as error:
            # One text that cannot be spoken says nothing of the next.
            category = ErrorCategory.APPLICATION if error.param in ("input", "text") else None
            await self._report_error(ErrorFrame(str(error), exception=error, category=category))
            await session.close()
            raise
        except SpeechConnectionError as error:
            if session.pending:
                await self._report_error(ErrorFrame(f"a reply is cut off: {error}", exception=error))
            await session.close()
            raise

    async def _hear(self, session: SpeechSession) -> None:
        event = await session.receive(self._timeout)
        context_id = str(event.utterance)
        if isinstance(event, SentenceStarted):
            self._rate = event.sample_rate
        elif isinstance(event, Sound):
            await self._append(context_id, event.data, self._rate)
        elif isinstance(event, UtteranceDone) and not event.cancelled:
            if not event.sentences:
                # Pipecat takes replies without sound for a service that is broken.
                logger.warning(f"{self}: a text is left out: it holds nothing that can be spoken")
                await self._append(context_id, bytes(2 * self.sample_rate // 50), self.sample_rate)
            await self._close_if_complete(context_id)

    async def _append(self, context_id: str, samples: bytes, rate: int) -> None:
        await self.append_to_audio_context(
            context_id, TTSAudioRawFrame(samples, rate, 1, context_id=context_id)
        )

    async def _close_if_complete(self, context_id: str) -> None:
        """End a context when neither text nor sound will come for it."""
        under_way = self._session.pending if self._session is not None else []
        if context_id in self._complete and context_id not in under_way:
            self._complete.discard(context_id)
            if self.audio_context_available(context_id):
                await self.remove_audio_context(context_id)

    async def _send_keepalive(self) -> None:
        if self._session is not None:
            await self._session.keep_alive()
