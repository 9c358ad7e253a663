"""LiveKit's interface of text to speech, over the WebSocket of a server.

Text is sent as the agent's language model writes it. When the agent is interrupted, LiveKit ends the stream, the server
is told to be silent, and the connection waits for the next stream.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit

from livekit.agents import APIConnectionError, APIError, APIStatusError, APITimeoutError, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions

from neucodec_tts.errors import NeuCodecError
from neucodec_tts_client import (
    SentenceDone,
    SentenceStarted,
    Sound,
    SpeechConnectionError,
    SpeechServerError,
    SpeechSession,
    SpeechTimeoutError,
    UtteranceDone,
    open_session,
    session_config,
    session_url,
)

logger = logging.getLogger(__name__)

_IDLE_SECONDS = 50.0  # a server closes a session that is silent for 60
_SILENCING_SECONDS = 2.0


class TTS(tts.TTS):
    """Speaks through a server that `neucodec-tts serve` has started.

    Args:
        base_url: of the server.
        api_key: of the server; by default the environment variable ``NEUCODEC_TTS_API_KEY``.
        voice: that the server knows; its default voice if None.
        model: that the server knows, as a LoRA adapter; the served model if None.
        language: of the text; not checked if None.
        speed: 0.25 to 4.
        sample_rate: of the server's codec, in Hz.
        options: other fields of ``session.config``, as ``{"seed": 1, "split_granularity": "clause"}``.

    Raises:
        SpeechUrlError: the address is none of a server.
    """

    def __init__(
        self,
        *,
        base_url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        voice: str | None = None,
        model: str | None = None,
        language: str | None = None,
        speed: float | None = None,
        sample_rate: int = 24000,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True), sample_rate=sample_rate, num_channels=1
        )
        session_url(base_url)  # a wrong address is said here
        self._base_url = base_url
        self._api_key = api_key or os.environ.get("NEUCODEC_TTS_API_KEY")
        self._config = {
            **(options or {}),
            **session_config(voice=voice, model=model, language=language, speed=speed),
        }
        self._pool = utils.ConnectionPool[SpeechSession](
            connect_cb=self._open,
            close_cb=SpeechSession.close,
            max_session_duration=_IDLE_SECONDS,
            mark_refreshed_on_get=True,
        )
        self._silencing: set[asyncio.Task[None]] = set()

    @property
    def model(self) -> str:
        """The model that is asked for, in the figures of LiveKit."""
        return str(self._config.get("model", "neucodec-tts"))

    @property
    def provider(self) -> str:
        """The server, in the figures of LiveKit."""
        return urlsplit(self._base_url).netloc

    def update_options(self, **fields: Any) -> None:
        """Change fields of ``session.config``, as the voice, for what is spoken from now on; None takes one away."""
        self._config = session_config(**{**self._config, **fields})

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> ChunkedStream:
        """Speak a text that is complete."""
        return ChunkedStream(tts=self, input_text=text, conn_options=conn_options)

    def stream(self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> SynthesizeStream:
        """Speak a text while it is written."""
        return SynthesizeStream(tts=self, conn_options=conn_options)

    def prewarm(self) -> None:
        """Connect before there is a text."""
        self._pool.prewarm()

    async def aclose(self) -> None:
        """Close the connections."""
        await utils.aio.cancel_and_wait(*self._silencing)
        await self._pool.aclose()

    @asynccontextmanager
    async def session(self, stream: ChunkedStream | SynthesizeStream) -> AsyncIterator[SpeechSession]:
        """Lend a connection to a stream; left early, generation ends at once.

        Raises:
            APIError: there is no connection, or what is done with it fails.
        """
        with _errors_of_livekit():
            session = await self._pool.get(timeout=stream._conn_options.timeout)
            while session.closed:  # while it lay here
                self._pool.remove(session)
                session = await self._pool.get(timeout=stream._conn_options.timeout)
            stream._acquire_time = self._pool.last_acquire_time
            stream._connection_reused = self._pool.last_connection_reused
            try:
                await session.configure(self._config)
                yield session
            except BaseException:
                silencing = asyncio.create_task(self._silence(session))
                self._silencing.add(silencing)
                silencing.add_done_callback(self._silencing.discard)
                raise
            self._pool.put(session)

    async def _open(self, timeout: float) -> SpeechSession:
        return await open_session(self._base_url, api_key=self._api_key, timeout=timeout)

    async def _silence(self, session: SpeechSession) -> None:
        """End what is generated for a session, and keep the connection if that works."""
        try:
            await session.cancel()
            while not session.idle:
                await session.receive(_SILENCING_SECONDS)
        except NeuCodecError:
            self._pool.remove(session)
            await session.close()
        except asyncio.CancelledError:
            self._pool.remove(session)
            raise
        else:
            self._pool.put(session)


class ChunkedStream(tts.ChunkedStream):
    """A text that is complete, spoken."""

    _tts: TTS

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=self._tts.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
        )
        if not self._input_text.strip():
            return
        async with self._tts.session(self) as session:
            await session.send_text(self._input_text, self)
            await session.finish()
            await _hear(self, session, output_emitter)


class SynthesizeStream(tts.SynthesizeStream):
    """A text that is being written, spoken sentence by sentence."""

    _tts: TTS

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=self._tts.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
            stream=True,
        )
        async for first in self._input_ch:
            if isinstance(first, str):
                break
        else:
            return
        output_emitter.start_segment(segment_id=utils.shortuuid())
        self._mark_started()
        async with self._tts.session(self) as session:
            writing = asyncio.create_task(self._write(first, session))
            try:
                await _hear(self, session, output_emitter)
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, text: str, session: SpeechSession) -> None:
        """Send the text as it comes. If that fails, so does hearing."""
        await session.send_text(text, self)
        async for piece in self._input_ch:
            if not isinstance(piece, str):
                break  # a flush, which ends the only segment of a stream
            await session.send_text(piece, self)
        await session.finish()


async def _hear(
    stream: ChunkedStream | SynthesizeStream, session: SpeechSession, emitter: tts.AudioEmitter
) -> None:
    """Give LiveKit the sound of the utterance."""
    rate = stream._tts.sample_rate
    tokens = [0, 0]
    while True:
        event = await session.receive(stream._conn_options.timeout)
        if isinstance(event, Sound):
            emitter.push(event.data)
        elif isinstance(event, SentenceStarted):
            if event.sample_rate != rate:
                raise APIError(
                    f"the server speaks at {event.sample_rate} Hz: TTS(sample_rate={event.sample_rate})",
                    retryable=False,
                )
        elif isinstance(event, SentenceDone):
            tokens = [tokens[0] + event.input_tokens, tokens[1] + event.output_tokens]
        elif isinstance(event, UtteranceDone):
            stream._set_token_usage(input_tokens=tokens[0], output_tokens=tokens[1])
            if not event.sentences:
                # LiveKit takes no sound at all for a failure, and asks again.
                logger.warning("a text is left out: it holds nothing that can be spoken")
                emitter.push(bytes(2 * rate // 50))
            return


@contextmanager
def _errors_of_livekit() -> Iterator[None]:
    """Turn errors into those that LiveKit retries, or falls back on."""
    try:
        yield
    except SpeechServerError as error:
        raise APIStatusError(
            str(error), status_code=error.status_code, body={"param": error.param}
        ) from error
    except SpeechTimeoutError as error:
        raise APITimeoutError(str(error)) from error
    except SpeechConnectionError as error:
        raise APIConnectionError(str(error)) from error
