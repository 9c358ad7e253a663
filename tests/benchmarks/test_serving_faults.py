"""Clients as they should not be: what is found of a careful server, and of one that is not."""

from __future__ import annotations

import asyncio
import json

import pytest

import serve
from serving import faults
from serving.client import SpeechClient
from serving.requests import make_calls
from tests.benchmarks.scripts import invoke
from tests.benchmarks.speech_server import refusal

CALL = make_calls(1, model="noise")[0]
LEAVERS = ["hang up within the request", "hang up before any answer", "hang up amid the sound"]


def measured(server, count: int = 2):
    async def run():
        async with SpeechClient(server.url) as client:
            reference = (await client.speak(CALL.body)).samples
            return await faults.measure_faults(client, CALL, reference, count=count)

    return {fault.name: fault for fault in asyncio.run(run())}


@pytest.fixture
def long_winded(server, monkeypatch):
    """Who hangs up amid a sound finds some left to miss, and nobody waits for slow listeners for long."""
    monkeypatch.setattr(faults, "_SLOW_SECONDS", 0.1)
    monkeypatch.setattr(faults, "_SETTLED_SECONDS", 5.0)
    monkeypatch.setattr(faults, "_hour", lambda: b"fLaC")
    right = server.speech
    server.answer = lambda body, before: (
        iter([b"\1\2" * 50_000] * 300) if body["input"] == faults._LONG else right(body, before)
    )
    return server


def test_a_careful_server_takes_no_harm(long_winded):
    found = measured(long_winded)
    assert [fault.name for fault in found.values() if not fault.whole] == []
    for name in LEAVERS:
        assert found[name].answers == {"none": 2}
        assert found[name].worst is None
    assert found["listen to nothing, others meanwhile"].answers == {"200": 1, "none": 2}
    assert found["bodies of 64 MB, texts of 1 MB"].answers == {"400": 1, "413": 2}
    assert found["names that are paths"].answers == {"400": 10, "404": 1}
    flood = found["2,560 texts at once, 64 a request"]
    assert (flood.requests, flood.answers) == (40, {"200": 40})
    assert len(faults.describe(list(found.values()))) == 1 + len(found)


def test_what_ought_to_be_refused_and_is_not_is_wrong(long_winded):
    long_winded.refuse = lambda path, data: None
    found = measured(long_winded)
    for name, wrong in {
        "bodies and values that are none": 15,
        "names that are paths": 10,
        "recordings from files and private addresses": 5,
        "bodies of 64 MB, texts of 1 MB": 3,
    }.items():
        assert found[name].wrong == wrong, name
        assert not found[name].whole
    assert all(found[name].whole for name in LEAVERS)


def test_a_refusal_that_gives_no_reason_is_wrong(long_winded):
    def refuse(path, data):
        refused = refusal(path, data)
        return refused and (refused[0], {"detail": "no"})

    long_winded.refuse = refuse
    assert measured(long_winded)["recordings that are none"].wrong == 6


def test_a_server_that_does_not_come_to_rest_or_is_not_what_it_was(long_winded, monkeypatch):
    monkeypatch.setattr(faults, "_SETTLED_SECONDS", 0.05)
    answer = long_winded.answer

    def harmed(body, before):
        if body["input"] == faults._LONG:
            long_winded.active = 1000
        elif long_winded.active > 500:
            return iter([b"\0\0" * 480])
        return answer(body, before)

    long_winded.answer = harmed
    fault = measured(long_winded)["hang up amid the sound"]
    assert (fault.settled, fault.served, fault.whole) == (None, False, False)
    assert "never" in faults.describe([fault])[1]
    assert "not as before" in faults.describe([fault])[1]


ARGUMENTS = ["--distinct", "2", "--streams", "2", "--turns", "1", "--burst", "0", "--faults"]


def test_the_command_prints_them(long_winded, described):
    long_winded.root = str(described)
    result = invoke(serve.main, long_winded.url, *ARGUMENTS)
    assert result.exit_code == 0, result.output
    assert "clients that should not be" in result.output
    assert result.output.count("as before") == 11


def test_the_command_fails_where_harm_was_done(long_winded, described):
    long_winded.refuse = lambda path, data: None
    long_winded.root = str(described)
    result = invoke(serve.main, long_winded.url, *ARGUMENTS, "--json", "--quiet")
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    assert not found["whole"]
    assert [fault["wrong"] > 0 for fault in found["faults"]] == 4 * [False] + 6 * [True] + [False]
