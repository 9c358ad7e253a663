"""Whether the server is ready, how it ends, and what its page and its samples ask for; without vLLM's engine."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

pytest.importorskip("vllm", reason="vLLM is not installed; the server uses what comes with it")

from neucodec_tts_vllm.server import page, speaking
from neucodec_tts_vllm.server.lifecycle import finish_before_engine
from tests.adapters.neucodec_tts_vllm.listening import SPEECH, VOICES, pcm, said, session
from tests.adapters.neucodec_tts_vllm.scripted_server import listening, scripted_server, until
from tests.assets import DEMO
from tests.speech.scripted import Line, Stage

TEXT = "Alice was late indeed."


@pytest.fixture(scope="module")
def stage(codec) -> Stage:
    return Stage.build(codec)


@pytest.fixture(scope="module")
def line(stage: Stage) -> Line:
    """Two seconds of the recording."""
    return stage.line(stage.codec.encode(DEMO)[:100].numpy())


@pytest.fixture
def server(stage, line, tmp_path):
    with listening(scripted_server(stage, line, voices=str(tmp_path))) as server:
        yield server


# -- the beginning ------------------------------------------------------------------------------------------


def test_ready_or_why_not(server, monkeypatch):
    from vllm.v1.engine.exceptions import EngineDeadError

    def told(part: str) -> bool:
        answer = client.get("/speech/ready")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        return part in answer.json()["error"]["message"]

    monkeypatch.setattr(speaking, "_ANSWER_SECONDS", 0.1)
    engine, service = server.engine, server.service
    with server.client() as client:
        assert client.get("/speech/ready").json() == {"status": "ready"}
        engine.asleep = True
        assert told("sleeps")
        engine.asleep, engine.answers = False, False
        assert told("has not answered")
        engine.answers, engine.dead = True, EngineDeadError()
        assert told("died")
        engine.dead = None
        server.app.state.neucodec_tts = None
        assert told("not ready")
        server.app.state.neucodec_tts = service
        service.speaker.worker.close()
        assert told("decoder has ended")


# -- the end ------------------------------------------------------------------------------------------------


class Engine:
    """The part of vLLM's engine that ends."""

    def __init__(self) -> None:
        self.ended: list[float | None] = []

    def shutdown(self, timeout: float | None = None) -> None:
        self.ended.append(timeout)


def test_the_engine_ends_after_the_speech(server):
    engine, service = Engine(), server.service
    finish_before_engine(engine, service)
    server.engine.may_go_on, server.engine.waits_at = asyncio.Event(), 50
    with server.client() as client, ThreadPoolExecutor(2) as pool:
        running = pool.submit(lambda: client.post(SPEECH, json={"input": TEXT, "response_format": "pcm"}))
        until(lambda: server.engine.asked == 1)
        ending = pool.submit(engine.shutdown, timeout=60)
        until(lambda: client.get("/speech/ready").status_code == 503)
        refused = client.post(SPEECH, json={"input": TEXT})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "going down" in refused.json()["error"]["message"]
        assert not engine.ended
        server.engine.may_go_on.set()
        assert len(pcm(running.result(60).content)) == 48_000
        ending.result(60)
    assert engine.ended == [60]


def test_a_session_ends_after_its_sentence(server):
    server.engine.may_go_on, server.engine.waits_at = asyncio.Event(), 50

    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config"}))
        await socket.send(json.dumps({"type": "input.text", "text": f"{TEXT} {TEXT} {TEXT}"}))
        await asyncio.to_thread(until, lambda: server.engine.asked == 1)
        waiting = threading.Thread(target=server.service.finish, args=(60,))
        waiting.start()
        await asyncio.to_thread(until, lambda: server.service._ending)
        server.engine.may_go_on.set()
        messages, audio = await said(socket)
        waiting.join()
        assert [len(sound) for sound in audio.values()] == [96_000]
        assert (messages[-1]["type"], messages[-1]["code"]) == ("error", 503)

    session(server, talk)


def test_speech_that_takes_too_long_is_cut_off(server, caplog):
    engine = Engine()
    finish_before_engine(engine, server.service)
    server.engine.may_go_on = asyncio.Event()
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: client.post(SPEECH, json={"input": TEXT}))
        until(lambda: server.engine.asked == 1)
        engine.shutdown(timeout=0.05)
        assert engine.ended == [0.05]
        assert "1 requests for speech did not end" in caplog.text
        assert running.result(60).status_code == 500
        until(lambda: server.service._active == 0)
        assert server.engine.closed == 1


def test_in_the_event_loop_nothing_is_waited_for(server):
    engine = Engine()
    finish_before_engine(engine, server.service)

    async def end() -> None:
        engine.shutdown(timeout=60)

    asyncio.run(end())
    assert engine.ended == [60]


# -- codes beside sound -------------------------------------------------------------------------------------


def test_codes_come_with_the_sound_they_are_of(server, stage, line):
    body = {"input": TEXT, "response_format": "pcm", "stream_format": "sse", "with_codes": True}
    with server.client() as client:
        answers = [client.post(SPEECH, json={**body, "with_codes": wanted}) for wanted in (True, False)]
    events = [json.loads(each[6:]) for each in answers[0].text.split("\n") if each.startswith("data: ")]
    assert "codes" in events[0]
    sent = b"".join(base64.b64decode(event["codes"]) for event in events if "codes" in event)
    assert np.frombuffer(sent, "<u2").tolist() == list(stage.vocabulary.to_codes(line.ids))
    assert '"codes"' not in answers[1].text


# -- what the page asks for ---------------------------------------------------------------------------------


def test_the_page_has_all_its_files_and_asks_for_nothing_elsewhere(server):
    with server.client() as client:
        html = client.get("/speech")
        policy = html.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for name in page._FILES:
            answer = client.get(f"/speech/{name}")
            assert answer.status_code == 200
            assert answer.headers["Content-Type"].startswith("text/")
            assert "://" not in answer.text
        assert "://" not in html.text
        for name in ("index.html", "..%2Fpage.py", "nothing"):
            assert client.get(f"/speech/{name}").status_code == 404


def test_a_recording_is_judged_and_not_kept(server, tmp_path):
    with server.client() as client:
        found = client.post(f"{VOICES}/check", content=DEMO.read_bytes()).json()
        assert found["seconds"] == pytest.approx(8.8, abs=0.3)
        assert found["advice"] == []
        soundfile.write(tmp_path / "silent.wav", np.zeros(32_000), 16_000)
        for content, status, told in (
            ((tmp_path / "silent.wav").read_bytes(), 400, "no speech"),
            (b"", 400, ""),
            (b"no recording", 400, ""),
            (b"\0" * 11_000_000, 413, "10,000,000"),
        ):
            answer = client.post(f"{VOICES}/check", content=content)
            assert answer.status_code == status
            assert told in answer.json()["error"]["message"]
        assert client.get(VOICES).json()["uploaded_voices"] == []


def test_a_sample_is_spoken_once_for_all_who_ask(server):
    server.engine.may_go_on = asyncio.Event()
    with server.client() as client:
        form = {"name": "dave", "ref_text": "All representatives are busy."}
        assert client.post(VOICES, files={"audio_sample": DEMO.read_bytes()}, data=form).status_code == 200
        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(client.get, f"{VOICES}/dave/sample") for _ in range(3)]
            until(lambda: server.engine.asked == 1)
            server.engine.may_go_on.set()
            answers = [each.result(60) for each in running]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert answers[0].headers["Content-Type"] == "audio/mpeg"
        assert server.engine.asked == 1
        assert client.get(f"{VOICES}/nobody/sample").status_code == 404


def test_a_sample_that_failed_is_tried_again(stage, line, tmp_path):
    server = scripted_server(stage, Line([], "stop"), voices=str(tmp_path))
    with listening(server), server.client() as client:
        server.service.voices.library.save("dave", _voice(stage))
        assert client.get(f"{VOICES}/dave/sample").status_code >= 400
        server.engine.lines = [line]
        assert client.get(f"{VOICES}/dave/sample").status_code == 200


def _voice(stage: Stage):
    from neucodec_tts import SpeakerPrompt

    return SpeakerPrompt.from_audio(stage.codec, DEMO, "All representatives are busy at the moment.")
