"""What the tests of the vLLM plugin share: a small model, and the environment that vLLM needs on this machine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from neucodec_tts import NeuCodec, SpeakerPrompt
from tests.adapters.neucodec_tts_vllm.listening import TRANSCRIPT, VOICES
from tests.adapters.neucodec_tts_vllm.speaking_model import save_adapter, save_speaking_model

ASSETS = Path(__file__).resolve().parents[3] / "neucodec_tts" / "assets"

# Read by vLLM's processes when they start.
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


@pytest.fixture(scope="session")
def codec() -> NeuCodec:
    return NeuCodec.from_pretrained("tiny")


@pytest.fixture(scope="session")
def speaking_model(tmp_path_factory, codec):
    """The folder of a small random language model that speaks through `tiny`."""
    pytest.importorskip("vllm", reason="vLLM is not installed (make install brings its CPU build)")
    return save_speaking_model(tmp_path_factory.mktemp("model"), codec)


@pytest.fixture(scope="session")
def llm(speaking_model, request):
    if any("server" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("starting_server")  # it starts meanwhile

    from neucodec_tts_vllm import SpeechLLM

    # Prompts are computed in pieces where a step has no room for them: with seeds that ends a CPU's engine, so
    # prompts with seeds are short here. (The default on a CPU is not to, which the server's tests cover.)
    llm = SpeechLLM.from_pretrained(
        speaking_model,
        watermark=False,
        enforce_eager=True,
        kv_cache_memory_bytes=2304
        * 512,  # little more than one context: requests must make room for each other
        disable_log_stats=False,
        enable_chunked_prefill=True,
        max_num_batched_tokens=2048,
    )
    yield llm
    llm.close()


@pytest.fixture(scope="session")
def voice(codec) -> SpeakerPrompt:
    whole = SpeakerPrompt.from_audio(codec, ASSETS / "demo.flac", text="All representatives are busy.")
    return replace(whole, codes=whole.codes[:60], duration=1.2)


@pytest.fixture(scope="session")
def adapter(speaking_model, tmp_path_factory):
    """The folder of a small random LoRA adapter of the model."""
    return save_adapter(speaking_model, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    from tests.adapters.neucodec_tts_vllm.reference_host import make_certificate

    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def starting_server(speaking_model, adapter, certificate, tmp_path_factory):
    from tests.adapters.neucodec_tts_vllm.server_process import starting_server

    with starting_server(speaking_model, adapter, certificate, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def server(starting_server):
    """A real server; one for the whole session, because it takes a minute or two to start."""
    from tests.adapters.neucodec_tts_vllm.server_process import wait_until_healthy

    wait_until_healthy(starting_server)
    return starting_server


@pytest.fixture(scope="session")
def client(server):
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def official(server):
    from tests.adapters.neucodec_tts_vllm.server_process import KEY

    openai = pytest.importorskip("openai", reason="the client of OpenAI comes with vLLM")
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)


@pytest.fixture(scope="session")
def dave(client):
    """A voice on the server, from the recording that comes with the package."""
    answer = client.post(
        VOICES,
        files={"audio_sample": ("demo.flac", (ASSETS / "demo.flac").read_bytes(), "audio/flac")},
        data={"name": "dave", "ref_text": TRANSCRIPT, "consent": "given"},
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["voice"]
