"""``neucodec-tts serve`` with nothing else said: the model and the voices that come with the package, over HTTP."""

from __future__ import annotations

import io

import httpx
import pytest
import soundfile

from tests.adapters.neucodec_tts_vllm.listening import RATE, SPEECH, VOICES
from tests.adapters.neucodec_tts_vllm.server_process import serving, wait_until_healthy

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

TEXT = "They are all gone."


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    pytest.importorskip("vllm", reason="vLLM is not installed (make install brings its CPU build)")
    with serving([], [], {}, tmp_path_factory.mktemp("shipped")) as server:
        wait_until_healthy(server)
        yield server.url


def test_it_brings_four_voices(url):
    assert {"emma", "george", "heart", "michael"} <= {
        voice["id"] for voice in httpx.get(url + VOICES).json()["voices"]
    }
    assert [each["id"] for each in httpx.get(url + "/v1/models").json()["data"]] == ["tiny"]


@pytest.mark.parametrize("voice", ["emma", "george", "heart", "michael"])
def test_the_openai_client_speaks_in_them(url, voice):
    openai = pytest.importorskip("openai", reason="the client of OpenAI comes with vLLM")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    answer = client.audio.speech.with_raw_response.create(
        model="tiny", voice=voice, input=TEXT, response_format="wav", extra_body={"seed": 1, "stream": False}
    )
    samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    assert rate == RATE
    assert answer.headers["x-cut-short"] == "0"
    assert 0.04 < len(samples) / rate / len(TEXT) < 0.12  # seconds a letter, as people speak
    assert abs(samples).max() > 0.05


def test_what_is_streamed_is_what_is_sent_whole(url):
    body = {"input": TEXT, "voice": "heart", "response_format": "pcm", "seed": 1}
    whole = httpx.post(url + SPEECH, json={**body, "stream": False}, timeout=120)
    streamed = httpx.post(url + SPEECH, json={**body, "stream": True}, timeout=120)
    assert whole.status_code == streamed.status_code == 200
    assert len(whole.content) == len(streamed.content) > RATE
