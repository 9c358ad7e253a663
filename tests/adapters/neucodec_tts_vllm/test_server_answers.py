"""What answers hold: streams by default, codes, headers, warnings, and the list of voices."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import numpy as np
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed; the server uses what comes with it")

from neucodec_tts.text import TextReader
from neucodec_tts.voices import SpeakerPrompt, VoiceLibrary
from tests.adapters.neucodec_tts_vllm.conftest import ASSETS
from tests.adapters.neucodec_tts_vllm.listening import SPEECH, TRANSCRIPT, VOICES, said, session
from tests.adapters.neucodec_tts_vllm.scripted_server import ScriptedServer, listening, scripted_server, until
from tests.speech.scripted import Line, Stage

TEXT = "Alice was late indeed."
TWO = f"{TEXT}\n\n{TEXT}"


@pytest.fixture(scope="module")
def stage(codec) -> Stage:
    return Stage.build(codec)


@pytest.fixture(scope="module")
def codes(stage: Stage) -> np.ndarray:
    return np.random.default_rng(0).integers(0, stage.codec.codebook_size, 100)


@pytest.fixture(scope="module")
def line(stage: Stage, codes: np.ndarray) -> Line:
    """Two seconds of noise."""
    return stage.line(codes)


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


# -- streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["pcm", "wav", "mp3", "opus", "flac", "codes"])
def test_an_answer_begins_while_its_end_is_not_generated_yet(stage: Stage, codes: np.ndarray, form: str):
    """With the fields of OpenAI's clients. The engine stops in the middle until the first bytes are there."""
    go_on = threading.Event()
    server = scripted_server(stage, stage.line(codes))
    generate = server.engine.generate

    async def halting(*arguments: Any, **options: Any):
        count = 0
        async for output in generate(*arguments, **options):
            count += 1
            while count == 60 and not go_on.is_set():
                await asyncio.sleep(0.01)
            yield output

    server.engine.generate = halting  # type: ignore[method-assign]
    with listening(server), server.client() as client:
        with client.stream("POST", SPEECH, json={"input": TEXT, "response_format": form}) as answer:
            assert answer.status_code == 200
            assert answer.headers["transfer-encoding"] == "chunked"
            parts = answer.iter_raw()
            first = next(parts)
            assert server.engine.closed == 0
            go_on.set()
            rest = b"".join(parts)
        assert first
        assert rest


def test_whole_sound_is_still_offered(stage: Stage, line: Line):
    with listening(scripted_server(stage, line)) as server, server.client() as client:
        body = {"input": TEXT, "response_format": "wav", "stream": False}
        whole = client.post(SPEECH, json=body)
        assert int(whole.headers["content-length"]) == 44 + 100 * 480 * 2
        assert whole.content[4:8] == (36 + 100 * 480 * 2).to_bytes(4, "little")
        # The default of `stream_format` does not make it a stream; events are one.
        plain = client.post(SPEECH, json={**body, "stream_format": "audio"})
        assert plain.content == whole.content
        assert events(client.post(SPEECH, json={**body, "stream_format": "sse"}))
        streamed = client.post(SPEECH, json={"input": TEXT, "response_format": "wav"})
        # Nobody knows the length yet: the largest number stands for it, as in OpenAI's streams.
        assert streamed.content[4:8] == streamed.content[40:44] == b"\xff" * 4
        assert len(streamed.content) == len(whole.content)


def test_the_seconds_are_those_after_the_speed(stage: Stage, line: Line):
    body = {"input": TEXT, "response_format": "pcm"}
    with listening(scripted_server(stage, line)) as server, server.client() as client:
        for speed, seconds in ((1, 2.0), (2, 1.0), (0.5, 4.0)):
            whole = client.post(SPEECH, json={**body, "speed": speed, "stream": False})
            assert float(whole.headers["x-audio-seconds"]) == seconds == len(whole.content) / 48_000
            streamed = client.post(SPEECH, json={**body, "speed": speed})
            assert len(streamed.content) == len(whole.content)
            told = events(client.post(SPEECH, json={**body, "speed": speed, "stream_format": "sse"}))
            assert told[-1]["audio_seconds"] == seconds


# -- codes --------------------------------------------------------------------------------------------------


def test_codes_stream_in_every_way(stage: Stage, codes: np.ndarray):
    other = codes[::-1].copy()
    lines = (stage.line(codes), stage.line(other))
    body = {"input": TWO, "response_format": "codes", "seed": 3}
    codec = stage.codec.codec_id
    with listening(scripted_server(stage, *lines)) as server, server.client() as client:
        plain = client.post(SPEECH, json=body)
        assert plain.headers["content-type"] == "application/octet-stream"
        assert (plain.headers["x-codec"], plain.headers["x-frame-rate"]) == (codec, "50")
        assert np.array_equal(np.frombuffer(plain.content, "<u2"), np.concatenate([codes, other]))
        assert len(plain.content) * 8 / (200 / 50) == 800  # bits a second
    with listening(scripted_server(stage, *lines)) as server, server.client() as client:
        start, *deltas, done = events(client.post(SPEECH, json={**body, "stream_format": "sse"}))
        assert start["type"] == "speech.audio.start"
        assert (start["codec"], start["frame_rate"], start["seed"]) == (codec, 50, 3)
        for number, expected in enumerate((codes, other)):
            parts = [base64.b64decode(each["audio"]) for each in deltas if each["sentence_index"] == number]
            assert all(len(part) % 2 == 0 for part in parts)
            assert np.array_equal(np.frombuffer(b"".join(parts), "<u2"), expected)
        assert (done["type"], done["audio_seconds"]) == ("speech.audio.done", 4.0)
        assert done["usage"]["output_tokens"] == 200
    with listening(scripted_server(stage, *lines)) as server, server.client() as client:
        whole = client.post(SPEECH, json={**body, "stream": False}).json()
        assert whole["codes"] == [codes.tolist(), other.tolist()]
        assert (whole["codec"], whole["seed"], whole["audio_seconds"]) == (codec, 3, 4.0)


@pytest.mark.parametrize("stream_audio", [True, False])
def test_a_session_gives_codes(stage: Stage, line: Line, codes: np.ndarray, stream_audio: bool):
    async def talk(socket) -> None:
        config = {"type": "session.config", "response_format": "codes", "stream_audio": stream_audio}
        await socket.send(json.dumps(config))
        await socket.send(json.dumps({"type": "input.text", "text": TEXT}))
        await socket.send(json.dumps({"type": "input.done"}))
        messages, audio = await said(socket)
        assert messages[0]["codec"] == stage.codec.codec_id
        assert (messages[0]["format"], messages[0]["frame_rate"]) == ("codes", 50)
        assert messages[1]["audio_seconds"] == 2.0
        assert np.array_equal(np.frombuffer(audio[0], "<u2"), codes)

    with listening(scripted_server(stage, line)) as server:
        session(server, talk)


def test_codes_that_fail(stage: Stage, line: Line):
    body = {"input": TWO, "response_format": "codes"}
    with listening(scripted_server(stage, Line([]))) as server, server.client() as client:
        refused = client.post(SPEECH, json=body)
        assert refused.status_code == 500
        assert "gave no speech codes" in refused.json()["error"]["message"]
    with listening(scripted_server(stage, line, Line([]))) as server, server.client() as client:
        told = events(client.post(SPEECH, json={**body, "stream_format": "sse"}))
        assert told[-1]["type"] == "speech.audio.error"
        until(lambda: server.service._active == 0)


# -- what headers and events say ------------------------------------------------------------------------------


def test_fields_that_change_nothing_are_named(stage: Stage, line: Line):
    with listening(scripted_server(stage, line)) as server, server.client() as client:
        body = {"input": TEXT, "instructions": "Whisper.", "response_format": "pcm"}
        for stream in (True, False):
            answer = client.post(SPEECH, json={**body, "stream": stream})
            assert answer.headers["x-unused-fields"] == "instructions"
        codes = client.post(SPEECH, json={**body, "response_format": "codes", "speed": 2})
        assert codes.headers["x-unused-fields"] == "instructions, speed"
        for nothing in ({}, {"instructions": ""}, {"instructions": None}):
            answer = client.post(SPEECH, json={"input": TEXT, **nothing})
            assert "x-unused-fields" not in answer.headers
        assert client.post(SPEECH, json={"input": TEXT, "instructions": 5}).status_code == 400
        unknown = {"max_frames": 5, "speeed": 2, "x\r\nSet-Cookie: a": 1, "ä" * 99: 1}
        named = client.post(SPEECH, json={"input": TEXT, **unknown}).headers["x-unused-fields"]
        assert named == f"max_frames, speeed, x%0D%0ASet-Cookie: a, {'%C3%A4' * 64}"
        wide = {f"{number:02d}{'语' * 99}": 1 for number in range(20)}
        named = client.post(SPEECH, json={"input": TEXT, **wide}).headers["x-unused-fields"]
        assert 1 < len(named.split(", ")) < 20
        assert len(named) <= 4000
        many = client.post(SPEECH, json={"input": TEXT, **{f"f{number}": 1 for number in range(999)}})
        assert len(many.headers["x-unused-fields"].split(", ")) == 20

    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config", "instructions": "Whisper.", "speeed": 2}))
        await socket.send(json.dumps({"type": "input.text", "text": TEXT}))
        await socket.send(json.dumps({"type": "input.done"}))
        messages, _ = await said(socket)
        assert messages[0]["unused"] == ["instructions", "speeed"]

    with listening(scripted_server(stage, line)) as server:
        session(server, talk)


def test_warnings_reach_the_client(stage: Stage, line: Line):
    """Of the text before there is sound, of the speech when it has ended."""
    server = scripted_server(stage, Line(line.ids[:40], "length"))
    server.service.speaker._reader = TextReader("en-us")
    body = {"input": f"{TEXT} Привет.", "response_format": "pcm"}
    with listening(server), server.client() as client:
        streamed = client.post(SPEECH, json=body)
        (warning,) = json.loads(streamed.headers["x-warnings"])
        assert "'Привет" in warning
        assert "is not read" in warning
        told = events(client.post(SPEECH, json={**body, "stream_format": "sse"}))
        assert told[-1]["warnings"][0] == warning
        assert "did not stop" in told[-1]["warnings"][1]
        whole = client.post(SPEECH, json={**body, "stream": False})
        assert json.loads(whole.headers["x-warnings"]) == told[-1]["warnings"]
        batch = client.post(f"{SPEECH}/batch", json={"items": [body]}).json()["results"]
        assert batch[0]["warnings"] == told[-1]["warnings"]

    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config"}))
        await socket.send(json.dumps({"type": "input.text", "text": f"{TEXT} Привет. {TEXT}"}))
        await socket.send(json.dumps({"type": "input.done"}))
        messages, audio = await said(socket)
        kinds = [message["type"] for message in messages]
        spoken = ["audio.start", "audio.done"]
        assert kinds == [*spoken, "warning", *spoken, "session.done"]
        assert "warnings" not in messages[0]
        assert "did not stop" in messages[1]["warnings"][0]
        assert "Привет" in messages[2]["message"]
        assert set(audio) == {0, 1}

    again = scripted_server(stage, Line(line.ids[:40], "length"))
    again.service.speaker._reader = TextReader("en-us")
    with listening(again):
        session(again, talk)


# -- voices -------------------------------------------------------------------------------------------------

NAMES = ["Ana María", "Зоя 2", "小明"]


@pytest.fixture
def folder(codec, tmp_path: Path) -> Path:
    random = np.random.default_rng(1)
    for name in NAMES:
        codes = random.integers(0, codec.codebook_size, 60)
        VoiceLibrary(tmp_path).save(
            name, SpeakerPrompt(codes, "What they say.", "en-us", codec.codec_id, 1.2)
        )
    return tmp_path


def speaking_by_name(stage: Stage, line: Line, folder: Path, **settings: Any) -> ScriptedServer:
    return scripted_server(stage, line, voices=str(folder), **settings)


def test_voices_are_listed_for_open_webui_and_for_vllm_omni(stage: Stage, line: Line, folder: Path):
    with listening(speaking_by_name(stage, line, folder)) as server, server.client() as client:
        listed = client.get(VOICES).json()
        assert {voice["id"]: voice["name"] for voice in listed["voices"]} == {name: name for name in NAMES}
        omni = client.get(f"/v1/vllm-omni{VOICES}").json()
        assert omni["voices"] == NAMES
        assert [voice["name"] for voice in omni["uploaded_voices"]] == NAMES
        answer = client.post(f"/v1/vllm-omni{SPEECH}", json={"input": TEXT, "speaker": NAMES[0]})
        assert unquote(answer.headers["x-voice"]) == NAMES[0]


def test_defaults_of_vllm_omni(stage: Stage, line: Line):
    with listening(scripted_server(stage, line)) as server, server.client() as client:
        whole = client.post(f"/v1/vllm-omni{SPEECH}", json={"input": TEXT})
        assert int(whole.headers["content-length"]) == 44 + 100 * 480 * 2
        body = {"input": TEXT, "response_format": "pcm"}
        assert events(client.post(f"/v1/vllm-omni{SPEECH}", json={**body, "stream": True}))
        assert events(client.post(f"/v1/vllm-omni{SPEECH}", json={**body, "stream_format": "sse"}))
        raw = client.post(f"/v1/vllm-omni{SPEECH}", json={**body, "stream_format": "audio"})
        assert raw.headers["transfer-encoding"] == "chunked"
        assert len(raw.content) == 100 * 480 * 2


def test_names_of_any_script_in_every_place(stage: Stage, line: Line, folder: Path):
    """In JSON, forms, paths, headers, files and aliases."""
    name = "Björn Ähre"
    sample = {"audio_sample": (ASSETS / "demo.flac").read_bytes()}
    settings = {"voice_aliases": ("alloy=小明", "Erzähler=Зоя 2"), "default_voice": NAMES[0]}
    with listening(speaking_by_name(stage, line, folder, **settings)) as server, server.client() as client:
        kept = client.post(VOICES, files=sample, data={"name": name, "ref_text": TRANSCRIPT})
        assert kept.status_code == 200, kept.text
        assert kept.json()["voice"]["name"] == name
        assert (folder / f"{name}.safetensors").is_file()
        taken = client.post(VOICES, files=sample, data={"name": name.upper(), "ref_text": TRANSCRIPT})
        assert taken.status_code == 409
        for asked, expected in ((name, name), ("ALLOY", NAMES[2]), ("erzähler", NAMES[1]), ("", NAMES[0])):
            answer = client.post(SPEECH, json={"input": TEXT, "voice": asked})
            assert answer.status_code == 200, answer.text
            assert unquote(answer.headers["x-voice"]) == expected
        assert client.delete(f"{VOICES}/{quote(name)}").status_code == 200
        assert client.post(SPEECH, json={"input": TEXT, "voice": name}).status_code == 404


def test_a_voice_of_the_model_is_not_replaced(stage: Stage, line: Line, folder: Path, tmp_path: Path):
    server = scripted_server(stage, line, voices=str(tmp_path / "own"))
    server.service.voices._own = VoiceLibrary(folder)
    sample = {"audio_sample": (ASSETS / "demo.flac").read_bytes()}
    with listening(server), server.client() as client:
        for name in (NAMES[0], NAMES[0].lower()):
            refused = client.post(VOICES, files=sample, data={"name": name, "ref_text": TRANSCRIPT})
            assert refused.status_code == 409
            assert "comes with the model" in refused.json()["error"]["message"]
    assert not (tmp_path / "own").exists()


# -- a client that writes for ever ---------------------------------------------------------------------------


def test_a_session_that_never_ends_its_sentence_is_ended(stage: Stage, line: Line):
    looked = 0

    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config"}))
        with server.client() as client:
            for _ in range(20_001):
                await socket.send(json.dumps({"type": "input.text", "text": "a"}))
            messages, _ = await said(socket)
            assert (messages[-1]["type"], messages[-1]["code"]) == ("error", 400)
            assert "send it in parts" in messages[-1]["message"]
            answer = await asyncio.to_thread(client.post, SPEECH, json={"input": TEXT})
        assert answer.status_code == 200

    def counting(text: str):
        nonlocal looked
        looked += 1
        return []

    from neucodec_tts_vllm.server import sessions

    with pytest.MonkeyPatch.context() as patch, listening(scripted_server(stage, line)) as server:
        patch.setattr(sessions, "sentences", counting)
        session(server, talk)
        until(lambda: server.service._sessions == 0)
    assert looked < 1200  # each look reads all of the text


@pytest.mark.parametrize("end", ["input.done", "input.cancel"])
def test_a_long_text_leaves_no_trace_in_the_next(stage: Stage, line: Line, end: str):
    """The sentences of what follows are found as they come, also where it is long itself."""

    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config"}))
        await socket.send(json.dumps({"type": "input.text", "text": "🙂" * 15_000}))
        await socket.send(json.dumps({"type": end}))
        assert (await said(socket))[0][-1]["type"] == "session.done"
        await socket.send(json.dumps({"type": "input.text", "text": f"{'so ' * 400}it is. And"}))
        start = json.loads(await socket.recv())
        assert start["type"] == "audio.start"

    with listening(scripted_server(stage, line)) as server:
        session(server, talk)


def test_a_session_that_writes_for_ever_is_read_no_faster_than_it_is_spoken(stage: Stage, line: Line):
    """What waits is bounded, others are served, and it is over when the client goes."""
    server = scripted_server(stage, line)
    server.engine.may_go_on = asyncio.Event()
    written = 0

    async def talk(socket) -> None:
        nonlocal written

        async def write() -> None:
            nonlocal written
            while True:
                await socket.send(json.dumps({"type": "input.text", "text": f"{TEXT} " * 40}))
                written += 1

        await socket.send(json.dumps({"type": "session.config"}))
        writing = asyncio.create_task(write())
        before = -1
        while written > before:  # until it waits for the server, which waits for the engine
            before = written
            await asyncio.sleep(1)
        writing.cancel()
        assert written > 0
        assert server.engine.asked == 1

    with listening(server), server.client() as client:
        session(server, talk)
        server.engine.may_go_on.set()
        until(lambda: server.service._sessions == 0)
        assert client.post(SPEECH, json={"input": TEXT}).status_code == 200
