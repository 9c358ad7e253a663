"""A real vLLM server that speaks, talked to with the clients that people have."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import numpy as np
import pytest
import soundfile

from neucodec_tts.audio import load_audio
from tests.adapters.neucodec_tts_vllm.conftest import ASSETS
from tests.adapters.neucodec_tts_vllm.server_process import KEY, MODEL

pytestmark = [pytest.mark.vllm, pytest.mark.slow]
openai = pytest.importorskip("openai", reason="the client of OpenAI comes with vLLM")

SPEECH = "/v1/audio/speech"
VOICES = "/v1/audio/voices"
TRANSCRIPT = "All representatives are busy."
RATE = 24_000


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def official(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)


@pytest.fixture(scope="module")
def dave(client):
    """A voice on the server, from the recording that comes with the package."""
    answer = client.post(
        VOICES,
        files={"audio_sample": ("demo.flac", (ASSETS / "demo.flac").read_bytes(), "audio/flac")},
        data={"name": "dave", "ref_text": TRANSCRIPT, "consent": "given"},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["voice"]


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


# Speaking


def test_the_openai_client_speaks(official, llm):
    answer = official.audio.speech.with_raw_response.create(
        model=MODEL, voice="", input="Hello there.", response_format="wav", extra_body={"seed": 5}
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
        stream_format="audio",
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
    body = {"input": "Decode it yourself. I mean it!", "seed": 9, "response_format": "codes"}
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


def test_more_than_the_server_takes_is_refused_at_once(server):
    def one(index: int) -> int:
        with server.client() as client:
            body = {"input": f"Request {index}. " * 8, "response_format": "pcm", "max_new_tokens": 40}
            return client.post(f"{SPEECH}/batch", json={"items": [body] * 30}).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(one, range(8)))
    assert set(statuses) == {200, 429}
    until(lambda: server.metric("neucodec_tts:active_requests") == 0, "requests are counted for ever")


# Voices


def test_voices_are_kept_listed_used_and_deleted(client, server, dave):
    assert dave["name"] == "dave"
    listed = client.get(VOICES).json()
    assert listed["voices"] == ["dave", "resident"]
    assert TRANSCRIPT not in json.dumps(listed)
    assert (server.voices / "dave.safetensors").is_file()
    body = {"input": "In this voice.", "seed": 3, "response_format": "pcm"}
    named = client.post(SPEECH, json={**body, "voice": "dave"})
    as_object = client.post(SPEECH, json={**body, "voice": {"id": "dave"}})
    sample = base64.b64encode((ASSETS / "demo.flac").read_bytes()).decode()
    reference = {"ref_audio": f"data:audio/flac;base64,{sample}", "ref_text": TRANSCRIPT}
    sent = client.post(SPEECH, json={**body, **reference})
    assert named.status_code == sent.status_code == 200
    assert named.content == as_object.content == sent.content
    assert named.content != client.post(SPEECH, json=body).content
    recording = {"audio_sample": base64.b64decode(sample)}
    form = {"name": "Dave", "ref_text": TRANSCRIPT}
    assert client.post(VOICES, files=recording, data=form).status_code == 409
    assert client.post(VOICES, files=recording, data={**form, "name": "temporary"}).status_code == 200
    assert client.delete(f"{VOICES}/temporary").status_code == 200
    assert client.delete(f"{VOICES}/temporary").status_code == 404
    assert client.get(VOICES).json()["voices"] == ["dave", "resident"]


def test_a_voice_that_comes_with_the_model_speaks_and_stays(client, llm):
    body = {"input": "In its own voice.", "voice": "resident", "seed": 3, "response_format": "pcm"}
    assert alike(
        pcm(client.post(SPEECH, json=body).content), llm.tts.speak(body["input"], "resident", seed=3).samples
    )
    assert client.delete(f"{VOICES}/resident").status_code == 409


def test_the_voice_is_computed_once(client, server, dave):
    """vLLM's prefix cache has what prompts of the same voice and text have in common."""
    body = {"input": "The same words.", "voice": "dave", "response_format": "pcm"}
    client.post(SPEECH, json={**body, "seed": 1})
    before = server.metric("vllm:prefix_cache_hits_total")
    client.post(SPEECH, json={**body, "seed": 2})
    assert server.metric("vllm:prefix_cache_hits_total") > before


def silence(seconds: int) -> bytes:
    """FLAC of nothing: an hour of it is small."""
    memory = io.BytesIO()
    with soundfile.SoundFile(memory, "w", 8_000, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(seconds):
            file.write(np.zeros(8_000, np.int16))
    return memory.getvalue()


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"", 400, "empty"),
        (b"this is no audio" * 100, 400, "not a recording"),
        (b"#EXTM3U\nhttp://127.0.0.1:1/secret.wav\n", 400, "not a recording"),
        (silence(3600), 400, "longer than 30 s"),
        (bytes(2_030_000), 413, "larger than"),
        (bytes(9_000_000), 413, "takes"),
    ],
    ids=["empty", "noise", "playlist", "an hour", "large", "huge"],
)
def test_uploads_that_are_no_voice_are_refused(client, data, status, said):
    answer = client.post(VOICES, files={"audio_sample": data}, data={"name": "bad", "ref_text": TRANSCRIPT})
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "..", "con", "x" * 65, "a b", "é", "\x00"])
def test_names_that_are_paths_are_refused(client, name):
    sample = (ASSETS / "demo.flac").read_bytes()
    answer = client.post(VOICES, files={"audio_sample": sample}, data={"name": name, "ref_text": TRANSCRIPT})
    assert answer.status_code == 400, answer.text
    spoken = client.post(SPEECH, json={"input": "Hello.", "voice": name})
    assert spoken.status_code == 400
    assert "cannot be called" in spoken.json()["error"]["message"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "data URL"),
        ("http://localhost/a.wav", "data URL"),
        ("https://example.com/a.wav", "may not be fetched"),
        ("https://localhost/a.wav", "private address"),
        ("https://user@example.com@localhost:8000/a.wav", "private address"),
        ("data:audio/wav;base64,!!!!", "base64"),
        ("data:audio/wav,abc", "data URL"),
        ("../../etc/passwd", "data URL"),
    ],
)
def test_references_are_not_fetched_from_anywhere(client, url, said):
    answer = client.post(SPEECH, json={"input": "Hello.", "ref_audio": url, "ref_text": TRANSCRIPT})
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


# What is wrong


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
    answer = client.post(SPEECH, json={"input": text, "seed": 1, "response_format": "pcm"})
    assert alike(pcm(answer.content), llm.tts.speak(text, seed=1).samples)


def test_every_route_of_ours_wants_the_key(server):
    routes = [
        ("POST", SPEECH),
        ("POST", f"{SPEECH}/batch"),
        ("GET", VOICES),
        ("POST", VOICES),
        ("DELETE", f"{VOICES}/dave"),
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


# Several texts


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


# The WebSocket


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


# Faults


def test_clients_that_hang_up_leave_nothing_behind(server):
    body = {"input": "This text has several sentences. It goes on. " * 20, "response_format": "pcm"}
    for stream in (True, False):
        for _ in range(3):
            with server.client() as client:
                if stream:
                    with client.stream("POST", SPEECH, json={**body, "stream": True}) as answer:
                        next(answer.iter_bytes())
                else:
                    with suppress(httpx.ReadTimeout):
                        client.post(SPEECH, json=body, timeout=httpx.Timeout(60, read=0.05))
    until(lambda: server.metric("neucodec_tts:active_requests") == 0, "our own count")
    until(lambda: server.metric("vllm:num_requests_running") == 0, "vLLM goes on generating")
    assert server.metric("neucodec_tts:requests_total", outcome="abandoned") >= 1


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


def test_the_page_speaks(server):
    from tests.adapters.neucodec_tts_vllm.browser import speak_on_page

    status = speak_on_page(f"{server.url}/speech", KEY)
    assert "first sound after" in status
    assert "s of speech" in status


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


def test_nothing_that_was_said_is_in_the_log(server):
    log = server.log.read_text(errors="replace")
    assert "POST /v1/audio/speech" in log
    for words in ("Hello there", "of its own", "representatives", "goes on and on", KEY):
        assert words not in log


def test_when_the_engine_dies_clients_are_told_and_the_server_ends(server):
    """The last one: nothing works afterwards."""
    import psutil

    children = psutil.Process(server.process.pid).children(recursive=True)
    engines = [child for child in children if "EngineCore" in " ".join(child.cmdline())]
    assert engines
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        body = {"input": "This text has several sentences. It goes on. " * 20, "response_format": "pcm"}
        running = pool.submit(lambda: client.post(SPEECH, json=body))
        until(lambda: server.metric("vllm:num_requests_running") > 0, "it does not begin")
        engines[0].kill()
        with suppress(httpx.TransportError):  # the server was gone before it could answer
            assert running.result(120).status_code >= 500
    assert server.process.wait(120) is not None
