"""``/v1/audio/speech`` and its neighbours."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import logging
import secrets
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import ExitStack, aclosing
from typing import Any, TypeVar

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from neucodec_tts_vllm.server.encoding import MEDIA_TYPES, encode, encoded
from neucodec_tts_vllm.server.errors import ApiError, as_api_error
from neucodec_tts_vllm.server.protocol import BatchRequest, SpeechRequest, parsed
from neucodec_tts_vllm.server.service import SpeechService
from neucodec_tts_vllm.server.speaking import Account

logger = logging.getLogger(__name__)
router = APIRouter(tags=["Speech"])

Result = TypeVar("Result")
Handler = Callable[[Request], Awaitable[Response]]


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
    if told.status >= 500:
        log_failure(error)
    headers = {"Retry-After": "1"} if told.status in (429, 503) else None
    return JSONResponse(told.body(), told.status, headers)


def log_failure(error: Exception) -> None:
    """Log the place of a failure without its message, which may quote the text."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("a request for speech failed with %s\n%s", type(error).__name__, where)


def service_of(request: Any) -> SpeechService:
    """Return the service of the server that a request or WebSocket has come to.

    Raises:
        ApiError: it is not ready.
    """
    found = getattr(request.app.state, "neucodec_tts", None)
    if not isinstance(found, SpeechService):
        raise ApiError(503, "this server is not ready to speak")
    return found


@router.post("/v1/audio/speech", response_class=Response)
@answering
async def create_speech(request: Request) -> Response:
    """Speak a text."""
    service = service_of(request)
    asked = parsed(SpeechRequest, await read_body(request, service))
    lora = await service.check(asked, asked.input)
    with ExitStack() as place:
        place.enter_context(service.admitted())
        script, account = await unless_gone(request, service.begin(asked, asked.input, request.headers))
        if asked.response_format == "codes":  # for those who decode themselves
            codes = await unless_gone(request, service.codes(script, account, lora))
            return JSONResponse({"codes": codes, "seed": account.seed, "usage": account.usage()})
        rate = service.speaker.sample_rate
        headers = {
            "X-Seed": str(account.seed),
            "X-Sample-Rate": str(rate),
            "X-Watermarked": str(service.watermarked).lower(),
        }
        if asked.with_codes:
            account.codes = []
        if not asked.streams:
            samples = await unless_gone(request, service.whole(asked, script, account, lora))
            content = await asyncio.to_thread(encode, samples, asked.response_format, rate)
            headers |= _figures(account, rate)
            return Response(content, media_type=MEDIA_TYPES[asked.response_format], headers=headers)
        # The first sound is waited for, so that what fails before it is answered as an error and not as no audio.
        chunks = encoded(service.stream(asked, script, account, lora), asked.response_format, rate)
        first = await unless_gone(request, _first(chunks))
        sse = asked.stream_format == "sse"
        return _SpeechResponse(
            _events(first, chunks, account) if sse else _bytes(first, chunks),
            media_type="text/event-stream" if sse else MEDIA_TYPES[asked.response_format],
            # The last header: proxies must not collect the sound first.
            headers={**headers, "Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            sounds=chunks,
            place=place.pop_all(),
            patience=service.settings.idle_seconds,
        )


def _figures(account: Account, rate: int) -> dict[str, str]:
    usage = account.usage()
    return {
        "X-Audio-Seconds": f"{account.samples / rate:.3f}",
        "X-Usage-Input-Tokens": str(usage["input_tokens"]),
        "X-Usage-Output-Tokens": str(usage["output_tokens"]),
        "X-Cut-Short": str(account.cut_short),
    }


class _SpeechResponse(StreamingResponse):
    """Sends speech while it is generated.

    Generation ends and the place is given back when the answer has been sent, when the client has gone, and when the
    client reads nothing for too long; also if the body has never begun.

    Args:
        content: the body.
        sounds: the generator of the sound, which may not have been started.
        place: the place of the request.
        patience: seconds that the client may read nothing.
    """

    def __init__(
        self,
        content: AsyncGenerator[bytes | str, None],
        *,
        sounds: AsyncGenerator[bytes, None],
        place: ExitStack,
        patience: float,
        **options: Any,
    ) -> None:
        super().__init__(content, **options)
        self._content = content
        self._sounds = sounds
        self._place = place
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
                await self._sounds.aclose()


async def _first(chunks: AsyncGenerator[bytes, None]) -> bytes:
    try:
        return await anext(chunks)
    except StopAsyncIteration:
        return b""
    except BaseException:
        await chunks.aclose()
        raise


async def _bytes(first: bytes, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for chunk in chunks:
        yield chunk


async def _events(
    first: bytes, chunks: AsyncGenerator[bytes, None], account: Account
) -> AsyncGenerator[str, None]:
    """OpenAI's events for speech, and the codes where they are asked for."""
    try:
        async with aclosing(_bytes(first, chunks)) as running:
            async for chunk in running:
                if account.codes:
                    new, account.codes = np.asarray(account.codes, "<u2"), []
                    yield _event(
                        {
                            "type": "speech.codes.delta",
                            "codes": base64.b64encode(new.tobytes()).decode("ascii"),
                        }
                    )
                yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(chunk).decode("ascii")})
        yield _event({"type": "speech.audio.done", "usage": account.usage()})
    except Exception as error:
        told = as_api_error(error)
        if told.status >= 500:
            log_failure(error)
        yield _event({"type": "speech.audio.error", **told.body()})


def _event(values: dict[str, Any]) -> str:
    return f"event: {values['type']}\ndata: {json.dumps(values, separators=(',', ':'))}\n\n"


@router.post("/v1/audio/speech/batch")
@answering
async def create_speech_batch(request: Request) -> Response:
    """Speak several texts, and answer when all are done; one that fails leaves the others alone."""
    service = service_of(request)
    batch = parsed(BatchRequest, await read_body(request, service))
    if len(batch.items) > service.settings.max_batch_items:
        raise ApiError(
            400,
            f"{len(batch.items)} items, and this server takes {service.settings.max_batch_items}",
            "items",
        )
    items = batch.requests()

    async def one(index: int, asked: SpeechRequest) -> dict[str, Any]:
        try:
            if asked.response_format == "codes":
                raise ApiError(
                    400, "codes are given one text at a time (/v1/audio/speech)", "response_format"
                )
            lora = await service.check(asked, asked.input)
            script, account = await service.begin(asked, asked.input, request.headers)
            samples = await service.whole(asked, script, account, lora)
            data = await asyncio.to_thread(
                encode, samples, asked.response_format, service.speaker.sample_rate
            )
        except Exception as error:
            told = as_api_error(error)
            if told.status >= 500:
                log_failure(error)
            return {"index": index, "status": "error", "error": told.message}
        return {
            "index": index,
            "status": "success",
            "audio_data": base64.b64encode(data).decode("ascii"),
            "media_type": MEDIA_TYPES[asked.response_format],
            "seed": account.seed,
            "watermarked": service.watermarked,
            "usage": account.usage(),
        }

    with service.admitted(len(items)):
        results = await unless_gone(request, _all([one(index, asked) for index, asked in enumerate(items)]))
    succeeded = sum(result["status"] == "success" for result in results)
    return JSONResponse(
        {
            "id": f"speech-batch-{secrets.token_hex(8)}",
            "results": results,
            "total": len(results),
            "succeeded": succeeded,
            "failed": len(results) - succeeded,
        }
    )


async def _all(works: list[Coroutine[Any, Any, dict[str, Any]]]) -> list[dict[str, Any]]:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


@router.get("/v1/audio/models")
@answering
async def list_models(request: Request) -> Response:
    """List the models that speak, as Open WebUI asks for them."""
    return JSONResponse({"models": [{"id": name, "name": name} for name in service_of(request).models()]})


@router.get("/v1/audio/voices")
@answering
async def list_voices(request: Request) -> Response:
    """List the voices that go by name."""
    voices = service_of(request).voices
    described = await voices.listed()
    names = [voice["name"] for voice in described]
    return JSONResponse(
        {"voices": names, "uploaded_voices": described, "default_voice": voices.default or None}
    )


@router.post("/v1/audio/voices")
@answering
async def upload_voice(request: Request) -> Response:
    """Keep the voice of a recording: a form with ``audio_sample``, ``name`` and ``ref_text``."""
    service = service_of(request)
    service.check_room()
    limit = service.settings.max_upload_bytes
    bounded = Request(request.scope, _counting(request, limit + 65536))
    try:
        form = await bounded.form(max_files=1, max_fields=20, max_part_size=65536)
    except MultiPartException as error:
        raise ApiError(400, f"the form cannot be read: {error.message}") from error
    try:
        sample = form.get("audio_sample", form.get("file"))
        name, text = form.get("name"), form.get("ref_text", form.get("text"))
        if not isinstance(sample, UploadFile):
            raise ApiError(
                400, "the recording is missing: send a form with the file audio_sample", "audio_sample"
            )
        if not isinstance(name, str) or not name:
            raise ApiError(400, "the voice needs a name", "name")
        if not isinstance(text, str) or not text.strip():
            raise ApiError(
                400, "ref_text is missing: what is said in the recording, word for word", "ref_text"
            )
        data = await sample.read(limit + 1)
        if len(data) > limit:
            raise ApiError(
                413,
                f"the recording is larger than the {limit:,} bytes that this server takes",
                "audio_sample",
            )
        consent = form.get("consent")
        metadata = {"consent": consent[:200]} if isinstance(consent, str) and consent else {}
        with service.admitted():
            voice = await service.voices.add(name, data, text, metadata)
    finally:
        await form.close()
    return JSONResponse({"success": True, "voice": voice})


@router.delete("/v1/audio/voices/{name}")
@answering
async def delete_voice(request: Request) -> Response:
    """Forget a voice."""
    name = request.path_params["name"]
    await service_of(request).voices.remove(name)
    return JSONResponse({"success": True, "message": f"the voice {name!r} has been deleted"})


async def read_body(request: Request, service: SpeechService) -> bytes:
    """Read the body of a request, if there is room for the request and the body is not too large.

    Raises:
        ApiError: the body is too large or there is no room; then nothing of it has been kept.
    """
    service.check_room()
    limits = service.settings
    limit = limits.max_upload_bytes * 3 // 2 + 12 * limits.max_text_chars * limits.max_batch_items + 65536
    return await limited(request, limit)


async def limited(request: Request, limit: int) -> bytes:
    """Read the body of a request, of no more than so many bytes.

    Raises:
        ApiError: it is larger; then nothing of it has been kept.
    """
    return await Request(request.scope, _counting(request, limit)).body()


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
