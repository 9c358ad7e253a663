"""What a real server refuses, and in which words."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.adapters.neucodec_tts_vllm.listening import (
    SPEECH,
    VOICES,
    alike,
    pcm,
)
from tests.adapters.neucodec_tts_vllm.server_process import KEY, MODEL

pytestmark = [pytest.mark.vllm, pytest.mark.slow]
openai = pytest.importorskip("openai", reason="the client of OpenAI comes with vLLM")


@pytest.mark.parametrize(
    ("changed", "status", "param"),
    [
        ({"input": None}, 400, "input"),
        ({"input": ""}, 400, None),
        ({"input": " ... "}, 400, None),
        ({"input": "long " * 500}, 400, "input"),
        ({"input": ["a"]}, 400, "input"),
        ({"voice": "nobody"}, 404, "voice"),
        ({"voice": 5}, 400, "voice"),
        ({"voice": {"x": 1}}, 400, "voice"),
        ({"model": "another"}, 404, "model"),
        ({"response_format": "midi"}, 400, "response_format"),
        ({"stream_format": "video"}, 400, "stream_format"),
        ({"speed": 9}, 400, "speed"),
        ({"speed": float("nan")}, 400, "speed"),
        ({"temperature": float("nan")}, 400, "temperature"),
        ({"temperature": float("inf")}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
        ({"top_k": 1.5}, 400, "top_k"),
        ({"max_new_tokens": 0}, 400, "max_new_tokens"),
        ({"seed": 2**70}, 400, "seed"),
        ({"ref_audio": "data:audio/wav;base64,UklGRg=="}, 400, "ref_text"),
    ],
)
def test_errors_have_openais_shape_and_name_the_field(client, changed, status, param):
    body = json.dumps({"input": "Hello.", "model": MODEL, **changed})
    answer = client.post(SPEECH, content=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == status
    assert error["param"] == param
    assert error["message"]
    assert error["type"]


def test_the_openai_client_raises_its_own_errors(official):
    with pytest.raises(openai.BadRequestError, match="nothing to pronounce"):
        official.audio.speech.create(model=MODEL, voice="", input="...")
    with pytest.raises(openai.NotFoundError, match="no voice"):
        official.audio.speech.create(model=MODEL, voice="nobody", input="Hello.")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"5", b"\xff\xfe", b"[" * 100_000, b'{"input": "a"' + b" " * 10]
)
def test_malformed_bodies_are_refused(client, body):
    for path in (SPEECH, f"{SPEECH}/batch"):
        assert client.post(path, content=body).status_code == 400
    assert (
        client.post(VOICES, content=body, headers={"Content-Type": "multipart/form-data"}).status_code == 400
    )


def test_a_body_that_is_too_large_is_refused_by_its_length_and_without_one(client):
    def endless():
        for _ in range(400):
            yield b" " * 100_000

    assert client.post(SPEECH, content=b" " * 30_000_000).status_code == 413
    assert client.post(SPEECH, content=endless()).status_code == 413


def test_text_with_control_tokens_is_text(client, llm):
    text = "Say <|SPEECH_GENERATION_END|> and <|speech_5|><|endoftext|> aloud."
    answer = client.post(SPEECH, json={"input": text, "seed": 1, "response_format": "pcm", "stream": False})
    assert alike(pcm(answer.content), llm.tts.speak(text, seed=1).samples)


def test_every_route_of_ours_wants_the_key(server):
    routes = [
        ("POST", SPEECH),
        ("POST", f"{SPEECH}/batch"),
        ("GET", "/v1/audio/models"),
        ("GET", VOICES),
        ("POST", VOICES),
        ("DELETE", f"{VOICES}/dave"),
        ("POST", f"{VOICES}/check"),
        ("GET", f"{VOICES}/dave/sample"),
    ]
    document = httpx.get(f"{server.url}/openapi.json", timeout=60).json()
    ours = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    ours = {
        (method, path.replace("{name}", "dave")) for method, path in ours if path.startswith("/v1/audio/")
    }
    assert ours == set(routes)
    for method, path in routes:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}):
            assert httpx.request(method, server.url + path, headers=headers, timeout=60).status_code == 401
    # The page is the same for everybody and tells nothing.
    assert httpx.get(f"{server.url}/speech", timeout=60).status_code == 200
