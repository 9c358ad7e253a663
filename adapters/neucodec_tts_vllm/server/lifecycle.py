"""The two ends of the service's life: a route that says if it is ready, and an end that lets speech finish."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from neucodec_tts_vllm.server.answers import answering
from neucodec_tts_vllm.server.arrivals import service_of
from neucodec_tts_vllm.server.service import SpeechService

logger = logging.getLogger(__name__)
router = APIRouter(tags=["Speech"])


@router.get("/speech/ready")
@router.head("/speech/ready", include_in_schema=False)
@answering
async def ready(request: Request) -> Response:
    """Answer 200 where speech can be asked for. It is 503 while the server goes down or its engine does not answer."""
    await service_of(request).check_ready()
    return JSONResponse({"status": "ready"})


def finish_before_engine(engine: Any, service: SpeechService) -> None:
    """Let speech that has begun end before vLLM's engine does.

    On SIGTERM vLLM calls the engine's ``shutdown`` in a thread, and serves on meanwhile. A text has many sentences, and
    each is a request to the engine: so the engine is kept until the texts have ended, or ``--shutdown-timeout`` has.
    """
    end = engine.shutdown

    def shutdown(timeout: float | None = None) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            left = service.finish(timeout or 0.0)
            if left:
                logger.error(
                    "%d requests for speech did not end in %g s; they are cut off", left, timeout or 0.0
                )
        # In the event loop, where it is called once more at the very end, there is nothing to wait for.
        end(timeout=timeout)

    engine.shutdown = shutdown
