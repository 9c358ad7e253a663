"""How a request arrives: its body, bounded, and its client, who may hang up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request

from neucodec_tts_vllm.server.errors import ApiError
from neucodec_tts_vllm.server.service import SpeechService

Result = TypeVar("Result")

OMNI_PREFIX = "/v1/vllm-omni"
"""All routes are there a second time, for the clients of vLLM-Omni, who expect other defaults and lists."""


def is_for_omni(request: Request) -> bool:
    """True if a request has come by the routes for vLLM-Omni's clients."""
    return f"{OMNI_PREFIX}/" in request.url.path


def service_of(request: Any) -> SpeechService:
    """Return the service of the server that a request or WebSocket has come to.

    Raises:
        ApiError: it is not ready.
    """
    found = getattr(request.app.state, "neucodec_tts", None)
    if not isinstance(found, SpeechService):
        raise ApiError(503, "this server is not ready to speak")
    return found


async def read_body(request: Request, service: SpeechService) -> bytes:
    """Read the body of a request, if there is room for the request and the body is not too large.

    Raises:
        ApiError: the body is too large or there is no room; then nothing of it has been kept.
    """
    service.check_room()
    limits = service.settings
    limit = limits.max_upload_bytes * 3 // 2 + 12 * limits.max_text_chars * limits.max_batch_items + 65536
    return await bounded(request, limit).body()


def bounded(request: Request, limit: int) -> Request:
    """Return the request; whoever reads more than so many bytes of its body gets an `ApiError`."""
    return Request(request.scope, _counting(request, limit))


def _counting(request: Request, limit: int) -> Callable[[], Awaitable[Any]]:
    """Return a `receive` that refuses a body of more than so many bytes."""
    declared = request.headers.get("content-length", "0")
    size = 0

    async def receive() -> Any:
        nonlocal size
        if declared.isdigit() and int(declared) > limit:
            raise ApiError(413, f"the body has {int(declared):,} bytes, and this server takes {limit:,}")
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise ApiError(413, f"the body has more than the {limit:,} bytes that this server takes")
        return message

    return receive


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Await some work, and give it up when the client hangs up.

    Raises:
        ApiError: the client has hung up; nobody hears it.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(499, "the client has hung up")
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
