"""The end of the session's server; the last of the tests that use it, by its name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from tests.adapters.neucodec_tts_vllm.listening import (
    SPEECH,
    until,
)
from tests.adapters.neucodec_tts_vllm.server_process import KEY

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_nothing_that_was_said_is_in_the_log(server):
    log = server.log.read_text(errors="replace")
    assert "POST /v1/audio/speech" in log
    for words in ("Hello there", "of its own", "representatives", "goes on and on", KEY):
        assert words not in log


def test_when_the_engine_dies_clients_are_told_and_the_server_ends(server):
    """The last one: nothing works afterwards."""
    import psutil

    children = psutil.Process(server.process.pid).children(recursive=True)
    engines = [child for child in children if "EngineCore" in " ".join(child.cmdline())]
    assert engines
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        body = {
            "input": "This text has several sentences. It goes on. " * 20,
            "response_format": "pcm",
            "stream": False,
        }
        running = pool.submit(lambda: client.post(SPEECH, json=body))
        until(lambda: server.metric("vllm:num_requests_running") > 0, "it does not begin")
        engines[0].kill()
        with suppress(httpx.TransportError):  # the server was gone before it could answer
            assert running.result(120).status_code >= 500
    assert server.process.wait(120) is not None
