"""The voices of a real server: kept, sent along, and refused."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import soundfile

from tests.adapters.neucodec_tts_vllm.conftest import ASSETS
from tests.adapters.neucodec_tts_vllm.listening import (
    SPEECH,
    TRANSCRIPT,
    VOICES,
    alike,
    pcm,
)

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


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
