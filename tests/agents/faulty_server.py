"""A server of the WebSocket that misbehaves as it is told, on a port of this machine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

RATE = 24_000
SOUND = b"\x01\x00" * (RATE // 10)  # of each sentence


class Visit:
    """One connection, on the server's side."""

    def __init__(self, connection: ServerConnection, messages: list[dict]) -> None:
        self._connection = connection
        self._messages = messages
        self._utterance = 0
        self._sentence = 0

    async def until(self, kind: str) -> dict:
        """Read until a message of that kind has come."""
        while True:
            message = json.loads(await self._connection.recv())
            self._messages.append(message)
            if message["type"] == kind:
                return message

    async def start(self, text: str = "Hello.", rate: int = RATE) -> None:
        """Begin a sentence."""
        await self._tell("audio.start", sentence_text=text, format="pcm", sample_rate=rate)

    async def sound(self, data: bytes = SOUND) -> None:
        await self._connection.send(data)

    async def say(self, text: str = "Hello.", rate: int = RATE) -> None:
        """Speak a sentence."""
        await self.start(text, rate)
        await self.sound()
        await self._tell("audio.done", usage={"input_tokens": 3, "output_tokens": 5})
        self._sentence += 1

    async def done(self, cancelled: bool = False) -> None:
        """End an utterance."""
        await self._tell("session.done", total_sentences=self._sentence, cancelled=cancelled)
        self._utterance += 1
        self._sentence = 0

    async def refuse(self, code: int, message: str, param: str | None = None) -> None:
        await self._tell("error", code=code, message=message, param=param)
        await self._connection.close()

    async def close(self) -> None:
        await self._connection.close(1012)

    async def drop(self) -> None:
        """End the connection without a word."""
        self._connection.transport.abort()

    async def _tell(self, kind: str, **fields: object) -> None:
        place = {"utterance_index": self._utterance, "sentence_index": self._sentence}
        await self._connection.send(json.dumps({"type": kind, **place, **fields}))


Behaviour = Callable[[Visit], Awaitable[None]]


async def well_behaved(visit: Visit) -> None:
    """Speak one sentence for each utterance."""
    while True:
        await visit.until("input.done")
        await visit.say()
        await visit.done()


@dataclass
class FaultyServer:
    """Where it is, and what it was told; the nth connection gets the nth behaviour, and then the last."""

    url: str = ""
    visits: int = 0
    messages: list[dict] = field(default_factory=list)
    server: Server | None = None

    def texts(self) -> str:
        return "".join(message["text"] for message in self.messages if message["type"] == "input.text")

    def kinds(self) -> list[str]:
        """What was told, but for empty texts."""
        return [message["type"] for message in self.messages if message.get("text") != ""]

    def configs(self) -> list[dict]:
        return [message for message in self.messages if message["type"] == "session.config"]


@asynccontextmanager
async def faulty_server(
    *behaviours: Behaviour, status: HTTPStatus | None = None, port: int = 0
) -> AsyncIterator[FaultyServer]:
    """Serve; with a status, every connection is refused with it."""
    told = FaultyServer()

    async def visit(connection: ServerConnection) -> None:
        behaviour = behaviours[min(told.visits, len(behaviours) - 1)]
        told.visits += 1
        try:
            await behaviour(Visit(connection, told.messages))
            await connection.wait_closed()
        except ConnectionClosed:
            pass

    def refused(connection: ServerConnection, request: object):
        told.visits += 1
        return connection.respond(status, "no") if status is not None else None

    async with serve(visit, "127.0.0.1", port, process_request=refused if status else None) as server:
        told.server = server
        told.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield told
        finally:
            for connection in server.connections:
                connection.transport.abort()
