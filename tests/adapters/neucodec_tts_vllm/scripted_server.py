"""The routes on a real HTTP server in this process; in place of vLLM's engine stands one that says what it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from neucodec_tts.speech import Sampling
from neucodec_tts.speech.watermark import Watermarker
from neucodec_tts_vllm.decoding import DecodeWorker
from neucodec_tts_vllm.server.plugin import SpeechPlugin
from neucodec_tts_vllm.server.service import SpeechService
from neucodec_tts_vllm.server.settings import ServerSettings
from neucodec_tts_vllm.server.speaking import Speaker
from neucodec_tts_vllm.server.voices import Voices
from tests.speech.scripted import Line, Stage


@dataclass
class ScriptedClient:
    """An ``EngineClient`` whose nth generation is the nth line; the last is repeated."""

    lines: list[Line]
    may_go_on: asyncio.Event | None = None
    """Generations wait for it before their first token, or another."""
    waits_at: int = 0
    """The token that they wait before."""
    asked: int = 0
    closed: int = 0
    dead: Exception | None = None
    asleep: bool = False
    answers: bool = True
    """False for an engine that hangs."""
    tracing: bool = False
    requests: list[tuple[list[int], Any]] = field(default_factory=list)
    """Token ids and vLLM's settings of each generation."""

    async def check_health(self) -> None:
        if self.dead is not None:
            raise self.dead

    async def is_sleeping(self) -> bool:
        if not self.answers:
            await asyncio.Event().wait()
        return self.asleep

    async def is_tracing_enabled(self) -> bool:
        return self.tracing

    async def generate(self, prompt: Any, params: Any, name: str, *, lora_request: Any, trace_headers: Any):
        line = self.lines[min(self.asked, len(self.lines) - 1)]
        self.asked += 1
        self.requests.append((prompt["prompt_token_ids"], params))
        try:
            for count, token in enumerate(line.ids):
                if count == self.waits_at and self.may_go_on is not None:
                    await self.may_go_on.wait()
                yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=[token], finish_reason=None)])
                await asyncio.sleep(0)
            yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=[], finish_reason=line.reason)])
        finally:
            self.closed += 1


@dataclass
class ScriptedServer:
    """The server: its service, its engine and its address."""

    service: SpeechService
    engine: ScriptedClient
    app: FastAPI
    url: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": "none"})
    loop_thread: threading.Thread | None = None

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60)


def scripted_server(
    stage: Stage, *lines: Line, mark: Watermarker | None = None, **settings: Any
) -> ScriptedServer:
    """Put the parts together; `listening` starts it."""
    limits = ServerSettings(**settings)
    engine = ScriptedClient([*lines])
    worker = DecodeWorker(stage.codec)
    speaker = Speaker(engine, worker, stage.prompt_format, stage.vocabulary, 2048, Sampling())
    service = SpeechService(speaker, Voices(worker, limits), limits, mark=mark)
    app = FastAPI()
    SpeechPlugin().attach_router(app)
    app.state.neucodec_tts = service
    return ScriptedServer(service, engine, app)


@contextmanager
def listening(server: ScriptedServer) -> Iterator[ScriptedServer]:
    """Serve it on a port of this machine, in a thread."""
    web = uvicorn.Server(uvicorn.Config(server.app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=web.run, name="event-loop")
    thread.start()
    try:
        until(lambda: web.started)
        port = web.servers[0].sockets[0].getsockname()[1]
        server.url, server.loop_thread = f"http://127.0.0.1:{port}", thread
        yield server
    finally:
        web.should_exit = True
        thread.join()
        server.service.close()


def until(condition: Callable[[], object]) -> None:
    """Wait for something; fail after a minute."""
    done = threading.Event()
    for _ in range(6000):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("it does not happen")
