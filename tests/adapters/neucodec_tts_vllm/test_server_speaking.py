"""A real vLLM server that speaks, talked to with the clients that people have."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import subprocess

import httpx
import numpy as np
import pytest
import soundfile

from neucodec_tts.audio import load_audio
from tests.adapters.neucodec_tts_vllm.listening import (
    RATE,
    SPEECH,
    alike,
    pcm,
)
from tests.adapters.neucodec_tts_vllm.server_process import MODEL

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_the_openai_client_speaks(official, llm):
    answer = official.audio.speech.with_raw_response.create(
        model=MODEL,
        voice="",
        input="Hello there.",
        response_format="wav",
        extra_body={"seed": 5, "stream": False},
    )
    samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    expected = llm.tts.speak("Hello there.", seed=5)
    assert rate == RATE
    assert alike(samples, expected.samples)
    assert answer.headers["x-seed"] == "5"
    assert int(answer.headers["x-usage-output-tokens"]) == expected.speech_tokens
    assert int(answer.headers["x-usage-input-tokens"]) == expected.prompt_tokens


def test_the_openai_client_streams(official, llm):
    text = "This is the first sentence of two. And here is the other one, which is longer!"
    expected = np.concatenate(list(llm.tts.stream(text, seed=6)))
    with official.audio.speech.with_streaming_response.create(
        model=MODEL,
        voice="",
        input=text,
        response_format="pcm",
        extra_body={"seed": 6},
    ) as answer:
        parts = list(answer.iter_bytes())
    assert len(parts) > 2
    assert alike(pcm(b"".join(parts)), expected)


def test_events_carry_the_same_audio_and_the_usage(client, llm):
    body = {"input": "Hello there.", "seed": 5, "response_format": "pcm", "stream_format": "sse"}
    events = []
    with client.stream("POST", SPEECH, json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events += [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    audio = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert alike(pcm(audio), np.concatenate(list(llm.tts.stream("Hello there.", seed=5))))
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["output_tokens"] == 40


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("form", ["wav", "pcm", "flac", "mp3", "opus", "aac"])
def test_every_format_can_be_played(client, tmp_path, form, stream):
    if form == "aac" and shutil.which("ffmpeg") is None:
        pytest.skip("aac needs ffmpeg")
    body = {"input": "Say it in any format.", "seed": 1, "response_format": form, "stream": stream}
    answer = client.post(SPEECH, json=body)
    assert answer.status_code == 200, answer.text
    if form == "pcm":
        samples, rate = pcm(answer.content), RATE
    elif form == "aac":
        command = ["ffmpeg", "-v", "error", "-f", "aac", "-i", "pipe:0", "-f", "s16le", "-ac", "1", "pipe:1"]
        done = subprocess.run(command, input=answer.content, capture_output=True, check=True)
        samples, rate = pcm(done.stdout), RATE
    else:
        path = tmp_path / f"speech.{form}"
        path.write_bytes(answer.content)
        samples, rate = load_audio(path)  # a stream's header leaves its length open, which this minds
    # MP3 and AAC add a frame or two; how long a streamed MP3 is, libsndfile guesses.
    assert len(samples) / rate == pytest.approx(40 / 50, abs=0.2)
    assert np.abs(samples).max() > 0.01


def test_codes_can_be_had_without_their_sound(client, llm):
    body = {"input": "Decode it yourself. I mean it!", "seed": 9, "response_format": "codes", "stream": False}
    answer = client.post(SPEECH, json=body).json()
    expected = llm.tts.speak(body["input"], seed=9)
    assert answer["codes"] == [segment.codes.tolist() for segment in expected.segments]
    assert answer["usage"]["output_tokens"] == expected.speech_tokens


def test_speed_changes_the_length_and_a_short_first_chunk_nothing(client):
    body = {"input": "As fast as that.", "seed": 1, "response_format": "pcm"}
    plain = client.post(SPEECH, json=body).content
    assert len(client.post(SPEECH, json={**body, "speed": 2}).content) == len(plain) // 2
    assert len(client.post(SPEECH, json={**body, "speed": 0.5, "stream": True}).content) == len(plain) * 2
    early = client.post(SPEECH, json={**body, "stream": True, "initial_codec_chunk_frames": 2}).content
    assert len(early) == len(plain)


def test_many_at_once_are_neither_lost_nor_mixed(server, llm):
    """Each of 64 streams at a time is exactly its own: what the same seed gives offline, alone."""
    texts = [f"Number {index} says something of its own." for index in range(64)]

    async def one(client: httpx.AsyncClient, index: int) -> bytes:
        body = {"input": texts[index], "seed": index, "response_format": "pcm", "stream": index % 4 != 0}
        answer = await client.post(SPEECH, json=body)
        assert answer.status_code == 200, answer.text
        return answer.content

    async def all_of_them() -> list[bytes]:
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(
            base_url=server.url, headers=server.headers, timeout=300, limits=limits
        ) as client:
            return await asyncio.gather(*(one(client, index) for index in range(64)))

    answers = asyncio.run(all_of_them())
    for index, answer in enumerate(answers):
        if index % 4:
            expected = np.concatenate(list(llm.tts.stream(texts[index], seed=index, ahead_seconds=0)))
        else:
            expected = llm.tts.speak(texts[index], seed=index).samples
        assert alike(pcm(answer), expected), index
    assert server.metric("neucodec_tts:decode_batch_size_count") < server.metric(
        "neucodec_tts:decode_batch_size_sum"
    )


def test_a_batch_speaks_each_item_and_reports_each_failure(client, llm):
    items = [
        {"input": "One.", "seed": 1},
        {"input": "..."},
        {"input": "Three.", "seed": 3, "response_format": "pcm"},
    ]
    answer = client.post(f"{SPEECH}/batch", json={"items": items, "response_format": "wav"}).json()
    assert (answer["total"], answer["succeeded"], answer["failed"]) == (3, 2, 1)
    first, second, third = answer["results"]
    samples, _ = soundfile.read(io.BytesIO(base64.b64decode(first["audio_data"])), dtype="float32")
    assert alike(samples, llm.tts.speak("One.", seed=1).samples)
    assert alike(pcm(base64.b64decode(third["audio_data"])), llm.tts.speak("Three.", seed=3).samples)
    assert second["status"] == "error"
    assert "nothing to pronounce" in second["error"]
    wrong = client.post(f"{SPEECH}/batch", json={"items": [{"input": "a"}, {"speed": 1}]})
    assert wrong.json()["error"]["param"] == "items[1].input"
    assert client.post(f"{SPEECH}/batch", json={"items": items * 40}).status_code == 400


def test_metrics_stand_beside_vllms_own(server, client):
    client.post(SPEECH, json={"input": "Count me.", "response_format": "pcm", "stream": True})
    for name in (
        "time_to_first_audio_seconds",
        "time_to_first_token_seconds",
        "real_time_factor",
        "decode_batch_seconds",
    ):
        assert server.metric(f"neucodec_tts:{name}_count") > 0, name
    assert server.metric("neucodec_tts:requests_total", outcome="completed") > 0
    assert server.metric("neucodec_tts:speech_tokens_total") > 0
    assert server.metric("vllm:generation_tokens_total") > 0
    assert 0 < server.metric("neucodec_tts:event_loop_worst_stall_seconds") < 60


def test_vllms_own_routes_can_be_constrained_too(client, llm):
    """Text stays text, and a completion becomes speech by a few numbers."""
    from neucodec_tts_vllm import SpeechConstraint
    from neucodec_tts_vllm.sampling import allowed_tokens

    allowed = allowed_tokens(llm.tts.engine.tokens)
    body = {"model": MODEL, "prompt": [1, 2, 3], "max_tokens": 20, "return_token_ids": True}
    body["vllm_xargs"] = SpeechConstraint(allowed, 20).to_extra_args()
    answer = client.post("/v1/completions", json=body).json()
    assert all(allowed.first <= token < allowed.end for token in answer["choices"][0]["token_ids"])
    body["vllm_xargs"] = {"neucodec_codes": [5, 1]}
    assert client.post("/v1/completions", json=body).status_code == 400
