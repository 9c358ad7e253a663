"""Streams: when the first sound is sent, and what becomes of sentences that do not end well."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed; the server uses what comes with it")

from neucodec_tts_vllm.server import speaking
from tests.adapters.neucodec_tts_vllm.listening import SPEECH, pcm, said, session
from tests.adapters.neucodec_tts_vllm.scripted_server import listening, scripted_server, until
from tests.speech.scripted import Line, Stage

TEXT = "Alice was late indeed."
HUSH = 5
"""A code of silence, in these tests."""


@pytest.fixture(scope="module")
def stage(codec) -> Stage:
    return Stage.build(codec)


@pytest.fixture(scope="module")
def codes(stage: Stage) -> np.ndarray:
    return np.random.default_rng(0).integers(HUSH + 1, stage.codec.codebook_size, 100)


@pytest.fixture
def hush(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Line:
    """A second of silence, as models speak it that give codes of silence."""
    decode = stage.codec.decode_windows

    def softly(windows):
        return [
            replace(done, audio=0 * done.audio) if int(window.codes[0]) == HUSH else done
            for window, done in zip(windows, decode(windows), strict=True)
        ]

    monkeypatch.setattr(stage.codec, "decode_windows", softly)
    return stage.line([HUSH] * 50)


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


# -- sentences that do not end well ---------------------------------------------------------------------------


def test_silence_is_followed_by_another_attempt(stage: Stage, codes: np.ndarray, hush: Line):
    body = {"input": TEXT, "response_format": "pcm", "seed": 1}
    with listening(scripted_server(stage, stage.line(codes))) as server, server.client() as client:
        spoken = pcm(client.post(SPEECH, json=body).content)
    with listening(scripted_server(stage, hush, stage.line(codes))) as server, server.client() as client:
        told = events(client.post(SPEECH, json={**body, "stream_format": "sse", "with_codes": True}))
        sound = pcm(b"".join(base64.b64decode(each["audio"]) for each in told[:-1]))
        assert server.engine.asked == server.engine.closed == 2
        assert not sound[: 50 * 480].any()
        assert np.allclose(sound[-len(spoken) :][480:], spoken[480:], atol=1e-4)
        drawn = b"".join(base64.b64decode(each.get("codes", "")) for each in told[:-1])
        assert np.frombuffer(drawn, "<u2").tolist() == [HUSH] * 50 + codes.tolist()
        assert (told[-1]["cut_short"], "warnings" in told[-1]) == (0, False)
        until(lambda: not server.service._active and not len(server.service.speaker.worker))


def test_silence_for_ever_is_told(stage: Stage, hush: Line):
    body = {"input": TEXT, "response_format": "pcm", "stream_format": "sse"}
    with listening(scripted_server(stage, hush)) as server, server.client() as client:
        told = events(client.post(SPEECH, json=body))
        assert server.engine.asked == 2
        assert {each["type"] for each in told[:-1]} == {"speech.audio.delta"}
        assert told[-1]["type"] == "speech.audio.done"
        (warning,) = told[-1]["warnings"]
        assert "is silent (1.0 s)" in warning


@pytest.mark.parametrize("frames", [0, 9])
def test_what_ends_before_its_first_sound_is_generated_again(stage: Stage, codes: np.ndarray, frames: int):
    lines = stage.line(codes[:frames]), stage.line(codes)
    with listening(scripted_server(stage, *lines)) as server, server.client() as client:
        body = {"input": TEXT, "response_format": "pcm", "stream_format": "sse", "with_codes": True}
        told = events(client.post(SPEECH, json=body))
        assert server.engine.asked == 2
        assert told[-1]["audio_seconds"] == 2.0
        drawn = b"".join(base64.b64decode(each.get("codes", "")) for each in told[:-1])
        assert np.frombuffer(drawn, "<u2").tolist() == codes.tolist()
        until(lambda: not server.service._active and not len(server.service.speaker.worker))
    with listening(scripted_server(stage, Line([]), lines[1])) as server, server.client() as client:
        answer = client.post(SPEECH, json={"input": TEXT, "response_format": "codes"})
        assert np.frombuffer(answer.content, "<u2").tolist() == codes.tolist()


def test_what_has_been_heard_is_kept_and_told_at_the_end(stage: Stage, codes: np.ndarray):
    lines = stage.line(codes, "length"), stage.line(codes)
    body = {"input": f"{TEXT}\n\n{TEXT}", "response_format": "pcm", "stream_format": "sse"}
    with listening(scripted_server(stage, *lines)) as server, server.client() as client:
        told = events(client.post(SPEECH, json=body))
        assert server.engine.asked == 2
        assert {each["type"] for each in told[:-1]} == {"speech.audio.delta"}, "what OpenAI's clients know"
        (warning,) = told[-1]["warnings"]
        assert "did not stop and was ended" in warning
        assert told[-1]["cut_short"] == 1

    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config"}))
        await socket.send(json.dumps({"type": "input.text", "text": TEXT}))
        await socket.send(json.dumps({"type": "input.done"}))
        messages, _ = await said(socket)
        assert "did not stop and was ended" in messages[1]["warnings"][0]

    with listening(scripted_server(stage, *lines)) as server:
        session(server, talk)


# -- the first sound ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gapless", [True, False])
def test_where_codes_come_slowly_the_first_sound_waits(
    stage: Stage, codes: np.ndarray, gapless: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(speaking, "LONGEST_HOLD_SECONDS", 1000.0)
    server = scripted_server(stage, stage.line(codes))
    server.engine.waits_at = 14
    speaker = server.service.speaker
    speaker._pace.count(1100, 20.0, time.perf_counter())  # of late 1.1 times as fast as they are played
    got = threading.Event()

    def listen() -> bytes:
        body = {"input": TEXT, "response_format": "pcm", "gapless": gapless}
        with server.client() as client, client.stream("POST", SPEECH, json=body) as answer:
            parts = []
            for part in answer.iter_raw():
                got.set()
                parts.append(part)
            return b"".join(parts)

    with listening(server), ThreadPoolExecutor(1) as pool:
        server.engine.may_go_on = asyncio.Event()
        heard = pool.submit(listen)
        until(lambda: len(speaker.worker))
        (stream,) = speaker.worker._streams.values()
        if gapless:
            until(
                lambda: stream._waiting_samples == 8 * 480
            )  # two chunks, and their listener does not take them
            for _ in range(50):
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0), stream.loop).result()
            assert stream._waiting_samples == 8 * 480
            assert not got.is_set()
        else:
            until(got.is_set)
            assert not heard.done()
        stream.loop.call_soon_threadsafe(server.engine.may_go_on.set)
        assert len(heard.result()) == 100 * 480 * 2


def test_a_first_sound_that_waits_does_not_wait_for_ever(
    stage: Stage, codes: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    """The engine stops giving codes while it waits."""
    monkeypatch.setattr(speaking, "LONGEST_HOLD_SECONDS", 0.5)
    server = scripted_server(stage, stage.line(codes))
    server.engine.waits_at = 20
    server.service.speaker._pace.count(1100, 20.0, time.perf_counter())
    with listening(server), server.client() as client:
        server.engine.may_go_on = asyncio.Event()
        body = {"input": TEXT, "response_format": "pcm"}
        with client.stream("POST", SPEECH, json=body) as answer:
            parts = answer.iter_raw()
            first = next(parts)
            (stream,) = server.service.speaker.worker._streams.values()
            stream.loop.call_soon_threadsafe(server.engine.may_go_on.set)
            assert len(first + b"".join(parts)) == 100 * 480 * 2
