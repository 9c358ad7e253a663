"""``benchmarks/serve.py`` and ``benchmarks/first_sound.py`` against a real vLLM server that speaks."""

from __future__ import annotations

import json

import pytest

import first_sound
import serve
from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.speech.loading import load_tokenizer
from neucodec_tts_vllm.constraint import SpeechConstraint
from serving.requests import CompletionMaker, make_calls
from tests.adapters.neucodec_tts_vllm.server_process import KEY
from tests.benchmarks.scripts import invoke

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_the_same_constraint_as_the_servers_own(speaking_model):
    call = make_calls(1, model="m", longest=30)[0]
    (body,) = CompletionMaker(str(speaking_model)).of(call)
    constraint = SpeechConstraint.from_extra_args(body["vllm_xargs"])
    assert constraint is not None
    config = SpeechConfig.from_pretrained(str(speaking_model))
    tokenizer = load_tokenizer(str(speaking_model))
    vocabulary = config.vocabulary(tokenizer)
    assert (constraint.tokens.first, constraint.tokens.end) == vocabulary.id_range
    assert constraint.tokens.stop_ids == tuple(config.make_format(tokenizer, vocabulary).stop_ids)
    assert constraint.to_extra_args() == body["vllm_xargs"]
    assert body["max_tokens"] == 30


def test_a_real_server_is_measured(server, speaking_model, monkeypatch):
    """Nothing is lost or mixed, and speech and vLLM's own route generate the same number of tokens."""
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    arguments = [server.url, "--model", str(speaking_model), "--streams", "4"]
    arguments += ["--distinct", "4", "--turns", "1", "--burst", "12", "--json", "--quiet"]
    arguments += ["--faults", "--voice", "resident"]  # one that the model brings
    result = invoke(serve.main, *arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["whole"]
    assert found["left_out"] == []
    assert found["burst"]["requests"] == 12
    assert found["first"]["chunk_tokens"] > found["first"]["first_token"] > 0
    # New texts share the transcript of the voice and no more, less than a block here; the same text shares its blocks.
    assert found["prefix"]["new_texts"] <= found["prefix"]["in_common"] < 0.9
    assert found["prefix"]["same_texts"] > found["prefix"]["new_texts"]
    assert [fault["name"] for fault in found["faults"] if fault["settled"] == 0] == [], "no metrics were read"
    for way in ("silent", "speaking", "whole"):
        assert [turn["rate"] > 0 for turn in found["throughput"][way]] == [True]


def test_the_first_sound_through_other_peoples_clients(server):
    result = invoke(first_sound.main, server.url, "--repeats", "2", "--api-key", KEY, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [row["client"] for row in rows] == ["own client", "OpenAI SDK"]
    for row in rows:
        assert 0 < row["first_sound"] < row["last_sound"]
        assert row["times_own"] == pytest.approx(row["first_sound"] / rows[0]["first_sound"])
