"""LiveKit and Pipecat on a real server: our adapters, and their own OpenAI clients with base URL and key alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

pytest.importorskip(
    "livekit.agents", reason="LiveKit is not installed here; `make agents` makes .venv-agents"
)
pytest.importorskip("pipecat", reason="Pipecat is not installed here; `make agents` makes .venv-agents")

from livekit.agents import APIStatusError
from livekit.agents.metrics import TTSMetrics
from livekit.agents.types import APIConnectOptions
from livekit.plugins import openai
from pipecat.frames.frames import ErrorFrame, InterruptionFrame, MetricsFrame, TTSStoppedFrame
from pipecat.metrics.metrics import TTFBMetricsData
from pipecat.services.openai.tts import OpenAITTSService

import neucodec_tts_livekit
from neucodec_tts_client import SentenceStarted, Sound, UtteranceDone, open_session
from neucodec_tts_pipecat import NeuCodecTTSService, NeuCodecTTSSettings
from tests.adapters.neucodec_tts_vllm.server_process import KEY
from tests.agents.test_livekit import samples
from tests.agents.test_pipecat import bot, run

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

PATIENT = APIConnectOptions(max_retry=0, timeout=60.0)
LONG = "This is a long sentence that goes on and on. " * 20
SEED = {"seed": 5}


async def alone(server, text: str) -> bytes:
    """The sound of a text on a connection of its own."""
    session = await open_session(server.url, api_key=KEY)
    await session.configure(SEED)
    await session.send_text(text, "alone")
    await session.finish()
    sound = b""
    while not isinstance(event := await session.receive(60), UtteranceDone):
        sound += event.data if isinstance(event, Sound) else b""
    await session.close()
    return sound


def alike(one: bytes, other: bytes) -> bool:
    """The same sound, but for rounding."""
    assert len(one) == len(other)
    return bool(np.allclose(np.frombuffer(one, "<i2"), np.frombuffer(other, "<i2"), rtol=0, atol=2))


async def nothing_runs(server) -> None:
    """Wait until vLLM works on nothing."""

    def working() -> float:
        return server.metric("vllm:num_requests_running") + server.metric("vllm:num_requests_waiting")

    while await asyncio.to_thread(working):
        await asyncio.sleep(0.02)


async def something_runs(server) -> None:
    while not await asyncio.to_thread(server.metric, "vllm:num_requests_running"):
        await asyncio.sleep(0.02)


def test_the_client_hears_sentences_while_it_writes(server):
    async def test() -> None:
        session = await open_session(server.url, api_key=KEY)
        await session.configure(SEED)
        await session.send_text("Hello there. And", 1)
        event = await session.receive(60)
        assert isinstance(event, SentenceStarted)
        assert (event.utterance, event.text, event.sample_rate) == (1, "Hello there.", 24000)
        await session.send_text(" so on.", 1)
        await session.send_text("The next one.", 2)
        await session.finish()
        ends: list[UtteranceDone] = []
        while len(ends) < 2:
            event = await session.receive(60)
            ends += [event] if isinstance(event, UtteranceDone) else []
        assert ends == [UtteranceDone(1, 2), UtteranceDone(2, 1)]
        assert session.idle
        await session.close()

    run(test)


@pytest.mark.parametrize("moment", [something_runs, None])
def test_livekit_is_interrupted_and_starts_clean(server, moment):
    async def test() -> None:
        expected = await alone(server, "Heard again.")
        figures: list[TTSMetrics] = []
        async with neucodec_tts_livekit.TTS(base_url=server.url, api_key=KEY, options=SEED) as voice:
            voice.on("metrics_collected", figures.append)
            for _ in range(2):
                stream = voice.stream(conn_options=PATIENT)
                stream.push_text(LONG)
                await (moment(server) if moment is not None else anext(stream))
                await stream.aclose()
                await nothing_runs(server)
                async with voice.stream(conn_options=PATIENT) as stream:
                    stream.push_text("Heard again.")
                    stream.end_input()
                    assert alike(samples([event async for event in stream]), expected)
        assert all(each.ttfb > 0 for each in figures[-1:])

    run(test)


@pytest.mark.parametrize("moment", [something_runs, None])
def test_pipecat_is_interrupted_and_starts_clean(server, moment):
    async def test() -> None:
        expected = await alone(server, "Heard again.")
        service = NeuCodecTTSService(base_url=server.url, api_key=KEY, options=SEED, timeout=60)
        async with bot(service) as it:
            for _ in range(2):
                it.heard.frames.clear()
                await it.write(LONG, end=False)
                await (moment(server) if moment is not None else it.heard.until(it.sound))
                await it.worker.queue_frame(InterruptionFrame())
                await it.heard.until(lambda: it.heard.of(InterruptionFrame))
                await nothing_runs(server)
                it.heard.frames.clear()
                await it.write("Heard", " again.")
                await it.until_spoken()
                assert alike(it.sound(), expected)
            figures = [each for frame in it.heard.of(MetricsFrame) for each in frame.data]
            assert any(isinstance(each, TTFBMetricsData) and each.value > 0 for each in figures)
        assert it.errors.of(ErrorFrame) == []

    run(test)


def test_livekits_own_openai_client_speaks(server):
    async def test() -> None:
        async with openai.TTS(base_url=f"{server.url}/v1", api_key=KEY) as voice:
            frame = await voice.synthesize("Hello there.", conn_options=PATIENT).collect()
            assert frame.duration > 0.3

    run(test)


def test_pipecats_own_openai_client_speaks(server):
    async def test() -> None:
        async with bot(OpenAITTSService(base_url=f"{server.url}/v1", api_key=KEY)) as it:
            await it.write("Hello", " there.")
            await it.heard.until(lambda: it.heard.of(TTSStoppedFrame))
        assert it.errors.of(ErrorFrame) == []
        assert len(it.sound()) / 48_000 > 0.3

    run(test)


async def ask_livekit(url: str, text: str, **options) -> tuple[int, str]:
    async with neucodec_tts_livekit.TTS(base_url=url, **options) as voice:
        with pytest.raises(APIStatusError) as refused:
            await voice.synthesize(text, conn_options=PATIENT).collect()
        return refused.value.status_code, refused.value.message


async def ask_pipecat(url: str, text: str, voice: str | None = None, **options) -> tuple[int, str]:
    service = NeuCodecTTSService(base_url=url, settings=NeuCodecTTSSettings(voice=voice), **options)
    async with bot(service) as it:
        await it.write(text)
        error = await it.until_error()
    assert service.is_usable is (error.exception.param == "input")
    return error.exception.status_code, error.error


@pytest.mark.parametrize("ask", [ask_livekit, ask_pipecat])
def test_refusals_are_understood(server, ask: Callable[..., Awaitable[tuple[int, str]]]):
    async def refused(url: str, text: str, **options) -> tuple[int, str]:
        return await ask(url, text, **{"api_key": KEY, **options})

    async def test() -> None:
        status, message = await refused(server.url, "Hello.", api_key="wrong")
        assert (status, "another key" in message) == (401, True)
        status, message = await refused(f"{server.url}/elsewhere", "Hello.")
        assert (status, "neucodec-tts serve" in message) == (403, True)
        status, message = await refused(server.url, "Hello.", voice="nobody")
        assert (status, "nobody" in message) == (404, True)
        status, message = await refused(server.url, "words without an end " * 1000)
        assert (status, "20,000" in message) == (400, True)

    run(test)
