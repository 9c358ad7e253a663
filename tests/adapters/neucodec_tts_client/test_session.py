"""The client of the WebSocket: addresses, what it imports, and cancellations that come with a frame."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

pytest.importorskip("websockets", reason="websockets is not installed here; it comes with vLLM")

from neucodec_tts.errors import NeuCodecError
from neucodec_tts_client import SpeechSession, SpeechUrlError, UtteranceDone, session_url

ROUTE = "/v1/audio/speech/stream"


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000" + ROUTE),
        ("https://speech.example/v1/", "wss://speech.example" + ROUTE),
        ("ws://[::1]:8000" + ROUTE, "ws://[::1]:8000" + ROUTE),
        ("wss://example/behind/a/proxy", "wss://example/behind/a/proxy" + ROUTE),
        (" http://example/v1\n", "ws://example" + ROUTE),
    ],
)
def test_addresses(base, url):
    assert session_url(base) == url


@pytest.mark.parametrize(
    "wrong", ["", "localhost:8000", "http://", "ftp://example", "http://a:99999", "http://["]
)
def test_what_is_no_address_is_named(wrong):
    with pytest.raises(SpeechUrlError, match="no address of a server") as refused:
        session_url(wrong)
    assert repr(wrong) in str(refused.value)
    assert isinstance(refused.value, NeuCodecError)


def test_it_imports_neither_torch_nor_vllm():
    code = "import sys, neucodec_tts_client; print({'torch', 'vllm', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class Socket:
    """Frames come when they are put there."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.sent: list[dict] = []

    async def recv(self) -> str | bytes:
        return await self.frames.get()

    async def send(self, message: str) -> None:
        self.sent.append(json.loads(message))

    def done(self, **fields) -> None:
        self.frames.put_nowait(json.dumps({"type": "session.done", "total_sentences": 1, **fields}))


def test_a_cancellation_that_comes_with_a_frame_is_obeyed_and_the_frame_kept():
    async def run() -> None:
        socket = Socket()
        session = SpeechSession(socket)
        await session.send_text("One.", "one")
        await session.finish()
        waiting = asyncio.create_task(session.receive(60))
        for _ in range(5):
            await asyncio.sleep(0)
        socket.done()
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the frame is there, and the waiting task does not know it yet
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await session.receive(60) == UtteranceDone("one", 1)

    asyncio.run(run())


def test_what_was_given_up_is_not_mistaken_for_what_follows():
    async def run() -> None:
        socket = Socket()
        session = SpeechSession(socket)
        await session.cancel()
        assert socket.sent == [], "there is nothing to give up"
        await session.send_text("One.", "one")
        await session.finish()
        await session.send_text("Two", "two")
        await session.cancel()
        await session.cancel()
        await session.send_text("Three.", "three")
        await session.finish()
        assert session.pending == ["three"]
        socket.done()  # the first had ended before it was given up
        socket.frames.put_nowait(b"\0\0")  # of the second, on its way
        socket.done(cancelled=True)
        socket.done()
        assert [await session.receive() for _ in range(3)] == [
            UtteranceDone("one", 1),
            UtteranceDone("two", 1, cancelled=True),
            UtteranceDone("three", 1),
        ]
        assert session.idle
        assert [message["type"] for message in socket.sent].count("input.cancel") == 1

    asyncio.run(run())
