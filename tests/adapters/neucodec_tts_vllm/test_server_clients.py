"""Clients that nobody here wrote, against a real server: they are given its base URL and its key, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from typing import Any

import httpx
import pytest
import soundfile

from neucodec_tts.audio import load_audio
from tests.adapters.neucodec_tts_vllm.listening import RATE, SPEECH, VOICES, pcm, said
from tests.adapters.neucodec_tts_vllm.server_process import KEY, MODEL

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

TEXT = "This is what they all say. Nobody here wrote the client that asks for it, and it is asked for anyway."
OPENAI_MODELS = ("gpt-4o-mini-tts", "tts-1", "tts-1-hd")


# -- OpenAI's SDK -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", OPENAI_MODELS)
def test_openais_sdk_speaks_to_a_file(official, tmp_path, model):
    answer = official.audio.speech.create(model=model, voice="alloy", input=TEXT, instructions="Be cheerful.")
    answer.write_to_file(tmp_path / "speech.mp3")
    samples, rate = load_audio(tmp_path / "speech.mp3")
    assert len(samples) > rate
    assert answer.response.headers["content-type"] == "audio/mpeg"
    assert answer.response.headers["x-model"] == MODEL
    assert answer.response.headers["x-unused-fields"] == "instructions"


@pytest.mark.parametrize("form", ["pcm", "wav", "mp3", "opus", "flac"])
def test_openais_sdk_streams(official, form):
    streaming = official.audio.speech.with_streaming_response
    with streaming.create(model="tts-1", voice="nova", input=TEXT, response_format=form) as answer:
        parts = list(answer.iter_bytes())
    assert len(parts) > 2
    if form == "pcm":
        assert len(pcm(b"".join(parts))) > RATE


def test_openais_sdk_streams_asynchronously_and_as_events(server):
    openai = pytest.importorskip("openai", reason="the client of OpenAI comes with vLLM")

    async def run() -> tuple[bytes, list[dict]]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
            streaming = client.audio.speech.with_streaming_response
            asked: dict[str, Any] = {
                "model": "gpt-4o-mini-tts",
                "voice": "coral",
                "input": TEXT,
                "response_format": "pcm",
            }
            asked |= {"speed": 2.0, "extra_body": {"seed": 1}}
            async with streaming.create(**asked) as answer:
                plain = b"".join([part async for part in answer.iter_bytes()])
            async with streaming.create(**asked, stream_format="sse") as answer:
                lines = [line async for line in answer.iter_lines()]
        return plain, [json.loads(line[6:]) for line in lines if line.startswith("data: ")]

    plain, events = asyncio.run(run())
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == plain
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["audio_seconds"] == pytest.approx(len(plain) / 48_000, abs=1e-3)


def test_openais_sdk_finds_the_models(official):
    assert MODEL in [model.id for model in official.models.list()]


# -- Open WebUI 0.12: what its router asks for, in its order (backend/open_webui/routers/audio) ---------------


def test_open_webuis_requests(server, tmp_path):
    """It sends no key with its questions for lists. Where that is refused it goes on with OpenAI's names."""
    base = f"{server.url}/v1"
    with httpx.Client(timeout=120) as client:
        for path in ("/audio/models", "/models", "/audio/voices"):
            assert client.get(f"{base}{path}").status_code == 401
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        for voice in ("alloy", "echo", "fable", "onyx", "nova", "shimmer"):
            payload = {"input": "This is heard.", "voice": voice, "model": "tts-1"}
            answer = client.post(f"{base}/audio/speech", json=payload, headers=headers)
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"] == "audio/mpeg"
            (tmp_path / "speech.mp3").write_bytes(answer.content)
            samples, rate = load_audio(tmp_path / "speech.mp3")
            assert len(samples) > 0.5 * rate
        # With a server that wants no key it gets both lists; the shape is the same with one.
        models = client.get(f"{base}/audio/models", headers=headers).json().get("models", [])
        assert MODEL in [model["id"] for model in models]
        voices = client.get(f"{base}/audio/voices", headers=headers).json().get("voices", [])
        assert "resident" in {voice["id"]: voice["name"] for voice in voices}


# -- vLLM-Omni 0.30: its benchmark, its demonstrations, its WebSocket client ----------------------------------


@pytest.mark.parametrize("base", ["", "/v1/vllm-omni"])
def test_vllm_omnis_benchmark(client, base):
    payload = {
        "model": MODEL,
        "input": TEXT,
        "stream": True,
        "stream_format": "audio",
        "response_format": "pcm",
    }
    with client.stream("POST", f"{base}{SPEECH}", json=payload) as answer:
        assert answer.status_code == 200
        parts = list(answer.iter_raw())
    assert len(parts) > 2
    assert len(b"".join(parts)) % 2 == 0


@pytest.mark.parametrize("stream", [True, False])
def test_vllm_omnis_demonstrations(client, stream):
    """They list the voices as names and speak in the first; so they do with this server's second base URL."""
    base = "/v1/vllm-omni"
    voices = client.get(f"{base}{VOICES}").json().get("voices") or []
    assert all(isinstance(voice, str) for voice in voices)
    payload = {"input": TEXT, "stream": stream, "response_format": "pcm" if stream else "wav"}
    payload |= {"task_type": "CustomVoice", "language": "Auto", "voice": voices[0], "instructions": "Slowly."}
    payload |= {"stream_format": "audio"} if stream else {"speed": 1.0}
    answer = client.post(f"{base}{SPEECH}", json=payload)
    assert answer.status_code == 200, answer.text
    if stream:
        assert len(pcm(answer.content)) > RATE
    else:
        samples, rate = soundfile.read(io.BytesIO(answer.content))
        assert (len(samples) > RATE, rate) == (True, RATE)


def test_vllm_omnis_websocket_client(server):
    from websockets.asyncio.client import connect

    async def run() -> None:
        url = server.url.replace("http", "ws", 1) + f"/v1/vllm-omni{SPEECH}/stream"
        async with connect(url, additional_headers=server.headers) as socket:
            config: dict[str, Any] = {"speaker": "resident", "task_type": "CustomVoice", "language": "Auto"}
            config |= {"response_format": "wav", "speed": 1.0}
            await socket.send(json.dumps({"type": "session.config", **config}))
            for word in TEXT.split(" "):
                await socket.send(json.dumps({"type": "input.text", "text": f"{word} "}))
            await socket.send(json.dumps({"type": "input.done"}))
            messages, audio = await said(socket)
        assert messages[-1] == {"type": "session.done", "utterance_index": 0, "total_sentences": 2}
        assert messages[0]["voice"] == "resident"
        for sound in audio.values():
            samples, rate = soundfile.read(io.BytesIO(sound))
            assert (len(samples) > 0.1 * RATE, rate) == (True, RATE)

    asyncio.run(run())


def test_the_second_base_url_wants_the_key_too(server):
    for path in (f"/v1/vllm-omni{VOICES}", "/v1/vllm-omni/v1/audio/models"):
        assert httpx.get(server.url + path, timeout=60).status_code == 401
    assert (
        httpx.post(f"{server.url}/v1/vllm-omni{SPEECH}", json={"input": "a"}, timeout=60).status_code == 401
    )
