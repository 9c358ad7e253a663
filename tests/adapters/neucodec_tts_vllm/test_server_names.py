"""Clients of OpenAI's server: its names of models and voices, and fields that are null."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed; the server uses what comes with it")

from neucodec_tts.errors import EngineError
from neucodec_tts.prompts import EMOTIONS, NeuTTSFormat
from neucodec_tts.tokens import SpeechVocabulary
from neucodec_tts.voices import SpeakerPrompt, VoiceLibrary
from neucodec_tts_vllm.server.models import ModelNames
from neucodec_tts_vllm.server.settings import ServerSettings
from neucodec_tts_vllm.server.voices import OPENAI_VOICES, Voices
from tests.adapters.neucodec_tts_vllm.listening import SPEECH
from tests.adapters.neucodec_tts_vllm.scripted_server import ScriptedServer, listening, scripted_server
from tests.speech.scripted import Line, Stage
from tests.tokens.small_tokenizers import qwen_like

TEXT = "Alice was late indeed."


@pytest.fixture(scope="module")
def stage(codec) -> Stage:
    return Stage.build(codec)


@pytest.fixture(scope="module")
def line(stage: Stage) -> Line:
    return stage.line(np.random.default_rng(0).integers(0, stage.codec.codebook_size, 100))


@pytest.fixture(scope="module")
def folder(codec, tmp_path_factory):
    """A library of the voices Anna and bob."""
    folder = tmp_path_factory.mktemp("voices")
    random = np.random.default_rng(1)
    for name in ("bob", "Anna"):
        codes = random.integers(0, codec.codebook_size, 60)
        VoiceLibrary(folder).save(name, SpeakerPrompt(codes, "What they say.", "en-us", codec.codec_id, 1.2))
    return folder


def server_with_models(stage: Stage, line: Line, **settings: Any) -> ScriptedServer:
    server = scripted_server(stage, line, **settings)
    served = SimpleNamespace(
        base_model_paths=[SimpleNamespace(name="mine")],
        lora_requests={"tuned": SimpleNamespace(lora_name="tuned")},
        is_base_model=lambda name: name == "mine",
    )
    server.service.models = ModelNames(served, server.service.settings.strict_names)
    return server


def test_openai_s_names_mean_what_is_served(stage: Stage, line: Line, folder):
    with listening(server_with_models(stage, line, voices=str(folder))) as server, server.client() as client:
        for model in ("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "mine"):
            answer = client.post(SPEECH, json={"input": TEXT, "model": model, "voice": "alloy"})
            assert answer.status_code == 200, answer.text
        refused = client.post(SPEECH, json={"input": TEXT, "model": "tts-2"})
        assert refused.status_code == 404
        assert client.get("/v1/audio/models").json() == {
            "models": [{"id": "mine", "name": "mine"}, {"id": "tuned", "name": "tuned"}]
        }


def test_strict_names(stage: Stage, line: Line, folder):
    settings = {"voices": str(folder), "strict_names": True}
    with listening(server_with_models(stage, line, **settings)) as server, server.client() as client:
        for body in ({"model": "tts-1"}, {"voice": "alloy"}):
            assert client.post(SPEECH, json={"input": TEXT, **body}).status_code == 404
        assert client.post(SPEECH, json={"input": TEXT, "voice": "bob"}).status_code == 200


def test_null_is_absent(stage: Stage, line: Line):
    nothing = dict.fromkeys(("model", "voice", "speed", "seed", "temperature", "stream", "stream_format",
                             "response_format", "language", "instructions", "text_format"))  # fmt: skip
    with listening(scripted_server(stage, line)) as server, server.client() as client:
        assert client.post(SPEECH, json={"input": TEXT, **nothing}).status_code == 200
        batch = {"items": [{"input": TEXT, "voice": None, "response_format": None}], "response_format": None}
        answer = client.post(f"{SPEECH}/batch", json=batch).json()
        assert [item["status"] for item in answer["results"]] == ["success"]
        missing = client.post(SPEECH, json={"input": None})
        assert (missing.status_code, missing.json()["error"]["param"]) == (400, "input")


def meaning(folder, own: VoiceLibrary | None = None, **settings: Any) -> Any:
    worker: Any = SimpleNamespace(codec=None)
    return Voices(worker, ServerSettings(voices=str(folder), **settings), own)._meaning


def test_the_voices_of_openai_are_shared_out(folder, tmp_path):
    shared = [meaning(folder)(name) for name in OPENAI_VOICES]
    assert shared[:4] == ["Anna", "bob", "Anna", "bob"]
    assert meaning(folder)("Alloy") == "Anna"
    assert meaning(folder)("carol") == "carol"  # refused later, by its name
    assert meaning(folder)(None) is None
    assert meaning(tmp_path / "none")("alloy") is None
    assert meaning(tmp_path / "none", VoiceLibrary(folder))("ash") == "bob"


def test_a_voice_of_that_name_comes_first(codec, folder, tmp_path):
    codes = np.zeros(60, np.int64)
    VoiceLibrary(tmp_path).save("alloy", SpeakerPrompt(codes, "Its own.", "en-us", codec.codec_id, 1.2))
    assert meaning(tmp_path, VoiceLibrary(folder))("alloy") == "alloy"
    assert meaning(tmp_path, VoiceLibrary(folder))("ash") == "bob"


def test_aliases(folder):
    of = meaning(folder, voice_aliases=("alloy=bob", "Narrator = Anna"))
    assert [of(name) for name in ("alloy", "narrator", "NARRATOR", "bob")] == ["bob", "Anna", "Anna", "bob"]


@pytest.mark.parametrize("text", ["alloy", "alloy=", "=bob", "a=b=c"])
def test_aliases_that_are_none(text):
    with pytest.raises(EngineError, match=r"NEUCODEC_TTS_VOICE_ALIASES has .* it must be NAME=VOICE"):
        ServerSettings.from_environment({"NEUCODEC_TTS_VOICE_ALIASES": f"x=y,{text}"})


def test_an_alias_that_points_nowhere_is_found_at_the_start(codec, folder):
    worker: Any = SimpleNamespace(codec=codec)
    settings = ServerSettings(voices=str(folder), voice_aliases=("alloy=carol",))
    with pytest.raises(EngineError, match="the voice alias alloy=carol points nowhere"):
        asyncio.run(Voices(worker, settings).check_aliases())
    right = ServerSettings(voices=str(folder), voice_aliases=("alloy=bob",))
    asyncio.run(Voices(worker, right).check_aliases())


def test_settings_of_the_sampling_reach_the_engine(stage: Stage, line: Line):
    asked = {"temperature": 0.5, "top_k": 7, "top_p": 0.8, "min_p": 0.1, "repetition_penalty": 1.3}
    with listening(scripted_server(stage, line)) as server, server.client() as client:
        assert client.post(SPEECH, json={"input": TEXT, **asked}).status_code == 200
        [(_, params)] = server.engine.requests
        assert {name: getattr(params, name) for name in asked} == asked
        for name, value in (("min_p", 2), ("repetition_penalty", 0)):
            refused = client.post(SPEECH, json={"input": TEXT, name: value})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, name)


def test_an_emotion_reaches_the_prompt(codec, line: Line):
    tokenizer: Any = qwen_like()
    tokenizer.add_tokens([f"<|{name.upper()}|>" for name in EMOTIONS])
    vocabulary = SpeechVocabulary.extend(tokenizer, None, codebook_size=codec.codebook_size)
    emotional = Stage(codec, vocabulary, NeuTTSFormat(tokenizer, vocabulary, None))
    spoken = emotional.line(np.arange(100))
    with listening(scripted_server(emotional, spoken)) as server, server.client() as client:
        assert client.post(SPEECH, json={"input": TEXT, "emotion": "sad"}).status_code == 200
        [(ids, _)] = server.engine.requests
        assert ids == emotional.prompt_format.with_emotion("sad").prompt_ids(TEXT)
        refused = client.post(SPEECH, json={"input": TEXT, "emotion": "bored"})
        assert refused.status_code == 400
        assert "angry, disgusted" in refused.json()["error"]["message"]


def test_a_model_without_emotions_says_so(stage: Stage, line: Line):
    with listening(scripted_server(stage, line)) as server, server.client() as client:
        refused = client.post(SPEECH, json={"input": TEXT, "emotion": "sad"})
        assert refused.status_code == 400
        assert "takes no emotion" in refused.json()["error"]["message"]
