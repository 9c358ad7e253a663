"""The client that measures a server: what it counts, against a small real server over HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from neucodec_tts import SpeechVocabulary, TextToSpeech
from neucodec_tts.cli.app import app
from neucodec_tts.errors import EngineError
from neucodec_tts.evaluate.serving.client import SpeechClient, StallMeter, parse_metrics
from neucodec_tts.evaluate.serving.comparison import compare
from neucodec_tts.evaluate.serving.measure import LoadSettings, measure_serving
from neucodec_tts.evaluate.serving.own_server import (
    BABBLE_FRAMES,
    own_server,
    resident_bytes,
    save_babbling_model,
)
from neucodec_tts.evaluate.serving.playback import Playback
from neucodec_tts.evaluate.serving.report import Judged, Spread, Throughput, summarize
from neucodec_tts.evaluate.serving.requests import make_calls
from neucodec_tts.prompts import SpeechConfig
from tests.evaluate.speech_server import FRAME, RATE, running
from tests.tokens.small_tokenizers import qwen_like

CALL = {"input": "Hello.", "seed": 3}


@pytest.fixture
def server():
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A model's folder without its weights: what is needed to make prompts."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = qwen_like()
    vocabulary = SpeechVocabulary.extend(tokenizer, codebook_size=64, format="neutts")
    vocabulary.save_tokenizer(tokenizer, folder, "vocab")
    SpeechConfig("neutts-text", codec="tiny", codebook_size=64, sampling={"min_frames": 20}).save(folder)
    return folder


def asked(server, body=None, **options):
    """What a client hears of one request."""

    async def ask():
        async with SpeechClient(server.url, timeout=60, **options) as client:
            return await client.speak(body or CALL)

    return asyncio.run(ask())


# A listener at real time


@pytest.mark.parametrize(
    ("arrivals", "underruns", "silence"),
    [
        ([], 0, 0.0),
        ([(5.0, 1.0)], 0, 0.0),
        ([(5.0, 1.0), (6.0, 1.0), (6.5, 1.0)], 0, 0.0),  # just in time
        ([(5.0, 1.0), (6.25, 1.0)], 1, 0.25),
        ([(5.0, 1.0), (7.0, 1.0), (8.0, 1.0)], 1, 1.0),  # after a gap it plays on later
        ([(5.0, 1.0), (7.0, 1.0), (9.5, 1.0)], 2, 2.5),
        ([(0.0, 0.0), (5.0, 1.0), (6.0, 0.0), (6.0, 1.0)], 0, 0.0),  # no sound is no news
        ([(5.0, 0.5), (5.0, 0.5), (6.0, 0.5)], 0, 0.0),
    ],
)
def test_a_listener_runs_dry_when_sound_comes_too_late(arrivals, underruns, silence):
    playback = Playback()
    for now, seconds in arrivals:
        playback.push(now, seconds)
    assert (playback.underruns, playback.silence) == (underruns, silence)
    assert playback.seconds == sum(seconds for _, seconds in arrivals)


# Comparison

NOISE = np.random.default_rng(0)
OWN, OTHER, THIRD = (NOISE.integers(-9000, 9000, 20 * FRAME).astype(np.int16) for _ in range(3))


def test_a_stream_is_compared_with_its_own_and_all_others():
    references = [OTHER, OWN, THIRD]

    def verdict(heard):
        return compare(np.asarray(heard, np.int16), 1, references)

    rounding = NOISE.integers(-1, 2, len(OWN)).astype(np.int16)
    fresh = NOISE.integers(-9000, 9000, 10 * FRAME).astype(np.int16)
    assert verdict(OWN) == "equal"
    assert verdict(OWN + rounding) == "equal"
    assert verdict(OWN[:-FRAME]) == "short"
    assert verdict(OTHER) == "mixed"
    assert verdict(np.concatenate([OWN[: 8 * FRAME], THIRD[8 * FRAME :]])) == "mixed"
    # another's chunk in the midst, from elsewhere in its own sound
    assert (
        verdict(np.concatenate([OWN[: 4 * FRAME], OTHER[313 : 313 + 4 * FRAME], OWN[8 * FRAME :]])) == "mixed"
    )
    assert verdict(np.concatenate([OWN[: 10 * FRAME], fresh])) == "diverged"
    assert verdict(np.concatenate([OWN, fresh])) == "diverged"
    assert verdict(np.concatenate([fresh, fresh])) == "different"
    assert verdict(OWN[FRAME:]) == "different"
    assert verdict([]) == "different"


def test_silence_that_all_have_is_nobodys():
    silence = np.zeros(4 * FRAME, np.int16)
    own, other = np.concatenate([OWN, silence]), np.concatenate([OTHER, silence])
    fresh = NOISE.integers(-9000, 9000, 5 * FRAME).astype(np.int16)
    heard = np.concatenate([OWN[: 10 * FRAME], silence, fresh])
    assert compare(heard, 0, [own, other]) == "diverged"
    assert compare(heard, 0, [OWN, other]) == "diverged"


# One request


def test_the_sound_comes_whole_whatever_its_parts(server):
    heard = asked(server)
    assert heard.error is None
    assert heard.sample_rate == RATE
    assert np.array_equal(heard.samples, server.sound("Hello.", 3))
    assert heard.playback.seconds == pytest.approx(20 / 50)
    assert heard.first_audio is not None
    assert heard.first_audio <= heard.total
    path, body = server.bodies[0]
    assert path == "/v1/audio/speech"
    assert body == {**CALL, "response_format": "pcm", "stream": True, "stream_format": "audio"}


def test_underruns_by_the_clock_of_the_listener(server):
    """The server holds each part back until the listener's clock has been set."""
    now = 100.0
    go_on = threading.Event()
    waits = iter([0.0, 0.3, 0.9])  # parts of 0.4 s: in time, 0.1 s early, 0.4 s late

    def answer(body, before):
        for start in range(3):
            yield server.sound("", start).tobytes()
            assert go_on.wait(60)
            go_on.clear()

    def heard(seconds):
        nonlocal now
        now += next(waits, 0.0)
        go_on.set()

    server.answer = answer

    async def ask():
        async with SpeechClient(server.url, clock=lambda: now) as client:
            return await client.speak(CALL, heard)

    waits = iter([0.3, 0.9, 0.0])
    result = asyncio.run(ask())
    # played 100.0 to 100.4; the second came at 100.3 and lasts until 100.8; the third at 101.2
    assert result.first_audio == 0.0
    assert result.playback.underruns == 1
    assert result.playback.silence == pytest.approx(0.4)
    assert result.error is None


def cut_off(server):
    yield server.sound("Hello.", 3).tobytes()[:5000]
    raise ConnectionAbortedError


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda server: (429, "too many\n of you"), "status 429: too many of you"),
        (cut_off, "RemoteProtocolError"),
        (lambda server: iter([]), "holds no sound"),
        (lambda server: iter([b"abc"]), "ends within a sample"),
    ],
)
def test_what_is_not_whole_is_said(server, answer, message):
    server.answer = lambda body, before: answer(server)
    heard = asked(server)
    assert message in heard.error
    judged = Judged.of(heard, 0, [server.sound("Hello.", 3)])
    phase = summarize([judged], at_a_time=1, seconds=1.0)
    assert phase.lost == 1
    assert not phase.whole
    assert phase.errors == {heard.error: 1}


def test_a_server_that_is_not_there():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"  # bound, and nobody listens

        async def ask():
            async with SpeechClient(url, timeout=60) as client:
                heard = await client.speak(CALL)
                assert await client.metrics() == {}
                await client.models()
                return heard

        with pytest.raises(EngineError, match=r"no server answers at .*neucodec-tts serve"):
            asyncio.run(ask())


def test_tokens_and_when_they_came(server):
    async def ask(**options):
        async with SpeechClient(server.url) as client:
            return await client.complete({"prompt": [1]}, **options)

    assert asyncio.run(ask()).tokens == 20
    streamed = asyncio.run(ask(stream=True))
    assert streamed.tokens == len(streamed.arrivals) == 20
    assert streamed.arrivals == sorted(streamed.arrivals)


def test_the_key_is_sent(server):
    server.key = "secret"
    assert "status 401: Unauthorized" in asked(server).error
    assert asked(server, api_key="secret").error is None


def test_a_stalled_server_is_noticed(server):
    """The server answers when the client's clock says that an hour has gone by."""
    now = 0.0
    held, go_on = threading.Event(), threading.Event()

    def health():
        held.set()
        assert go_on.wait(60)

    server.health = health

    async def watch():
        nonlocal now
        async with SpeechClient(server.url, clock=lambda: now) as client, StallMeter(client, 0.001) as meter:
            await asyncio.to_thread(held.wait, 60)
            now = 3600.0
            go_on.set()
            while not meter.answers:
                await asyncio.sleep(0.001)
        async with SpeechClient(server.url, clock=lambda: now) as client, StallMeter(client) as other:
            while not other.answers:
                await asyncio.sleep(0.001)
        return meter, other

    meter, other = asyncio.run(watch())
    assert meter.worst == 3600.0
    assert other.worst == 0.0


def test_metrics_are_summed_over_their_labels():
    text = """# HELP a b
# TYPE a histogram
a_bucket{le="1",x="{"} 3
a_sum{x="1"} 2.5
a_sum{x="2} 9"} 1e3
a_count 4 1700000000
broken
b NaN
"""
    found = parse_metrics(text)
    assert found.pop("b") != 0
    assert found == {"a_sum": 1002.5, "a_count": 4.0}


def test_spread():
    assert Spread.of([]) is None
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 3.0, 3.0)
    assert Spread.of(list(range(100))) == Spread(49.5, 95, 99)


def test_what_sound_costs_is_taken_turn_by_turn():
    assert Throughput([50.0, 300.0, 8.0], [100.0, 400.0, 10.0]).loss == pytest.approx(0.25)


def test_requests_differ():
    calls = make_calls(200, model="m")
    assert len({call.text for call in calls}) == 200
    assert len({call.seed for call in calls}) == 200


# Whole measurements


def measured(server, settings, **options):
    async def run():
        async with SpeechClient(server.url, timeout=60) as client:
            return await measure_serving(client, settings, **options)

    return asyncio.run(run())


SMALL = LoadSettings(streams=3, requests=6, turns=2, burst=9, distinct=3)


def test_a_server_without_faults(server, described):
    server.root = str(described)
    begun: list[str] = []
    report = measured(server, SMALL, advance=begun.append)
    assert report.whole
    assert report.repeatable
    assert (report.alone.requests, report.streams.requests, report.burst.requests) == (3, 12, 9)
    assert report.alone.at_a_time == 1
    assert report.soak is None
    assert report.streams.diverged == report.burst.diverged == 0
    assert report.streams.audio == pytest.approx(12 * 0.4)
    assert report.first.decode == pytest.approx(0.005)
    assert len(report.throughput.speaking) == len(report.throughput.silent) == 2
    assert report.throughput.windows == 3.0
    assert report.throughput.codec_share > 0
    assert report.server_stall == 0.25
    assert report.left_out == []
    assert report.memory_before == report.memory_after == 1e8
    with_sound = [body for path, body in server.bodies if path.endswith("speech")]
    without = [body for path, body in server.bodies if path.endswith("completions")]
    assert len([body for body in without if not body["stream"]]) == 12
    assert len(with_sound) == 1 + 3 + 1 + 2 * 9 + 12 + 9
    # In the second turn the order is the other way round.
    ways = [what.split()[2] for what in begun if "at a time" in what]
    assert ways == ["without", "with", "with", "without"]


def test_steady_load_is_kept_up_and_memory_watched(server):
    server.root = "/nowhere/at/all"
    sizes = iter(range(100, 10_000))
    settings = replace(SMALL, turns=1, burst=0, minutes=1e-6)
    report = measured(server, settings, memory=lambda: float(next(sizes)))
    assert report.soak.requests == 12
    assert report.burst is None
    assert len(report.memory) == 1
    before, after = report.memory_before, report.memory_after
    assert before is not None
    assert after is not None
    assert before < report.memory[0][1] < after
    assert report.throughput is None
    assert "/nowhere/at/all" in report.left_out[0]


@pytest.mark.parametrize("fault", ["mixed", "lost", "short", "different"])
def test_each_fault_is_found_by_the_command(server, fault, monkeypatch):
    """The third time that seed 1 is asked for, something goes wrong."""
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    right = server.speech

    def answer(body, before):
        if body["seed"] != 1 or before != 2:
            return right(body, before)
        first = make_calls(2, model="noise")[0]
        return {
            "mixed": lambda: iter([server.sound(first.text, 0).tobytes()]),
            "lost": lambda: (500, "out of sorts"),
            "short": lambda: iter([server.sound(body["input"], 1).tobytes()[:-960]]),
            "different": lambda: iter([server.sound("something else", 1).tobytes()]),
        }[fault]()

    server.answer = answer
    server.root = "/nowhere/at/all"
    arguments = [
        "bench",
        "serve",
        server.url,
        "--distinct",
        "2",
        "--streams",
        "2",
        "--turns",
        "1",
        "--burst",
        "4",
    ]
    result = CliRunner().invoke(app, [*arguments, "--json", "--quiet"])
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    counts = {name: found["streams"][name] + found["burst"][name] for name in ("lost", "mixed", "different")}
    expected = {"lost": 0, "mixed": 0, "different": 0, ("lost" if fault == "short" else fault): 1}
    assert counts == expected
    assert found["whole"] is False
    if fault == "lost":
        assert found["streams"]["errors"] == {"status 500: out of sorts": 1}


def test_the_command_tells_people(server, described, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    server.key = "secret"
    server.root = str(described)
    arguments = ["bench", "serve", server.url + "/v1", "--distinct", "2", "--streams", "2", "--burst", "4"]
    result = CliRunner().invoke(app, [*arguments, "--minutes", "0.00001"])
    assert result.exit_code == 0, result.output
    for words in (
        "2 at a time",
        "all at once",
        "for minutes",
        "sound costs",
        "/health took",
        "MiB",
        "one decode",
    ):
        assert words in result.output


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://192.0.2.7:8000", "192.0.2.7 is not this machine"),
        ("speech.example:8000", "speech.example is not this machine"),
        ("http://", "no address of a server"),
        ("ftp://127.0.0.1", "no address of a server"),
        ("http://[::1", "no address of a server"),
        ("http://127.0.0.1:99999", "no address of a server"),
    ],
)
def test_only_a_server_of_ones_own_is_loaded(url, message):
    result = CliRunner().invoke(app, ["bench", "serve", url])
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_a_server_that_refuses_is_quoted(server):
    server.answer = lambda body, before: (400, "this model speaks in riddles")
    result = CliRunner().invoke(app, ["bench", "serve", server.url, "--quiet"])
    assert result.exit_code == 1
    assert "does not speak: status 400: this model speaks in riddles" in result.output


def test_without_httpx_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    result = CliRunner().invoke(app, ["bench", "serve"])
    assert result.exit_code == 1
    assert "pip install 'neucodec-tts[bench]'" in result.output


@pytest.mark.parametrize(
    "numbers", [{"streams": 0}, {"burst": -1}, {"distinct": 10_001}, {"minutes": float("nan")}]
)
def test_loads_that_are_none(numbers):
    with pytest.raises(EngineError, match="it must be"):
        LoadSettings(**numbers)


def test_a_server_that_does_not_start_says_why(tmp_path):
    with (
        pytest.raises(EngineError, match="ended before it had started"),
        own_server(str(tmp_path / "nothing")),
    ):
        pytest.fail("it cannot have started")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_memory_of_a_process():
    import os

    assert (resident_bytes(os.getpid()) or 0) > 2**20
    assert resident_bytes(2**30) is None


def test_the_model_for_want_of_another_babbles_as_long_as_it_is_told(tmp_path):
    save_babbling_model(tmp_path)
    spoken = TextToSpeech.from_pretrained(str(tmp_path)).speak("Whatever you say.", seed=1, retries=0)
    assert spoken.speech_tokens == BABBLE_FRAMES
