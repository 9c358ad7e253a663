"""The voices of a real server: kept, sent along, and refused."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import zipfile

import numpy as np
import psutil
import pytest
import soundfile
from transformers import PreTrainedTokenizerFast

from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.voices import VoiceLibrary
from tests.adapters.neucodec_tts_vllm.conftest import ASSETS
from tests.adapters.neucodec_tts_vllm.listening import (
    SPEECH,
    TRANSCRIPT,
    VOICES,
    alike,
    pcm,
)
from tests.adapters.neucodec_tts_vllm.reference_host import reference_host

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_voices_are_kept_listed_used_and_deleted(client, server, dave):
    assert dave["name"] == "dave"
    listed = client.get(VOICES).json()
    assert [voice["id"] for voice in listed["voices"]] == ["dave", "resident"]
    assert TRANSCRIPT not in json.dumps(listed)
    assert (server.voices / "dave.safetensors").is_file()
    body = {"input": "In this voice.", "seed": 3, "response_format": "pcm", "stream": False}
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
    assert client.get(f"/v1/vllm-omni{VOICES}").json()["voices"] == ["dave", "resident"]


def test_what_could_be_better_about_a_recording_is_told(client):
    noise = 0.1 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, noise, 16_000, format="WAV")
    sample = base64.b64encode(file.getvalue()).decode()
    body = {"input": "In this voice.", "ref_audio": f"data:audio/wav;base64,{sample}", "ref_text": TRANSCRIPT}
    for _ in range(2):  # the second time the voice is known
        answer = client.post(SPEECH, json={**body, "max_new_tokens": 20})
        assert answer.status_code == 200
        assert "only 2.0 s of speech" in answer.headers["x-warnings"]


def test_a_voice_that_comes_with_the_model_speaks_and_stays(client, llm):
    body = {
        "input": "In its own voice.",
        "voice": "resident",
        "seed": 3,
        "response_format": "pcm",
        "stream": False,
    }
    assert alike(
        pcm(client.post(SPEECH, json=body).content), llm.tts.speak(body["input"], "resident", seed=3).samples
    )
    assert client.delete(f"{VOICES}/resident").status_code == 409


def test_what_prompts_of_one_voice_share_is_computed_once(client, server, speaking_model):
    """To the last whole block: the transcript for a new text, nearly everything for the same text again."""
    told = "The recording says this, word for word, and it goes on for a while. " * 12
    sample = (ASSETS / "demo.flac").read_bytes()
    form = {"name": "talker", "ref_text": told}
    assert client.post(VOICES, files={"audio_sample": sample}, data=form).status_code == 200
    voice = VoiceLibrary(server.voices).load("talker")
    block = server.block_size
    body = {"voice": "talker", "response_format": "pcm", "max_new_tokens": 3}

    def hits(text: str, seed: int) -> float:
        before = server.metric("vllm:prefix_cache_hits_total")
        assert client.post(SPEECH, json={**body, "input": text, "seed": seed}).status_code == 200
        return server.metric("vllm:prefix_cache_hits_total") - before

    texts = ["Once upon a time.", "Quite another text.", "Yet another one, which is longer than those."]
    config = SpeechConfig.from_pretrained(str(speaking_model))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(speaking_model)
    prompt_format = config.make_format(tokenizer, config.vocabulary(tokenizer))
    prompts = [prompt_format.prompt_ids(text, voice) for text in texts]
    hits(texts[0], 1)
    for text, prompt in zip(texts[1:], prompts[1:], strict=True):
        pairs = zip(prompts[0], prompt, strict=False)
        common = next(index for index, (one, other) in enumerate(pairs) if one != other)
        assert common // block >= 2
        assert hits(text, 2) == common // block * block
        assert hits(text, 3) == (len(prompt) - 1) // block * block
    client.delete(f"{VOICES}/talker")


def silence(seconds: int) -> bytes:
    """FLAC of nothing: an hour of it is small."""
    memory = io.BytesIO()
    with soundfile.SoundFile(memory, "w", 8_000, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(seconds):
            file.write(np.zeros(8_000, np.int16))
    return memory.getvalue()


def wav(samples: np.ndarray, rate: int = 16_000) -> bytes:
    memory = io.BytesIO()
    soundfile.write(memory, samples, rate, format="WAV", subtype="FLOAT")
    return memory.getvalue()


def zipped(size: int) -> bytes:
    """A recording of zeros in an archive, a thousandth of its size."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("voice.wav", bytes(size))
    return memory.getvalue()


PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"", 400, "empty"),
        (b"this is no audio" * 100, 400, "not a recording"),
        (b"#EXTM3U\nhttp://127.0.0.1:1/secret.wav\n", 400, "not a recording"),
        (silence(3600), 400, "longer than 30 s"),
        (zipped(50_000_000), 400, "not a recording"),
        (gzip.compress(bytes(50_000_000)), 400, "not a recording"),
        (PICTURE, 400, "not a recording"),
        (wav(np.full(16_000, np.nan, np.float32)), 400, "nan"),
        (wav(np.full(16_000, -np.inf, np.float32)), 400, "inf"),
        (wav(np.zeros(0, np.float32)), 400, ""),
        (wav(np.zeros(16_000, np.float32)), 400, ""),
        (wav(np.zeros((4, 300), np.float32)), 400, "300 channels"),
        (wav(np.zeros(16_000, np.float32), 2_000_000), 400, "2000000 hz"),
        (bytes(2_030_000), 413, "larger than"),
        (bytes(9_000_000), 413, "takes"),
    ],
    ids=[
        "empty",
        "noise",
        "playlist",
        "an hour",
        "zip bomb",
        "gzip bomb",
        "picture",
        "not numbers",
        "infinity",
        "no samples",
        "silence",
        "channels",
        "rate",
        "large",
        "huge",
    ],
)
def test_uploads_that_are_no_voice_are_refused(client, data, status, said):
    answer = client.post(VOICES, files={"audio_sample": data}, data={"name": "bad", "ref_text": TRANSCRIPT})
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]["message"].lower()
    assert "bad" not in client.get(VOICES).text


def test_headers_that_promise_more_than_there_is(client, server):
    """What a header claims costs nothing: neither memory for 4 GB, nor a decoder for what is compressed in transit."""
    resident = psutil.Process(server.process.pid).memory_info
    client.post(VOICES, files={"audio_sample": b"x"}, data={"name": "bad", "ref_text": TRANSCRIPT})
    before = resident().rss
    lying = bytearray(wav(np.zeros(16_000, np.float32)))
    lying[4:8] = lying[lying.index(b"data") + 4 : lying.index(b"data") + 8] = struct.pack("<I", 0xFFFFFFF0)
    flac = bytearray(silence(1))  # in its first block, 36 bits for the number of samples: 68,719,476,735
    flac[21] |= 0x0F
    flac[22:26] = b"\xff" * 4
    for data in (lying, flac):
        form = {"name": "bad", "ref_text": TRANSCRIPT}
        answer = client.post(VOICES, files={"audio_sample": bytes(data)}, data=form)
        assert answer.status_code == 400, answer.text
    body = gzip.compress(json.dumps({"input": "a" * 50_000_000}).encode())
    answer = client.post(SPEECH, content=body, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]
    assert resident().rss - before < 50e6


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "..", "con", "x" * 65, " a", "a\n", "\x00"])
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


@pytest.fixture(scope="module")
def host(certificate):
    with reference_host(certificate, (ASSETS / "demo.flac").read_bytes()) as host:
        yield host


def test_a_reference_is_fetched_from_a_host_that_is_allowed(client, host, dave):
    """By a URL with an address that the owner has named; the voice is that of the same recording uploaded."""
    body = {"input": "In a voice from elsewhere.", "seed": 2, "response_format": "pcm"}
    reference = {"ref_audio": host.url("/voice.flac?of=dave"), "ref_text": TRANSCRIPT}
    fetched = client.post(SPEECH, json={**body, **reference})
    assert fetched.status_code == 200, fetched.text
    assert host.asked == ["/voice.flac?of=dave"]
    assert fetched.content == client.post(SPEECH, json={**body, "voice": "dave"}).content


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/moved", "answered 302; redirects are not followed"),
        ("/nothing", "answered 404"),
        ("/page", "not a recording"),
        ("/endless", "larger than the 2,000,000 bytes"),
    ],
)
def test_what_an_allowed_host_may_not_send(client, host, path, said):
    before = len(host.asked)
    body = {"input": "Hello.", "ref_audio": host.url(path), "ref_text": TRANSCRIPT}
    answer = client.post(SPEECH, json=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert host.asked[before:] == [path]


def test_a_name_does_not_lead_to_a_private_address(client, host):
    """The same host under a name that is allowed as well: names are somebody else's to point."""
    before = len(host.asked)
    url = host.url("/voice.flac?of=dave", host="localhost")
    answer = client.post(SPEECH, json={"input": "Hello.", "ref_audio": url, "ref_text": TRANSCRIPT})
    assert answer.status_code == 400
    assert "private address" in answer.json()["error"]["message"]
    assert len(host.asked) == before
