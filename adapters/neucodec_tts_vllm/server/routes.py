"""``/v1/audio/speech``, batches of it, and the page."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncGenerator, Coroutine
from contextlib import ExitStack, aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from neucodec_tts_vllm.server.answers import (
    Piece,
    SpeechResponse,
    answering,
    as_bytes,
    as_events,
    first_of,
    headers_of,
    log_failure,
)
from neucodec_tts_vllm.server.arrivals import is_for_omni, read_body, service_of, unless_gone
from neucodec_tts_vllm.server.encoding import MEDIA_TYPES, codes16, encode, encoded
from neucodec_tts_vllm.server.errors import ApiError, as_api_error
from neucodec_tts_vllm.server.protocol import BatchRequest, OmniSpeechRequest, SpeechRequest, parsed
from neucodec_tts_vllm.server.service import SpeechService, Task

router = APIRouter(tags=["Speech"])


@router.post("/v1/audio/speech", response_class=Response)
@answering
async def create_speech(request: Request) -> Response:
    """Speak a text."""
    service = service_of(request)
    kind = OmniSpeechRequest if is_for_omni(request) else SpeechRequest
    asked = parsed(kind, await read_body(request, service))
    lora = await service.check(asked, asked.input)
    with ExitStack() as place:
        place.enter_context(service.admitted())
        task = await unless_gone(request, service.begin(asked, asked.input, lora, request.headers))
        if not asked.streams:
            return await unless_gone(request, _whole(service, task, asked.response_format))
        if asked.with_codes:
            task.account.codes = []
        pieces = _pieces(service, task, asked.response_format)
        first = await unless_gone(request, first_of(pieces))
        sse, facts = asked.stream_format == "sse", service.facts(task)
        start = facts if asked.response_format == "codes" else None
        body: AsyncGenerator[bytes | str, None] = as_bytes(first, pieces)
        if sse:
            body = as_events(first, pieces, start, lambda: service.ending(task))
        return SpeechResponse(
            body,
            media_type="text/event-stream" if sse else MEDIA_TYPES[asked.response_format],
            # The last header: proxies must not collect the sound first.
            headers={**headers_of(facts), "Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            pieces=pieces,
            place=place.pop_all(),
            patience=service.settings.idle_seconds,
        )


async def _whole(service: SpeechService, task: Task, form: str) -> Response:
    if form == "codes":
        codes = await service.codes(task)
        facts = {**service.facts(task), **service.ending(task)}
        return JSONResponse({"codes": codes, **facts}, headers=headers_of(facts))
    samples = await service.whole(task)
    content = await asyncio.to_thread(encode, samples, form, service.speaker.sample_rate)
    headers = headers_of({**service.facts(task), **service.ending(task)})
    return Response(content, media_type=MEDIA_TYPES[form], headers=headers)


async def _pieces(service: SpeechService, task: Task, form: str) -> AsyncGenerator[Piece, None]:
    if form == "codes":
        async with aclosing(service.stream_codes(task)) as sentences:
            async for number, codes in sentences:
                yield Piece(codes16(codes), {"sentence_index": number})
        return
    async with aclosing(encoded(service.stream(task), form, service.speaker.sample_rate)) as chunks:
        async for chunk in chunks:
            if task.account.codes:
                drawn, task.account.codes = codes16(task.account.codes), []
                yield Piece(chunk, {"codes": base64.b64encode(drawn).decode("ascii")})
            else:
                yield Piece(chunk)


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
            task = await service.begin(asked, asked.input, lora, request.headers)
            samples = await service.whole(task)
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
            **service.facts(task),
            **service.ending(task),
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
