"""One WebSocket of a server: text goes in while it is written, sound comes out sentence by sentence.

    session = await open_session("http://127.0.0.1:8000")
    await session.configure(session_config(voice="heart"))
    await session.send_text("Hello there. How are", "first")
    await session.send_text(" you?", "first")
    await session.finish()
    while not isinstance(event := await session.receive(), UtteranceDone):
        ...

Several utterances may be under way, one after the other; each event names its own. `SpeechSession.cancel` gives up all
of them at once. The messages are described in `neucodec_tts_vllm.server.sessions`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.protocol import State

from neucodec_tts_client.errors import (
    SpeechConnectionError,
    SpeechServerError,
    SpeechTimeoutError,
    SpeechUrlError,
)

logger = logging.getLogger(__name__)

_ROUTE = "/v1/audio/speech/stream"
_LARGEST_FRAME = 2**24  # bytes
_CANCEL = object()  # among the utterances: those before it are given up


@dataclass(frozen=True)
class SentenceStarted:
    """A sentence will be heard; `sample_rate` is in Hz."""

    utterance: Hashable
    text: str
    sample_rate: int


@dataclass(frozen=True)
class Sound:
    """Samples of the sentence that has started: 16-bit little-endian PCM, mono."""

    utterance: Hashable
    data: bytes


@dataclass(frozen=True)
class SentenceDone:
    """A sentence is complete; the tokens are those of its prompt and its speech."""

    utterance: Hashable
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class UtteranceDone:
    """An utterance is complete, or given up. `sentences` is 0 if there was nothing that can be spoken."""

    utterance: Hashable
    sentences: int
    cancelled: bool = False


Event = SentenceStarted | Sound | SentenceDone | UtteranceDone


def session_url(base_url: str) -> str:
    """Return the address of a server's WebSocket.

    Args:
        base_url: of the server, as ``http://127.0.0.1:8000``, with or without ``/v1``; ``wss`` and ``https`` encrypt.

    Raises:
        SpeechUrlError: it is no such address.
    """
    try:
        parts = urlsplit(base_url.strip())
        complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, complete = urlsplit(""), False
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not complete:
        raise SpeechUrlError(
            f"{base_url!r} is no address of a server; give one such as http://127.0.0.1:8000"
        )
    path = parts.path.rstrip("/").removesuffix(_ROUTE).removesuffix("/v1")
    return urlunsplit((scheme, parts.netloc, path + _ROUTE, parts.query, ""))


def session_config(**fields: Any) -> dict[str, Any]:
    """Return a configuration from fields of ``session.config``: those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


async def open_session(
    base_url: str,
    *,
    api_key: str | None = None,
    timeout: float = 10.0,
    connect: Callable[..., Awaitable[ClientConnection]] = connect,
) -> SpeechSession:
    """Connect to a server.

    Args:
        base_url: of the server, see `session_url`.
        api_key: where the server has one.
        timeout: seconds to wait for the connection.
        connect: opens a WebSocket, with the arguments of `websockets.asyncio.client.connect`.

    Raises:
        SpeechUrlError: the address is none of a server.
        SpeechServerError: the server refuses the key, or has no speech.
        SpeechTimeoutError: it does not answer in time.
        SpeechConnectionError: it cannot be reached, or is no such server.
    """
    url = session_url(base_url)
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        socket = await connect(
            url,
            additional_headers=headers,
            open_timeout=timeout,
            max_size=_LARGEST_FRAME,
            compression=None,  # speech hardly shrinks, and it costs time
        )
    except InvalidStatus as error:
        status = error.response.status_code
        raise SpeechServerError(f"{url} answers {status}: {_refusal(status)}", status) from error
    except (asyncio.TimeoutError, TimeoutError) as error:
        raise SpeechTimeoutError(f"{url} does not answer within {timeout:g} s") from error
    except InvalidHandshake as error:
        raise SpeechConnectionError(f"{url} is no WebSocket: {error}") from error
    except (OSError, EOFError, WebSocketException) as error:
        raise SpeechConnectionError(f"{url} cannot be reached: {error}") from error
    return SpeechSession(socket)


def _refusal(status: int) -> str:
    if status == 401:
        return "it wants another key"
    if status in (403, 404):
        return "no speech is served there, or the key is refused; start the server by `neucodec-tts serve`"
    return "it takes no session now"


class SpeechSession:
    """An open WebSocket. One task may send while another receives.

    Args:
        socket: newly connected.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._config: dict[str, Any] | None = None
        self._utterances: deque[Any] = (
            deque()
        )  # begun and not done, with marks where all before was cancelled
        self._writing = False  # True while the last of them takes text
        self._talking = False  # True from the start of a sentence to its end
        self._quiet = asyncio.Event()  # set while nothing is under way, and after the end of the connection
        self._quiet.set()
        self._last_traffic = asyncio.get_running_loop().time()
        self._receiving: asyncio.Future[str | bytes] | None = None

    @property
    def closed(self) -> bool:
        """True if the connection has ended."""
        return self.socket.state is not State.OPEN

    @property
    def pending(self) -> list[Hashable]:
        """The utterances that are neither done nor given up."""
        waiting: list[Hashable] = []
        for utterance in self._utterances:
            if utterance is _CANCEL:
                waiting = []
            else:
                waiting.append(utterance)
        return waiting

    @property
    def idle(self) -> bool:
        """True if nothing more will come."""
        return not self._utterances

    async def configure(self, config: Mapping[str, Any]) -> None:
        """Set the fields of ``session.config`` for the utterances to come, if they differ.

        The server takes them between utterances only: those under way are finished and waited for, while another task
        receives.

        Raises:
            SpeechConnectionError: the connection has ended.
        """
        wanted = {**config, "response_format": "pcm"}
        if wanted != self._config:
            await self.finish()
            await self._quiet.wait()
            await self._send(type="session.config", **wanted)
            self._config = wanted

    async def send_text(self, text: str, utterance: Hashable) -> None:
        """Send a piece of an utterance; another utterance that still took text is finished.

        Raises:
            SpeechConnectionError: the connection has ended.
        """
        if self._writing and self._utterances[-1] != utterance:
            await self.finish()
        if not self._writing:
            self._utterances.append(utterance)
            self._writing = True
            self._quiet.clear()
        await self._send(type="input.text", text=text)

    async def finish(self) -> None:
        """Let what is left of the text be spoken; does nothing if no utterance takes text.

        Raises:
            SpeechConnectionError: the connection has ended.
        """
        if self._writing:
            self._writing = False
            await self._send(type="input.done")

    async def cancel(self) -> None:
        """Be silent at once. Nothing more is received of the utterances under way but their end.

        Raises:
            SpeechConnectionError: the connection has ended.
        """
        if self.pending:
            self._utterances.append(_CANCEL)
            self._writing = False
            await self._send(type="input.cancel")

    async def keep_alive(self) -> None:
        """Tell the server that the silence is none of an absent client.

        Raises:
            SpeechConnectionError: the connection has ended.
        """
        await self._send(type="input.text", text="")

    async def receive(self, patience: float | None = None) -> Event:
        """Wait for the next event.

        Args:
            patience: seconds that the server may be silent while it has something to say.

        Raises:
            SpeechServerError: the server has failed, or refuses the text or the configuration; the session is over.
            SpeechTimeoutError: the server was silent for too long.
            SpeechConnectionError: the connection has ended.
        """
        while True:
            frame = await self._frame(patience)
            try:
                event = self._event(frame)
            except (ValueError, LookupError, AttributeError) as error:
                raise SpeechServerError(
                    f"the server sent {frame[:80]!r}, which is not of this protocol", 502
                ) from error
            if event is not None:
                return event

    async def close(self) -> None:
        """Close the connection; what is generated for it is given up."""
        if self._receiving is not None:
            self._receiving.cancel()
        with suppress(WebSocketException, OSError):
            await self.socket.close()

    async def _send(self, **message: Any) -> None:
        self._last_traffic = asyncio.get_running_loop().time()
        try:
            await self.socket.send(json.dumps(message))
        except ConnectionClosed as error:
            raise SpeechConnectionError(f"the server has closed the connection ({error})") from error

    async def _frame(self, patience: float | None) -> str | bytes:
        """Wait for the next frame. One that comes while this is cancelled is kept for the next call."""
        clock = asyncio.get_running_loop().time
        wait = patience
        while True:
            if self._receiving is None:
                self._receiving = asyncio.ensure_future(self.socket.recv())
            # Not wait_for, which overlooks a cancellation that comes with the frame.
            await asyncio.wait({self._receiving}, timeout=wait)
            if self._receiving.done():
                receiving, self._receiving = self._receiving, None
                break
            assert patience is not None
            wait = self._last_traffic + patience - clock()
            if wait <= 0:
                if self._talking or len(self._utterances) > self._writing:
                    raise SpeechTimeoutError(f"the server has been silent for {patience:g} s")
                wait = patience
        try:
            frame = receiving.result()
        except ConnectionClosed as error:
            self._quiet.set()
            raise SpeechConnectionError(f"the server has closed the connection ({error})") from error
        self._last_traffic = clock()
        return frame

    def _event(self, frame: str | bytes) -> Event | None:
        """Read a frame; None if nobody needs to know it."""
        if isinstance(frame, bytes):
            return None if _CANCEL in self._utterances else Sound(self._utterances[0], frame)
        message = json.loads(frame)
        kind = message.get("type")
        if kind == "error":
            code = message.get("code")
            raise SpeechServerError(
                str(message.get("message")), code if isinstance(code, int) else 500, message.get("param")
            )
        if kind == "session.done":
            self._talking = False
            return self._done(message)
        if kind == "warning":
            logger.warning("the server says: %s", message.get("message"))
        if kind not in ("audio.start", "audio.done"):
            return None
        self._talking = kind == "audio.start"
        if _CANCEL in self._utterances:
            return None
        utterance = self._utterances[0]
        if kind == "audio.start":
            return SentenceStarted(utterance, message["sentence_text"], message["sample_rate"])
        usage = message.get("usage", {})
        return SentenceDone(utterance, usage.get("input_tokens", 0), usage.get("output_tokens", 0))

    def _done(self, message: Mapping[str, Any]) -> UtteranceDone:
        sentences = message.get("total_sentences", 0)
        cancelled = bool(message.get("cancelled"))
        utterance = last = self._utterances.popleft()
        while cancelled and last is not _CANCEL:
            last = self._utterances.popleft()
        if not self._utterances:
            self._quiet.set()
        return UtteranceDone(None if utterance is _CANCEL else utterance, sentences, cancelled)
