"""A real server and clients that ask too much, listen too slowly, or go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from tests.adapters.neucodec_tts_vllm.listening import (
    SPEECH,
    until,
)

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_more_than_the_server_takes_is_refused_at_once(server):
    def one(index: int) -> int:
        with server.client() as client:
            body = {"input": f"Request {index}. " * 8, "response_format": "pcm", "max_new_tokens": 40}
            return client.post(f"{SPEECH}/batch", json={"items": [body] * 30}).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(one, range(8)))
    assert set(statuses) == {200, 429}
    until(lambda: server.metric("neucodec_tts:active_requests") == 0, "requests are counted for ever")


def test_clients_that_hang_up_leave_nothing_behind(server):
    body = {"input": "This text has several sentences. It goes on. " * 20, "response_format": "pcm"}
    for stream in (True, False):
        for _ in range(3):
            with server.client() as client:
                if stream:
                    with client.stream("POST", SPEECH, json={**body, "stream": True}) as answer:
                        next(answer.iter_bytes())
                else:
                    with suppress(httpx.ReadTimeout):
                        client.post(SPEECH, json=body, timeout=httpx.Timeout(60, read=0.05))
    until(lambda: server.metric("neucodec_tts:active_requests") == 0, "our own count")
    until(lambda: server.metric("vllm:num_requests_running") == 0, "vLLM goes on generating")
    assert server.metric("neucodec_tts:requests_total", outcome="abandoned") >= 1
