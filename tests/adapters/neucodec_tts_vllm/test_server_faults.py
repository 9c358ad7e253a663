"""A real server and clients that ask too much, listen too slowly, or go; and its codec, when it fails."""

from __future__ import annotations

import asyncio
import base64
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import httpx
import numpy as np
import psutil
import pytest

from tests.adapters.neucodec_tts_vllm.conftest import ASSETS
from tests.adapters.neucodec_tts_vllm.listening import (
    SPEECH,
    TRANSCRIPT,
    VOICES,
    alike,
    pcm,
    until,
)
from tests.adapters.neucodec_tts_vllm.raw_client import (
    connect,
    hang_up,
    post,
    read_until,
    request,
)
from tests.adapters.neucodec_tts_vllm.server_process import KEY

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def at_rest(server) -> None:
    """Wait until nothing is left of any request."""
    until(lambda: server.metric("neucodec_tts:active_requests") == 0, "our own count")
    until(lambda: server.metric("vllm:num_requests_running") == 0, "vLLM goes on generating")
    until(lambda: server.metric("vllm:num_requests_waiting") == 0, "vLLM goes on waiting")


# Too much


def test_more_than_the_server_takes_is_refused_at_once(server):
    def one(index: int) -> int:
        with server.client() as client:
            body = {"input": f"Request {index}. " * 8, "response_format": "pcm", "max_new_tokens": 40}
            return client.post(f"{SPEECH}/batch", json={"items": [body] * 30}).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(one, range(8)))
    assert set(statuses) == {200, 429}
    until(lambda: server.metric("neucodec_tts:active_requests") == 0, "requests are counted for ever")


# Too slow


def test_slow_listeners_are_waited_for_and_hold_up_nobody(server):
    """What they do not take is neither generated far ahead nor kept; who reads late gets all of it."""
    text = " ".join(f"Sentence {number} goes." for number in range(105))
    body = {"input": text, "response_format": "pcm", "stream": True, "speed": 0.25}
    memory = psutil.Process(server.process.pid).memory_info

    def tokens() -> float:
        return server.metric("vllm:generation_tokens_total")

    with ExitStack() as open_ones, server.client() as other:
        expected = other.post(
            SPEECH, json={"input": "Quick.", "response_format": "pcm", "seed": 1, "stream": False}
        ).content
        # What is computed first takes memory that stays: kernels, and buffers for three streams at a time.
        with ThreadPoolExecutor(3) as pool:
            warm = [pool.submit(other.post, SPEECH, json={**body, "input": text[:200]}) for _ in range(3)]
            assert all(answer.result().status_code == 200 for answer in warm)
        late = open_ones.enter_context(connect(server, receive_buffer=4096))
        late.sendall(post(server, SPEECH, {**body, "input": text[:200]}))
        slow = [open_ones.enter_context(connect(server, receive_buffer=4096)) for _ in range(3)]
        for connection in slow:
            connection.sendall(post(server, SPEECH, body))
        for connection in slow:
            read_until(connection, b"\r\n\r\n")
        resident = memory().rss

        def stalled() -> bool:
            """Whether nothing is generated but what somebody else asks for, who gets it."""
            before = tokens()
            answer = other.post(
                SPEECH, json={"input": "Quick.", "response_format": "pcm", "seed": 1, "stream": False}
            )
            assert answer.status_code == 200
            assert alike(pcm(answer.content), pcm(expected))
            return tokens() - before <= int(answer.headers["x-usage-output-tokens"]) + 1

        until(stalled, "the server goes on generating for nobody")
        assert server.metric("neucodec_tts:active_requests") >= 3
        assert server.metric("vllm:num_requests_running") == 0
        # Three times 16 MB are to come, twice that before they are 16 bits.
        assert memory().rss - resident < 45e6
        for connection in slow:
            hang_up(connection, rudely=True)
        head, _, rest = read_until(late, b"\r\n\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        sound = unchunked(late, rest)
    # Each of its sentences has 40 frames, four times as slow, and there are pauses besides.
    assert len(sound) > len(text[:200].split(".")) * 40 * 480 * 2 * 4
    at_rest(server)


def unchunked(connection, data: bytes) -> bytes:
    """The body of an answer in chunks, to its very end."""
    parts: list[bytes] = []
    while True:
        data = read_until(connection, b"\r\n", data)
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        while len(data) < length + 2:
            part = connection.recv(1 << 20)
            assert part, "the answer was cut off"
            data += part
        if not length:
            return b"".join(parts)
        parts.append(data[:length])
        data = data[length + 2 :]


# Gone


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
                        client.post(
                            SPEECH, json={**body, "stream": False}, timeout=httpx.Timeout(60, read=0.05)
                        )
    at_rest(server)
    assert server.metric("neucodec_tts:requests_total", outcome="abandoned") >= 1


def test_clients_that_hang_up_at_every_stage_leave_nothing_behind(server):
    """Within the head, within the body, before any answer, after its head and amid its sound; politely or not."""
    process = psutil.Process(server.process.pid)
    files, threads = process.num_fds(), process.num_threads()
    text = "This text has several sentences. It goes on. " * 20
    sample = (ASSETS / "demo.flac").read_bytes()
    recording = f"data:audio/flac;base64,{base64.b64encode(sample).decode()}"
    form = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % part
        for part in (
            (b"name", b"", b"gone"),
            (b"ref_text", b"", TRANSCRIPT.encode()),
            (b"audio_sample", b'; filename="a.flac"', sample),
        )
    )
    speech = {"input": text, "response_format": "pcm", "stream": False}
    requests = [
        post(server, SPEECH, {**speech, "stream": True}),
        post(server, SPEECH, {**speech, "stream_format": "sse"}),
        post(server, SPEECH, {**speech, "response_format": "opus", "stream": True}),
        post(server, SPEECH, speech),
        post(server, SPEECH, {**speech, "response_format": "codes"}),
        # A recording that nobody has sent before: its voice is being encoded when they go.
        post(server, SPEECH, {**speech, "ref_audio": recording, "ref_text": f"{TRANSCRIPT} And gone."}),
        post(server, f"{SPEECH}/batch", {"items": [speech] * 3}),
        request(server, "POST", VOICES, form + b"--x--\r\n", "multipart/form-data; boundary=x"),
        request(server, "GET", VOICES),
    ]
    streamed = 3
    for rudely in (False, True):
        for number, wanted in enumerate(requests):
            end_of_head = wanted.index(b"\r\n\r\n") + 4
            for sent in {20, end_of_head, (end_of_head + len(wanted)) // 2, len(wanted)}:
                connection = connect(server)
                connection.sendall(wanted[:sent])
                hang_up(connection, rudely=rudely)
            if number < streamed:
                for stage in (b"\r\n\r\n", b"\r\n\r\n1", b"\r\n\r\n"):
                    connection = connect(server)
                    connection.sendall(wanted)
                    head = read_until(connection, stage[:4])
                    if len(stage) > 4:  # into the sound
                        while len(head) < 30_000:
                            head += connection.recv(65536)
                    assert head.startswith(b"HTTP/1.1 200")
                    hang_up(connection, rudely=rudely)
    at_rest(server)
    until(lambda: process.num_fds() <= files + 5, "connections are kept")
    # Threads of the pool for what blocks stay; they are few, and no request has one of its own.
    assert process.num_threads() <= threads + 40
    with server.client() as client:
        client.delete(f"{VOICES}/gone")  # had it been there, its sender had sent all of it
        answer = client.post(SPEECH, json={**speech, "input": "And the next, please."})
    assert answer.status_code == 200


def test_sessions_that_are_cut_off_leave_nothing_behind(server):
    """After the greeting, after the text, and amid the sound; and one that says no goodbye."""
    from websockets.asyncio.client import connect as open_session

    async def run() -> None:
        url = server.url.replace("http", "ws", 1) + f"{SPEECH}/stream"
        for stage in range(4):
            async with open_session(url, additional_headers=server.headers) as socket:
                if stage > 0:
                    await socket.send(json.dumps({"type": "session.config", "response_format": "pcm"}))
                if stage > 1:
                    await socket.send(json.dumps({"type": "input.text", "text": "It goes on. " * 50}))
                if stage > 2:
                    while not isinstance(await socket.recv(), bytes):
                        pass
                socket.transport.abort()

    asyncio.run(run())
    at_rest(server)


def test_a_slow_session_holds_up_nobody(server, client):
    """Nobody takes the sound of a session that is asked for a lot; it is not generated without end either."""
    from websockets.asyncio.client import connect as open_session

    async def run() -> None:
        url = server.url.replace("http", "ws", 1) + f"{SPEECH}/stream"
        async with open_session(url, additional_headers=server.headers, max_queue=1) as socket:
            await socket.send(json.dumps({"type": "session.config", "response_format": "pcm", "speed": 0.25}))
            for _ in range(60):
                await socket.send(json.dumps({"type": "input.text", "text": "It goes on and on. " * 2}))
            assert (await asyncio.to_thread(client.post, SPEECH, json={"input": "Quick."})).status_code == 200
            socket.transport.abort()

    asyncio.run(run())
    at_rest(server)


# A codec that fails


@pytest.mark.parametrize("stream", [True, False])
def test_a_codec_that_fails_on_one_request_fails_that_one_alone(server, llm, stream):
    texts = [f"Text {number} of those that the codec is given." for number in range(8)]
    broken = llm.tts.speak(texts[3], seed=3).codes.tolist()
    expected = [
        np.concatenate(list(llm.tts.stream(text, seed=number, ahead_seconds=0)))
        if stream
        else llm.tts.speak(text, seed=number).samples
        for number, text in enumerate(texts)
    ]

    async def all_of_them() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=120) as client:
            return await asyncio.gather(
                *(
                    client.post(
                        SPEECH,
                        json={"input": text, "seed": number, "response_format": "pcm", "stream": stream},
                    )
                    for number, text in enumerate(texts)
                )
            )

    server.broken_codes.write_text(json.dumps(broken[:8]), encoding="utf-8")
    try:
        answers = asyncio.run(all_of_them())
    finally:
        server.broken_codes.unlink()
    failed = answers.pop(3)
    assert failed.status_code == 500
    assert "codec failed" in failed.json()["error"]["message"]
    del expected[3]
    for answer, sound in zip(answers, expected, strict=True):
        assert answer.status_code == 200
        assert alike(pcm(answer.content), sound)
    # And the same request, once the codec is well again.
    with server.client() as client:
        again = client.post(
            SPEECH, json={"input": texts[3], "seed": 3, "response_format": "pcm", "stream": stream}
        )
    assert again.status_code == 200
    at_rest(server)


def test_a_codec_that_fails_amid_a_stream_ends_it_with_an_event(server, client):
    """What was heard before stands; then comes the error, and nothing after it."""
    text = "This sentence is heard. And this one is not, because the codec fails on it."
    body = {"input": text, "seed": 12, "response_format": "pcm", "stream_format": "sse"}
    _, second = client.post(
        SPEECH, json={**body, "response_format": "codes", "stream_format": None, "stream": False}
    ).json()["codes"]
    server.broken_codes.write_text(json.dumps(second[:8]), encoding="utf-8")
    try:
        with client.stream("POST", SPEECH, json=body) as answer:
            lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    finally:
        server.broken_codes.unlink()
    events = [json.loads(line[6:]) for line in lines]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.error"
    assert events[-1]["error"]["code"] == 500
    assert events[-1]["error"]["message"]
    assert KEY not in json.dumps(events)
    at_rest(server)
