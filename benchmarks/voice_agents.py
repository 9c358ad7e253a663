"""Voices of agents on a server of speech: how soon they speak, and how soon they are silent.

    make agents
    neucodec-tts serve
    .venv-agents/bin/python benchmarks/voice_agents.py

First sound: from a text that is complete to the first sound that the framework hands on, through our adapters, the
frameworks' own OpenAI clients, and our client, in turns. Silence: an agent is interrupted within a long text, half of
the times before its first sound. Then vLLM's count of running requests is read until it is zero, and the next text must
sound as it does alone. "Half a second" is the time until our client has as much sound as Pipecat's OpenAI client waits
for.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import Annotated, Any

import httpx
import numpy as np
import typer

from neucodec_tts.cli.terminal import Terminal, command
from neucodec_tts.errors import EngineError
from neucodec_tts_client import Sound, SpeechSession, UtteranceDone, open_session

TEXT = "Hello there, how are you today?"
LONG = "This is a sentence that goes on for quite a while, and on. " * 20
NEXT = "Heard again."
OPTIONS = {"seed": 5}
LIMIT = 0.1  # s, for silence
RATIO = 1.3  # of first sounds
PATIENCE = 60.0  # s
NOTHING = bytes(480)  # LiveKit may end with 10 ms of silence

Speak = Callable[[str], Awaitable[tuple[float, bytes]]]
"""Speaks a text; returns the seconds to its first sound, and 16-bit samples."""
Interrupt = Callable[[Callable[[], Awaitable[None]] | None], Awaitable[float]]
"""Speaks `LONG` and is interrupted at its first sound, or after what is awaited; returns the time it was."""


@command
def main(
    terminal: Terminal,
    url: Annotated[
        str, typer.Argument(metavar="[URL]", help="A server that runs.")
    ] = "http://127.0.0.1:8000",
    key: Annotated[
        str, typer.Option(envvar="NEUCODEC_TTS_API_KEY", help="Of the server.", show_default=False)
    ] = "none",
    rounds: Annotated[int, typer.Option(min=0, max=1000, help="First sounds of each client.")] = 20,
    interruptions: Annotated[int, typer.Option(min=0, max=10_000, help="Of both adapters together.")] = 200,
) -> None:
    """Measure the voices of agents on a server of speech."""
    values = asyncio.run(_measure(terminal, url, key, rounds, interruptions))
    terminal.result(values)


async def _measure(
    terminal: Terminal, url: str, key: str, rounds: int, interruptions: int
) -> dict[str, object]:
    try:
        import livekit.agents  # noqa: F401
        import pipecat  # noqa: F401
    except ImportError as error:
        raise EngineError(f"{error}; `make agents` makes an environment that holds the frameworks") from error
    async with AsyncExitStack() as stack:
        metrics = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=PATIENCE))
        ours = await open_session(url, api_key=key)
        stack.push_async_callback(ours.close)
        clients: dict[str, Speak] = {
            "our client": lambda text: _alone(ours, text),
            "our client, half a second": lambda text: _alone(ours, text, wanted=24_000),
        }
        livekit_speak, livekit_interrupt = await stack.enter_async_context(_livekit(url, key))
        pipecat_speak, pipecat_interrupt = await stack.enter_async_context(_pipecat(url, key))
        clients["LiveKit, our adapter"] = livekit_speak
        clients["Pipecat, our adapter"] = pipecat_speak
        clients["LiveKit's openai.TTS"] = await stack.enter_async_context(_livekit_openai(url, key))
        pcm = await stack.enter_async_context(_livekit_openai(url, key, response_format="pcm"))
        clients["LiveKit's openai.TTS, pcm"] = pcm
        clients["Pipecat's OpenAITTSService"] = await stack.enter_async_context(_pipecat_openai(url, key))
        first = await _first_sounds(terminal, clients, rounds)
        silence = await _silences(
            terminal, metrics, ours, [(livekit_speak, livekit_interrupt), (pipecat_speak, pipecat_interrupt)],
            interruptions,
        )  # fmt: skip
    return {"first_sound": first, "silence": silence}


async def _first_sounds(
    terminal: Terminal, clients: dict[str, Speak], rounds: int
) -> dict[str, dict[str, float]]:
    seconds: dict[str, list[float]] = {name: [] for name in clients}
    for turn in range(rounds + 1):
        for name, speak in clients.items():
            first, _ = await speak(TEXT)
            if turn:  # the first connects
                seconds[name].append(first)
    found = {}
    for name, each in seconds.items() if rounds else ():
        reference = median(seconds["our client"])
        found[name] = {"median_s": median(each), "ratio": median(each) / reference}
        terminal.say(
            f"first sound, {name}: {median(each):.3f} s, {median(each) / reference:.2f} times our client's "
            f"({'within' if median(each) <= RATIO * reference else 'over'} {RATIO})"
        )
    return found


async def _silences(
    terminal: Terminal,
    metrics: httpx.AsyncClient,
    ours: SpeechSession,
    agents: list[tuple[Speak, Interrupt]],
    count: int,
) -> dict[str, object]:
    if not count:
        return {}
    _, expected = await _alone(ours, NEXT)
    seconds, clean = [], 0

    async def something_runs() -> None:
        while not await _running(metrics):
            pass

    for turn in range(count):
        speak, interrupt = agents[turn % len(agents)]
        moment = something_runs if turn // len(agents) % 2 else None
        begin = await interrupt(moment)
        while await _running(metrics):
            pass
        seconds.append(time.perf_counter() - begin)
        _, sound = await speak(NEXT)
        clean += _alike(sound.removesuffix(NOTHING), expected)
    soon = sum(each <= LIMIT for each in seconds)
    terminal.say(
        f"silence: {soon} of {count} within {LIMIT:g} s in vLLM's count of running requests, median "
        f"{median(seconds) * 1e3:.0f} ms, longest {max(seconds) * 1e3:.0f} ms; the next text clean {clean} of {count}"
    )
    return {
        "within": soon,
        "clean": clean,
        "of": count,
        "median_s": median(seconds),
        "longest_s": max(seconds),
    }


def _alike(one: bytes, other: bytes) -> bool:
    """The same sound, but for rounding: a server decodes alone or beside others."""
    if len(one) != len(other):
        return False
    difference = np.frombuffer(one, "<i2").astype(int) - np.frombuffer(other, "<i2")
    return bool(np.abs(difference).max(initial=0) <= 2)


async def _running(metrics: httpx.AsyncClient) -> float:
    """vLLM's count of requests that run or wait."""
    lines = (await metrics.get("/metrics")).text.splitlines()
    names = ("vllm:num_requests_running", "vllm:num_requests_waiting{")
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names))


async def _alone(session: SpeechSession, text: str, wanted: int = 1) -> tuple[float, bytes]:
    """Speak through our client; returns the seconds until so many bytes have come, and the sound."""
    await session.configure(OPTIONS)
    begin, first, sound = time.perf_counter(), 0.0, b""
    await session.send_text(text, begin)
    await session.finish()
    while not isinstance(event := await session.receive(PATIENCE), UtteranceDone):
        if isinstance(event, Sound):
            sound += event.data
            if not first and len(sound) >= wanted:
                first = time.perf_counter() - begin
    return first, sound


@asynccontextmanager
async def _livekit(url: str, key: str) -> AsyncIterator[tuple[Speak, Interrupt]]:
    from livekit.agents.types import APIConnectOptions

    from neucodec_tts_livekit import TTS

    patient = APIConnectOptions(max_retry=0, timeout=PATIENCE)
    async with TTS(base_url=url, api_key=key, options=OPTIONS) as voice:

        async def speak(text: str) -> tuple[float, bytes]:
            async with voice.stream(conn_options=patient) as stream:
                begin = time.perf_counter()
                stream.push_text(text)
                stream.end_input()
                return await _heard(stream, begin)

        async def interrupt(moment: Callable[[], Awaitable[None]] | None) -> float:
            stream = voice.stream(conn_options=patient)
            stream.push_text(LONG)
            await (moment() if moment is not None else anext(stream))
            begin = time.perf_counter()
            await stream.aclose()
            return begin

        yield speak, interrupt


@asynccontextmanager
async def _livekit_openai(url: str, key: str, **options: str) -> AsyncIterator[Speak]:
    from livekit.agents.types import APIConnectOptions
    from livekit.plugins import openai

    async with openai.TTS(base_url=f"{url}/v1", api_key=key, **options) as voice:

        async def speak(text: str) -> tuple[float, bytes]:
            patient = APIConnectOptions(max_retry=0, timeout=PATIENCE)
            begin = time.perf_counter()
            async with voice.synthesize(text, conn_options=patient) as stream:
                return await _heard(stream, begin)

        yield speak


async def _heard(stream: Any, begin: float) -> tuple[float, bytes]:
    first, sound = 0.0, b""
    async for event in stream:
        first = first or time.perf_counter() - begin
        sound += event.frame.data.tobytes()
    return first, sound


@asynccontextmanager
async def _pipecat(url: str, key: str) -> AsyncIterator[tuple[Speak, Interrupt]]:
    from neucodec_tts_pipecat import NeuCodecTTSService

    service = NeuCodecTTSService(base_url=url, api_key=key, options=OPTIONS, timeout=PATIENCE)
    async with _pipeline(service) as pipeline:
        yield pipeline


@asynccontextmanager
async def _pipecat_openai(url: str, key: str) -> AsyncIterator[Speak]:
    from pipecat.services.openai.tts import OpenAITTSService

    async with _pipeline(OpenAITTSService(base_url=f"{url}/v1", api_key=key)) as (speak, _):
        yield speak


@asynccontextmanager
async def _pipeline(service: Any) -> AsyncIterator[tuple[Speak, Interrupt]]:
    """A pipeline around a service of Pipecat."""
    from loguru import logger
    from pipecat.frames.frames import (
        EndFrame,
        Frame,
        InterruptionFrame,
        LLMFullResponseEndFrame,
        LLMFullResponseStartFrame,
        LLMTextFrame,
        TTSAudioRawFrame,
    )
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineWorker
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
    from pipecat.workers.runner import WorkerRunner

    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    frames: asyncio.Queue[Frame] = asyncio.Queue()

    class Listener(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            frames.put_nowait(frame)
            await self.push_frame(frame, direction)

    async def until(kind: type) -> tuple[float, bytes]:
        """Listen to a frame of that kind; returns the time of the first sound, and the sound."""
        first, sound = 0.0, b""
        while True:
            frame = await asyncio.wait_for(frames.get(), PATIENCE)
            if isinstance(frame, TTSAudioRawFrame):
                first = first or time.perf_counter()
                sound += frame.audio
            if isinstance(frame, kind):
                return first, sound

    async def write(*written: Frame) -> None:
        for frame in written:
            await worker.queue_frame(frame)

    async def speak(text: str) -> tuple[float, bytes]:
        begin = time.perf_counter()
        await write(LLMFullResponseStartFrame(), LLMTextFrame(text), LLMFullResponseEndFrame())
        first, sound = await until(LLMFullResponseEndFrame)
        return first - begin, sound

    async def interrupt(moment: Callable[[], Awaitable[None]] | None) -> float:
        await write(LLMFullResponseStartFrame(), LLMTextFrame(LONG))
        await (moment() if moment is not None else until(TTSAudioRawFrame))
        begin = time.perf_counter()
        await write(InterruptionFrame())
        await until(InterruptionFrame)
        return begin

    worker = PipelineWorker(Pipeline([service, Listener()]), cancel_on_idle_timeout=False, enable_rtvi=False)
    started = asyncio.Event()
    worker.add_event_handler("on_pipeline_started", lambda *_: started.set())
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    await started.wait()
    try:
        yield speak, interrupt
    finally:
        await worker.queue_frame(EndFrame())
        await running


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the frameworks look for nothing elsewhere
    typer.run(main)
