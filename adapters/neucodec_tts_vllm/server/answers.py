"""How a request is answered: headers, streams, events, and refusals."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import logging
import string
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import ExitStack, aclosing
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from neucodec_tts_vllm.server.errors import as_api_error

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]

_HEADERS = {
    "seed": "X-Seed",
    "voice": "X-Voice",
    "model": "X-Model",
    "sample_rate": "X-Sample-Rate",
    "watermarked": "X-Watermarked",
    "codec": "X-Codec",
    "frame_rate": "X-Frame-Rate",
    "unused": "X-Unused-Fields",
    "warnings": "X-Warnings",
    "audio_seconds": "X-Audio-Seconds",
    "cut_short": "X-Cut-Short",
}
_READABLE = string.digits + string.ascii_letters + string.punctuation.replace("%", "") + " "
_LONGEST_HEADER = 4000  # aiohttp takes 8,190 bytes, and nginx 4,096 or 8,192 for all of them


class Piece(NamedTuple):
    """A part of a streamed answer: its bytes, and what its event says besides."""

    data: bytes
    fields: Mapping[str, Any] = MappingProxyType({})


def answering(handler: Handler) -> Handler:
    """Turn the exceptions of a handler into answers. Nothing that a client sent gets into the log."""

    @functools.wraps(handler)
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as error:
            return refusal(error)

    return answer


def refusal(error: Exception) -> JSONResponse:
    """Return the answer to a request that failed."""
    told = as_api_error(error)
    if told.status >= 500 and told is not error:  # a refusal of ours says all that there is to say
        log_failure(error)
    headers = {"Retry-After": "1"} if told.status in (429, 503) else None
    return JSONResponse(told.body(), told.status, headers)


def log_failure(error: Exception) -> None:
    """Log the place of a failure without its message, which may quote the text."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("a request for speech failed with %s\n%s", type(error).__name__, where)


def headers_of(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts about an answer as headers.

    Texts are percent-encoded where they are not ASCII. Warnings are a JSON array in ASCII, of those that there is room
    for.
    """
    headers = {name: _header(key, facts[key]) for key, name in _HEADERS.items() if facts.get(key) is not None}
    for key in ("input_tokens", "output_tokens"):
        if key in facts.get("usage", {}):
            headers[f"X-Usage-{key.title().replace('_', '-')}"] = str(facts["usage"][key])
    return headers


def _header(key: str, value: Any) -> str:
    if key == "warnings":
        room = [value[:count] for count in range(len(value), -1, -1)]
        return next(text for text in map(json.dumps, room) if len(text) <= _LONGEST_HEADER)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        names = [quote(each, safe=_READABLE.replace(",", "")) for each in value]
        fitting = (", ".join(names[:count]) for count in range(len(names), -1, -1))
        return next(text for text in fitting if len(text) <= _LONGEST_HEADER)
    if isinstance(value, float):
        return f"{value:.10g}"
    return quote(str(value), safe=_READABLE)


class SpeechResponse(StreamingResponse):
    """Sends speech while it is generated.

    Generation ends and the place is given back when the answer has been sent, when the client has gone, and when the
    client reads nothing for too long; also if the body has never begun.

    Args:
        content: the body.
        pieces: the generator of the pieces in it, which may not have been started.
        place: the place of the request.
        patience: seconds that the client may read nothing.
    """

    def __init__(
        self,
        content: AsyncGenerator[bytes | str, None],
        *,
        pieces: AsyncGenerator[Piece, None],
        place: ExitStack,
        patience: float,
        **options: Any,
    ) -> None:
        super().__init__(content, **options)
        self._content = content
        self._pieces = pieces
        self._place = place
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        ignored = False

        async def patient(message: Message) -> None:
            nonlocal ignored
            try:
                await asyncio.wait_for(send(message), self._patience)
            except asyncio.TimeoutError as error:
                ignored = True
                raise ClientDisconnect from error

        with self._place:
            try:
                await super().__call__(scope, receive, patient)
            except Exception:
                if not ignored:
                    raise
                logger.warning("a client read nothing for %g s; its answer was ended", self._patience)
            finally:
                await self._content.aclose()
                await self._pieces.aclose()


async def first_of(pieces: AsyncGenerator[Piece, None]) -> Piece:
    """Wait for the first piece, so that what fails before it is answered as an error; empty if there is none."""
    try:
        return await anext(pieces)
    except StopAsyncIteration:
        return Piece(b"")
    except BaseException:
        await pieces.aclose()
        raise


async def as_bytes(first: Piece, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[bytes, None]:
    """The body of a plain stream."""
    yield first.data
    async for piece in pieces:
        yield piece.data


async def as_events(
    first: Piece,
    pieces: AsyncGenerator[Piece, None],
    start: Mapping[str, Any] | None,
    ending: Callable[[], dict[str, Any]],
) -> AsyncGenerator[str, None]:
    """The body of a stream of OpenAI's events for speech.

    Between ``start`` and the last all hold sound, as OpenAI's clients expect.

    Args:
        first: piece.
        pieces: the others.
        start: fields of an event before all; None for none, as OpenAI does.
        ending: gives the fields of the last event, when all has been said.
    """
    if start is not None:
        yield _event("speech.audio.start", start)
    try:
        yield _delta(first)
        async with aclosing(pieces) as running:
            async for piece in running:
                yield _delta(piece)
        yield _event("speech.audio.done", ending())
    except Exception as error:
        refused = as_api_error(error)
        if refused.status >= 500:
            log_failure(error)
        yield _event("speech.audio.error", refused.body())


def _delta(piece: Piece) -> str:
    audio = base64.b64encode(piece.data).decode("ascii")
    return _event("speech.audio.delta", {"audio": audio, **piece.fields})


def _event(kind: str, values: Mapping[str, Any]) -> str:
    data = json.dumps({"type": kind, **values}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n"
