"""The WebSocket of a real server: text as it is written, speech sentence by sentence."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from tests.adapters.neucodec_tts_vllm.listening import (
    SPEECH,
    alike,
    pcm,
    said,
    session,
)

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_a_session_speaks_sentences_as_they_are_written(server, llm):
    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config", "seed": 4, "response_format": "pcm"}))
        for piece in ("Hello the", "re. Dr. Who is", " in. And"):
            await socket.send(json.dumps({"type": "input.text", "text": piece}))
        # Two sentences are there, and are spoken before the text is done.
        start = json.loads(await socket.recv())
        assert (start["type"], start["sentence_text"]) == ("audio.start", "Hello there.")
        await socket.send(json.dumps({"type": "input.text", "text": " so on"}))
        await socket.send(json.dumps({"type": "input.done"}))
        first = b""
        while isinstance(frame := await socket.recv(), bytes):
            first += frame
        assert alike(pcm(first), np.concatenate(list(llm.tts.stream("Hello there.", seed=4))))
        messages, audio = await said(socket)
        assert [m["sentence_text"] for m in messages if m["type"] == "audio.start"] == [
            "Dr. Who is in.",
            "And so on",
        ]
        assert messages[-1] == {"type": "session.done", "utterance_index": 0, "total_sentences": 3}
        assert set(audio) == {1, 2}
        # The connection lives on.
        await socket.send(json.dumps({"type": "input.text", "text": "Again."}))
        await socket.send(json.dumps({"type": "input.done"}))
        messages, _ = await said(socket)
        assert messages[-1]["utterance_index"] == 1
        await socket.send(json.dumps({"type": "session.close"}))
        await socket.wait_closed()

    session(server, talk)


def test_a_session_can_be_silenced(server):
    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config"}))
        await socket.send(json.dumps({"type": "input.text", "text": "A sentence that goes on and on. " * 20}))
        assert json.loads(await socket.recv())["type"] == "audio.start"
        await socket.send(json.dumps({"type": "input.cancel"}))
        messages: list[dict] = []
        while not messages or messages[-1]["type"] != "session.done":
            frame = await socket.recv()
            messages += [json.loads(frame)] if isinstance(frame, str) else []
        assert messages[-1]["cancelled"] is True
        assert messages[-1]["total_sentences"] < 19
        await socket.send(json.dumps({"type": "input.text", "text": "Heard again."}))
        await socket.send(json.dumps({"type": "input.done"}))
        messages, _ = await said(socket)
        assert messages[-1]["total_sentences"] == 1

    session(server, talk)


@pytest.mark.parametrize(
    ("message", "said_"),
    [
        ("{", "JSON"),
        ("5", "JSON"),
        (json.dumps({"type": "input.text", "text": "a"}), "session.config"),
        (json.dumps({"type": "session.config", "voice": 7}), "voice"),
        (json.dumps({"type": "session.config", "model": "another"}), "not served"),
    ],
)
def test_a_session_says_what_is_wrong_and_ends(server, message, said_):
    async def talk(socket) -> None:
        await socket.send(message)
        messages, _ = await said(socket)
        assert messages[-1]["type"] == "error"
        assert said_ in messages[-1]["message"]
        await socket.wait_closed()

    session(server, talk)


def test_a_session_wants_the_key(server):
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    async def run() -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(server.url.replace("http", "ws", 1) + f"{SPEECH}/stream"):
                pass
        assert refused.value.response.status_code in (401, 403)

    asyncio.run(run())
