"""Places on a server, the threads of encoders, and the watermark: everything but vLLM's engine is real."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed; the server uses what comes with it")

from prometheus_client import REGISTRY

from neucodec_tts.errors import EngineError
from neucodec_tts_vllm.server import encoding
from tests.adapters.neucodec_tts_vllm.listening import SPEECH, pcm, said, session
from tests.adapters.neucodec_tts_vllm.raw_client import connect, post, read_answers
from tests.adapters.neucodec_tts_vllm.scripted_server import (
    ScriptedServer,
    listening,
    scripted_server,
    until,
)
from tests.speech.scripted import Line, Stage

TEXT = "Alice was late indeed."


@pytest.fixture(scope="module")
def stage(codec) -> Stage:
    return Stage.build(codec)


@pytest.fixture(scope="module")
def line(stage: Stage) -> Line:
    """Two seconds of noise."""
    return stage.line(np.random.default_rng(0).integers(0, stage.codec.codebook_size, 100))


def places(server: ScriptedServer) -> tuple[int, int]:
    """Requests and sessions that hold a place."""
    return server.service._active, server.service._sessions


# -- places -------------------------------------------------------------------------------------------------


def test_idle_sessions_shut_nobody_out(stage: Stage, line: Line):
    """They hold no place among the requests, whether they have been greeted or not; but they are bounded, too."""
    from websockets.asyncio.client import connect as open_session

    async def run(server: ScriptedServer) -> None:
        url = server.url.replace("http", "ws", 1) + f"{SPEECH}/stream"
        async with AsyncExitStack() as stack:
            idle = [await stack.enter_async_context(open_session(url)) for _ in range(5)]
            for each in idle[:3]:
                await each.send(json.dumps({"type": "session.config"}))
                await each.send(json.dumps({"type": "input.text", "text": "Not a whole sent"}))
            await asyncio.to_thread(until, lambda: places(server) == (0, 5))
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
                assert (await client.post(SPEECH, json={"input": TEXT})).status_code == 200
            async with open_session(url) as refused:
                told = json.loads(await refused.recv())
            assert (told["type"], told["code"]) == ("error", 429)
            await idle[0].send(json.dumps({"type": "input.done"}))
            messages, _ = await said(idle[0])
            assert messages[-1]["total_sentences"] == 1
        await asyncio.to_thread(until, lambda: places(server) == (0, 0))

    with listening(scripted_server(stage, line, max_requests=2, max_sessions=5)) as server:
        asyncio.run(run(server))


def test_a_session_that_speaks_takes_a_place(stage: Stage, line: Line):
    server = scripted_server(stage, line, max_requests=1)
    server.engine.may_go_on = asyncio.Event()

    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config"}))
        await socket.send(json.dumps({"type": "input.text", "text": TEXT}))
        await socket.send(json.dumps({"type": "input.done"}))
        await asyncio.to_thread(until, lambda: places(server) == (1, 1))
        with server.client() as client:
            answer = await asyncio.to_thread(client.post, SPEECH, json={"input": TEXT})
        assert answer.status_code == 429
        assert server.engine.may_go_on is not None
        server.engine.may_go_on.set()
        await said(socket)
        assert places(server) == (0, 1)

    with listening(server):
        session(server, talk)


def test_ten_thousand_requests_to_a_full_server(stage: Stage, line: Line):
    """Each is refused in OpenAI's shape, and the server lives on. They queue up in a hundred connections."""
    most, connections, each = 100, 100, 100
    server = scripted_server(stage, line, max_requests=most)
    server.engine.may_go_on = asyncio.Event()
    before = refusals()

    def ask(_: int) -> Counter[tuple[int, str]]:
        with connect(server) as connection:
            # Written beside, since what is not read may keep the server from reading.
            asked = (post(server, SPEECH, {"input": TEXT}) * each,)
            writer = threading.Thread(target=connection.sendall, args=asked, daemon=True)
            writer.start()
            answers = read_answers(connection, each)
            writer.join()
        assert all(headers["retry-after"] for _, headers, _ in answers)
        return Counter((status, json.loads(body)["error"]["type"]) for status, _, body in answers)

    with listening(server), ThreadPoolExecutor(connections) as pool, ExitStack() as stack:
        for _ in range(most):
            stack.enter_context(connect(server)).sendall(post(server, SPEECH, {"input": TEXT}))
        until(lambda: places(server) == (most, 0))
        found = sum(pool.map(ask, range(connections)), Counter())
        assert found == {(429, "rate_limit_error"): connections * each}
        assert refusals() == before + connections * each
        server.engine.may_go_on.set()
        until(lambda: places(server) == (0, 0))
        with server.client() as client:
            assert client.post(SPEECH, json={"input": TEXT}).status_code == 200


def refusals() -> float:
    labels = {"outcome": "refused"}
    return REGISTRY.get_sample_value("neucodec_tts:requests_total", labels) or 0.0


@pytest.mark.parametrize("waiting", [False, True])
def test_a_session_is_closed_when_it_is_silent_for_too_long(stage: Stage, line: Line, waiting: bool):
    """Also one that has written text and goes on no more."""

    async def talk(socket) -> None:
        if waiting:
            await socket.send(json.dumps({"type": "session.config"}))
            await socket.send(json.dumps({"type": "input.text", "text": f"{TEXT} And then"}))
        messages, _ = await said(socket)
        assert (messages[-1]["type"], messages[-1]["code"]) == ("error", 408)
        assert sum(each["type"] == "audio.done" for each in messages) == waiting
        await socket.wait_closed()

    with listening(scripted_server(stage, line, idle_seconds=0.5)) as server:
        session(server, talk)


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_a_client_that_goes_before_the_body_begins_gives_its_place_back(
    stage: Stage, line: Line, stream_format: str
):
    server = scripted_server(stage, line)
    body = json.dumps({"input": TEXT, "response_format": "pcm", "stream_format": stream_format}).encode()

    async def run() -> None:
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict:
            if messages:
                return messages.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            assert places(server) == (1, 0)
            raise OSError("the connection is gone")

        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": SPEECH, "headers": []}
        scope |= {"app": server.app, "http_version": "1.1", "scheme": "http", "server": ("test", 80)}
        scope |= {"root_path": "", "raw_path": SPEECH.encode(), "query_string": b"", "client": None}
        scope |= {"asgi": {"spec_version": "2.4"}}
        with pytest.raises(Exception):  # noqa: B017 - whatever starlette makes of it
            await server.app(scope, receive, send)
        assert places(server) == (0, 0)
        assert server.engine.closed == server.engine.asked == 1

    try:
        asyncio.run(run())
    finally:
        server.service.close()


def test_a_client_that_reads_nothing_gives_its_place_back(stage: Stage, line: Line):
    """The system takes some megabytes for it; an answer that is longer than those is ended."""
    body = {"input": f"{TEXT} " * 200, "response_format": "pcm", "stream": True, "speed": 0.25}
    content = json.dumps(body).encode()
    with listening(scripted_server(stage, line, idle_seconds=1.0)) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        head = f"POST {SPEECH} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        until(lambda: places(server) == (1, 0))
        until(lambda: places(server) == (0, 0))
        until(lambda: server.engine.closed == server.engine.asked)
        assert server.engine.asked < 200


# -- encoders -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["mp3", "opus", "flac", "aac"])
def test_a_session_never_compresses_in_the_event_loop(
    stage: Stage, line: Line, form: str, monkeypatch: pytest.MonkeyPatch
):
    if form == "aac" and shutil.which("ffmpeg") is None:
        pytest.skip("aac needs ffmpeg")
    kind = encoding._AacEncoder if form == "aac" else encoding._FileEncoder
    threads = set()
    push = kind.push

    def watched(self, samples):
        threads.add(threading.current_thread())
        return push(self, samples)

    monkeypatch.setattr(kind, "push", watched)

    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config", "response_format": form}))
        await socket.send(json.dumps({"type": "input.text", "text": TEXT}))
        await socket.send(json.dumps({"type": "input.done"}))
        _, audio = await said(socket)
        assert audio[0]

    with listening(scripted_server(stage, line)) as server:
        session(server, talk)
        assert threads
        assert server.loop_thread not in threads


# -- generations that do not end well, as `TextToSpeech.speak` treats them -------------------------------------


def test_a_sentence_that_does_not_end_well_is_generated_again(stage: Stage, line: Line):
    looped = Line(line.ids[:40], "length")
    with listening(scripted_server(stage, looped, line)) as server, server.client() as client:
        answer = client.post(SPEECH, json={"input": TEXT, "response_format": "codes", "stream": False})
        assert len(answer.json()["codes"][0]) == 100
        assert server.engine.asked == 2
    with listening(scripted_server(stage, looped)) as server, server.client() as client:
        answer = client.post(SPEECH, json={"input": TEXT, "response_format": "pcm", "stream": False})
        assert (answer.headers["x-cut-short"], len(answer.content)) == ("1", 40 * 480 * 2)
    with listening(scripted_server(stage, Line([]))) as server, server.client() as client:
        for stream in (False, True):
            answer = client.post(SPEECH, json={"input": TEXT, "response_format": "pcm", "stream": stream})
            assert answer.status_code == 500
            assert EngineError.__name__ not in answer.text
            assert "gave no speech codes" in answer.json()["error"]["message"]
    # Amid a stream, what was heard stands.
    with listening(scripted_server(stage, line, Line([]))) as server, server.client() as client:
        body = {"input": f"{TEXT}\n\n{TEXT}", "response_format": "pcm", "stream_format": "sse"}
        events = [
            line for line in client.post(SPEECH, json=body).text.splitlines() if line.startswith("data: ")
        ]
        last = json.loads(events[-1][6:])
        assert len(events) > 1
        assert "gave no speech codes" in last["error"]["message"]


# -- the watermark ------------------------------------------------------------------------------------------


def test_answers_are_marked(stage: Stage, line: Line):
    pytest.importorskip("perth", reason='needs pip install "neucodec-tts[watermark]"')
    from neucodec_tts.speech.watermark import Watermarker

    mark = Watermarker()
    body = {"input": f"{TEXT} " * 3, "response_format": "pcm", "seed": 1}

    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config"}))
        await socket.send(json.dumps({"type": "input.text", "text": TEXT}))
        await socket.send(json.dumps({"type": "input.done"}))
        messages, _ = await said(socket)
        assert messages[0]["watermarked"] is True

    plain: dict[bool, np.ndarray] = {}
    marked: dict[bool, np.ndarray] = {}
    for server, answers in (
        (scripted_server(stage, line), plain),
        (scripted_server(stage, line, mark=mark), marked),
    ):
        with listening(server), server.client() as client:
            for stream in (False, True):
                answer = client.post(SPEECH, json={**body, "stream": stream})
                assert answer.headers["x-watermarked"] == ("false" if answers is plain else "true")
                answers[stream] = pcm(answer.content)
            if answers is marked:
                session(server, talk)
    for stream in (False, True):
        assert plain[stream].size == marked[stream].size
        found = mark._perth.get_watermark
        assert (found(plain[stream], sample_rate=24_000), found(marked[stream], sample_rate=24_000)) == (0, 1)
