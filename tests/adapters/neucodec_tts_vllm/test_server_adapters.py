"""LoRA adapters of a real server: a request that names one is spoken by it."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from dataclasses import replace

import httpx
import pytest

from tests.adapters.neucodec_tts_vllm.listening import SPEECH, pcm, said, session
from tests.adapters.neucodec_tts_vllm.server_process import (
    ADAPTER,
    DAMAGED_ADAPTER,
    FOUND_ADAPTER,
    MODEL,
)

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

BODY = {"input": "Whoever says this.", "seed": 4, "response_format": "pcm", "stream": False}


@pytest.fixture(scope="module")
def merged(speaking_model, adapter, codec, tmp_path_factory):
    """What the adapter makes of the model, by peft and without vLLM: the same pipeline on transformers."""
    from peft import PeftModel
    from transformers import Qwen2ForCausalLM

    from neucodec_tts import TextToSpeech

    folder = tmp_path_factory.mktemp("merged") / "model"
    shutil.copytree(speaking_model, folder)
    whole = PeftModel.from_pretrained(Qwen2ForCausalLM.from_pretrained(speaking_model), str(adapter))
    whole.merge_and_unload().save_pretrained(folder)
    return TextToSpeech.from_pretrained(folder, codec=codec)


def codes(client, model: str, **changes) -> list[list[int]]:
    answer = client.post(SPEECH, json={**BODY, "model": model, "response_format": "codes", **changes})
    assert answer.status_code == 200, answer.text
    return answer.json()["codes"]


def test_it_is_listed_beside_the_model(client):
    served = client.get("/v1/models").json()["data"]
    assert [model["id"] for model in served] == [MODEL, ADAPTER]


def test_the_likeliest_codes_are_those_of_the_merged_model(client, merged, llm):
    """Greedily, so that nothing but the weights decides; the adapter changes what is said."""

    def spoken(tts) -> list[list[int]]:
        greedy = replace(tts.sampling, temperature=0.0)
        return [segment.codes.tolist() for segment in tts.speak(BODY["input"], sampling=greedy).segments]

    by_adapter = codes(client, ADAPTER, temperature=0)
    assert by_adapter == spoken(merged)
    assert codes(client, MODEL, temperature=0) == spoken(llm.tts) != by_adapter


def test_both_speak_side_by_side_and_each_as_alone(server, client):
    """Adapter and model share batches, the logits processor and the codec, and keep their prefixes apart."""
    alone = {model: codes(client, model) for model in (MODEL, ADAPTER)}
    assert alone[MODEL] != alone[ADAPTER]

    async def all_of_them() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=server.url, headers=server.headers, timeout=120) as many:
            wanted = {**BODY, "response_format": "codes"}
            return await asyncio.gather(
                *(
                    many.post(SPEECH, json={**wanted, "model": (MODEL, ADAPTER)[number % 2]})
                    for number in range(16)
                )
            )

    for number, answer in enumerate(asyncio.run(all_of_them())):
        assert answer.json()["codes"] == alone[(MODEL, ADAPTER)[number % 2]]


def test_every_route_takes_it(server, client):
    whole = client.post(SPEECH, json={**BODY, "model": ADAPTER}).content
    plain = client.post(SPEECH, json=BODY).content
    assert whole != plain
    streamed = client.post(SPEECH, json={**BODY, "model": ADAPTER, "stream": True}).content
    assert len(streamed) == len(whole)
    batch = {"items": [{**BODY, "model": ADAPTER}, {**BODY, "model": MODEL}, {**BODY, "model": "third"}]}
    results = client.post(f"{SPEECH}/batch", json=batch).json()["results"]
    assert [base64.b64decode(result["audio_data"]) for result in results[:2]] == [whole, plain]
    assert "not served" in results[2]["error"]

    async def talk(socket) -> None:
        await socket.send(json.dumps({"type": "session.config", "seed": 4, "model": ADAPTER}))
        await socket.send(json.dumps({"type": "input.text", "text": BODY["input"]}))
        await socket.send(json.dumps({"type": "input.done"}))
        _, audio = await said(socket)
        assert pcm(audio[0]).tolist() == pcm(streamed).tolist()

    session(server, talk)


def test_a_resolver_finds_those_that_were_not_named_at_the_start(client):
    """vLLM's own, which looks into a folder; what it finds is served under its name from then on."""
    assert codes(client, FOUND_ADAPTER) == codes(client, ADAPTER)
    served = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert served == [MODEL, ADAPTER, FOUND_ADAPTER]


def test_a_damaged_one_is_refused_and_the_rest_goes_on(client):
    answer = client.post(SPEECH, json={**BODY, "model": DAMAGED_ADAPTER})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"the adapter {DAMAGED_ADAPTER!r} cannot be loaded"
    assert codes(client, ADAPTER) != codes(client, MODEL)
