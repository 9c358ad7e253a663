"""Odd requests: each is answered as it should be, and the next one is spoken as before."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed; the server uses what comes with it")

from neucodec_tts.voices import SpeakerPrompt, VoiceLibrary
from neucodec_tts_vllm.server.protocol import BatchRequest, parsed
from tests.adapters.neucodec_tts_vllm.conftest import ASSETS
from tests.adapters.neucodec_tts_vllm.listening import SPEECH, TRANSCRIPT, VOICES, said, session
from tests.adapters.neucodec_tts_vllm.scripted_server import listening, scripted_server, until
from tests.speech.scripted import Stage

TEXT = "Alice was late indeed."
FIELDS = [
    *("model", "voice", "speaker", "speed", "ref_audio", "ref_text", "seed", "temperature", "top_k", "top_p"),
    *("min_p", "repetition_penalty", "max_new_tokens", "language", "emotion", "text_format", "normalize"),
    *("initial_codec_chunk_frames", "gapless", "instructions", "response_format", "stream", "stream_format"),
    "with_codes",
]
"""Fields that may be left out."""
ODD: list[Any] = [[], [1], {}]
NO_TEXTS: list[Any] = [None, 5, [], {}, True, ["a"], "", "   \n\t", "\x00", "\ud800"]
WRONG: list[tuple[str, Any]] = [
    *(("input", value) for value in NO_TEXTS),
    *((name, value) for name in FIELDS for value in ODD),
    *((name, "maybe") for name in ("stream", "gapless", "with_codes", "normalize", "seed", "speed", "top_k")),
    *(("speed", value) for value in (0, 0.24, 4.01, -1, 1e400, "fast")),
    *(("seed", value) for value in (2**63, -(2**63) - 1, 1.5, 1e30)),
    *(
        ("voice", value)
        for value in (5, {"id": 5}, {"id": None}, "../../etc/passwd", "a/b", "x" * 10_000, ".")
    ),
    *(("temperature", value) for value in (-1, 11)),
    *(("repetition_penalty", value) for value in (0, 1e-300, 11)),
    *(("max_new_tokens", value) for value in (0, -5, 2**40)),
    *(("response_format", value) for value in ("ogg", "PCM", "", 1)),
    *(("stream_format", value) for value in ("", "events")),
    *(("text_format", value) for value in ("html", "")),
    *(("emotion", value) for value in ("hungry", "x" * 10_000)),
    *(
        ("ref_audio", value)
        for value in (
            "",
            "data:",
            "data:audio/wav;base64,@",
            "https://[::1",
            "https://",
            "x" * 10_000,
            "file:///",
        )
    ),
]
TEXTS = [
    "[" * 20_000,
    "a" * 20_000,
    "<speak>" * 2_800,
    "**" * 10_000,
    "9" * 20_000,
    "😀" * 20_000,
    "a\n\n" * 6_600,
]


@pytest.fixture(scope="module")
def stage(codec) -> Stage:
    return Stage.build(codec)


@pytest.fixture(scope="module")
def server(stage: Stage, tmp_path_factory):
    """Two seconds of noise for every text."""
    codes = np.random.default_rng(0).integers(0, stage.codec.codebook_size, 100)
    folder = tmp_path_factory.mktemp("voices")
    VoiceLibrary(folder).save("ann", SpeakerPrompt(codes[:60], "Words.", "en-us", stage.codec.codec_id, 1.2))
    with listening(scripted_server(stage, stage.line(codes), voices=str(folder))) as running:
        yield running


@pytest.fixture
def client(server):
    """Afterwards a request is spoken, and no place is kept."""
    with server.client() as client:
        yield client
        answer = client.post(SPEECH, json={"input": TEXT, "response_format": "pcm"})
        assert len(answer.content) == 100 * 480 * 2
        until(lambda: not server.service._active and not len(server.service.speaker.worker))


def test_wrong_values_are_refused_by_name(client):
    for name, value in WRONG:
        body = {"input": TEXT, "response_format": "pcm", name: value}
        answer = client.post(SPEECH, content=json.dumps(body).replace("Infinity", "1e400"))
        assert answer.status_code in (400, 404), (
            name,
            str(value)[:40],
            answer.status_code,
            answer.text[:200],
        )
        error = answer.json()["error"]
        assert error["message"], (name, value)
        assert len(answer.content) < 2000, name


def test_null_is_absent_everywhere(client, server):
    asked = {"input": TEXT, "seed": 3, "response_format": "pcm"}
    plain = client.post(SPEECH, json=asked).content
    nothing = {name: None for name in FIELDS if name not in asked}
    assert (
        client.post(SPEECH, json={**nothing, **asked, "unknown": None, "user": {"a": [None]}}).content
        == plain
    )
    assert (
        client.post(SPEECH, json={"voice": {"id": None, "name": "ann"}, **asked}).headers["x-voice"] == "ann"
    )
    items = [{"input": TEXT, **nothing}]
    told = client.post(f"{SPEECH}/batch", json={"voice": "ann", "items": items, **nothing}).json()
    assert told["succeeded"] == 1


def test_items_of_a_batch_go_before_what_holds_for_all_and_null_is_absent_there_too():
    items = [{"input": "a"}, {"input": "a", "voice": None}, {"input": "a", "speaker": "bob"}]
    batch = parsed(BatchRequest, json.dumps({"voice": "ann", "seed": 1, "items": items}).encode())
    assert [(one.voice, one.seed) for one in batch.requests()] == [("ann", 1), ("ann", 1), ("bob", 1)]


@pytest.mark.parametrize("form", ["pcm", "mp3", "opus"])
def test_every_speed_streams_in_every_format(client, form: str):
    sizes = []
    for speed in (0.25, 1, 4):
        answer = client.post(SPEECH, json={"input": TEXT, "response_format": form, "speed": speed})
        assert answer.status_code == 200, answer.text
        sizes.append(len(answer.content))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[1] > 4 * sizes[2] / 2


def test_odd_texts_are_planned_at_once_or_refused(client, server, monkeypatch: pytest.MonkeyPatch):
    planned: list[int] = []
    plan = server.service.begin

    async def counting(request: Any, text: str, *arguments: Any, **options: Any):
        planned.append(len(text))
        return await plan(request, text, *arguments, **options)

    monkeypatch.setattr(server.service, "begin", counting)
    for text in TEXTS:
        with client.stream("POST", SPEECH, json={"input": text, "response_format": "pcm"}) as answer:
            assert answer.status_code in (200, 400), (text[:9], answer.status_code)
            if answer.status_code == 200:
                next(answer.iter_raw())  # and the client hangs up
    planned.clear()
    refused = client.post(SPEECH, json={"input": "a" * 1_000_000})
    assert refused.status_code == 400
    assert "1,000,000 characters" in refused.json()["error"]["message"]
    assert planned == [], "before anything is done with it"


def test_methods_that_nobody_meant(client):
    assert client.head("/speech").status_code == 200
    assert client.head("/speech/ready").status_code == 200
    for method in ("HEAD", "GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
        for path in (SPEECH, f"{SPEECH}/batch", f"{VOICES}/check"):
            assert client.request(method, path).status_code in (404, 405), (method, path)
    assert client.get(f"{SPEECH}/stream").status_code in (404, 405, 426)
    assert client.post(f"{VOICES}/ann").status_code in (404, 405)
    assert client.get("/speech/../../etc/passwd").status_code == 404
    assert client.get("/speech/%2e%2e%2fetc").status_code == 404


def test_bad_uploads(client):
    before = client.get(VOICES).json()
    sound = (ASSETS / "demo.flac").read_bytes()
    good = {"name": "eve", "ref_text": TRANSCRIPT}
    for name in ("", " ", ".", "..", "a/b", "a\\b", "x" * 65, "a\nb", "a\x00b", "CON:", "*"):
        answer = client.post(VOICES, files={"audio_sample": sound}, data={**good, "name": name})
        assert answer.status_code == 400, (name, answer.text)
    for files, data in (
        ({"audio_sample": b""}, good),
        ({"audio_sample": b"<html>"}, good),
        ({"other": sound}, good),
        ({"audio_sample": sound}, {"name": "eve"}),
        ({"audio_sample": sound}, {**good, "ref_text": "..."}),
        ({"a": sound, "b": sound}, good),
    ):
        answer = client.post(VOICES, files=files, data=data)
        assert answer.status_code == 400, (list(files), data, answer.text)
    for kind in (
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "application/json",
        "text/html; a=\xe9",
    ):
        answer = client.post(
            VOICES, content=b"--x\r\nnothing", headers={"Content-Type": kind.encode("latin-1")}
        )
        assert answer.status_code == 400, (kind, answer.text)
    assert client.post(f"{VOICES}/check", content=b"").status_code == 400
    for name in ("nobody", "%2e%2e", "x" * 300, "%00", "a%2Fb"):
        assert client.delete(f"{VOICES}/{name}").status_code in (400, 404), name
        assert client.get(f"{VOICES}/{name}/sample").status_code in (400, 404), name
    assert client.get(VOICES).json() == before


def test_one_of_two_uploads_of_one_name_wins(client):
    sound = (ASSETS / "demo.flac").read_bytes()

    def upload(name: str) -> int:
        data = {"name": name, "ref_text": TRANSCRIPT}
        return client.post(VOICES, files={"audio_sample": sound}, data=data).status_code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(upload, ("Twin", "twin"))) == [200, 409]
    assert client.delete(f"{VOICES}/twin").status_code in (200, 404)
    client.delete(f"{VOICES}/Twin")


@pytest.mark.parametrize(
    "frames",
    [
        [b"\x00\x01"],
        ["no JSON"],
        ["[]"],
        ["null"],
        ['{"type": null}'],
        ['{"type": ["session.config"]}'],
        ['{"type": "input.text", "text": "Too early."}'],
        ['{"type": "session.config", "voice": 5}'],
        ['{"type": "session.config", "voice": "nobody"}', '{"type": "input.text", "text": "Hm."}'],
        ['{"type": "session.config", "speed": "fast"}'],
        ['{"type": "session.config"}', '{"type": "input.text"}'],
        ['{"type": "session.config"}', '{"type": "input.text", "text": null}'],
        ['{"type": "session.config"}', '{"type": "input.text", "text": "\\ud800 Hm."}'],
        ['{"type": "session.config"}', json.dumps({"type": "input.text", "text": "a" * 100_000})],
        ['{"type": "session.config"}', '{"type": "input.text", "text": "a"}', '{"type": "session.config"}'],
        ["[" * 100_000],
    ],
    ids=lambda frames: str(frames[-1])[:50],
)
def test_odd_frames_end_the_session_with_a_reason(client, server, frames: list[str | bytes]):
    async def talk(socket) -> None:
        for frame in frames:
            await socket.send(frame)
        if len(frames) > 1:
            await socket.send('{"type": "input.done"}')
        messages, _ = await said(socket)
        assert messages[-1]["type"] == "error", messages
        assert messages[-1]["code"] in (400, 404)
        assert messages[-1]["message"]

    session(server, talk)
    until(lambda: not server.service._sessions)


def test_a_session_without_words(client, server):
    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config", "voice": None, "unknown": None}))
        for _ in range(3):
            await socket.send(json.dumps({"type": "input.done"}))
            await socket.send(json.dumps({"type": "input.cancel"}))
        done = [json.loads(await socket.recv()) for _ in range(6)]
        assert {each["type"] for each in done} == {"session.done"}
        await socket.send(json.dumps({"type": "input.text", "text": " \n ... !!! \n\n 😀 "}))
        await socket.send(json.dumps({"type": "input.done"}))
        messages, audio = await said(socket)
        assert ([each["type"] for each in messages][-1], audio) == ("session.done", {})

    session(server, talk)
