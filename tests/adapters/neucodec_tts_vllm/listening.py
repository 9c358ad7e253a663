"""What the tests of the server use to ask and to listen."""

from __future__ import annotations

import asyncio
import json
import time

import numpy as np

SPEECH = "/v1/audio/speech"
VOICES = "/v1/audio/voices"
TRANSCRIPT = "All representatives are busy."
RATE = 24_000


def pcm(data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<i2").astype(np.float32) / 32767


def alike(ours: np.ndarray, expected: np.ndarray) -> bool:
    """The same sound, but for rounding to 16 bits."""
    return len(ours) == len(expected) and bool(np.allclose(ours, np.clip(expected, -1, 1), atol=2e-3))


def until(condition, what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def session(server, talk):
    from websockets.asyncio.client import connect

    async def run() -> None:
        url = server.url.replace("http", "ws", 1) + f"{SPEECH}/stream"
        async with connect(url, additional_headers=server.headers) as socket:
            await asyncio.wait_for(talk(socket), 240)

    asyncio.run(run())


async def said(socket) -> tuple[list[dict], dict[int, bytes]]:
    """Everything up to ``session.done``: messages, and the audio of each sentence."""
    messages: list[dict] = []
    audio: dict[int, bytes] = {}
    while True:
        frame = await socket.recv()
        if isinstance(frame, bytes):
            index = messages[-1]["sentence_index"]
            audio[index] = audio.get(index, b"") + frame
            continue
        messages.append(json.loads(frame))
        if messages[-1]["type"] in ("session.done", "error"):
            return messages, audio
