"""The client that measures a server: what it hears of one request, against a small real server over HTTP."""

from __future__ import annotations

import asyncio
import socket
import threading

import numpy as np
import pytest

from neucodec_tts.errors import EngineError
from serving.client import SpeechClient, StallMeter, parse_metrics
from serving.comparison import compare
from serving.playback import Playback
from serving.report import Judged, summarize
from tests.benchmarks.speech_server import FRAME, RATE

CALL = {"input": "Hello.", "seed": 3}


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


@pytest.mark.parametrize(
    ("arrivals", "speed"),
    [
        ([], None),
        ([(5.0, 1.0)], None),
        ([(5.0, 1.0), (6.0, 1.0), (7.0, 2.0)], 1.5),  # what came first had its time before
        ([(5.0, 1.0), (5.0, 1.0)], 1e9),  # at once
    ],
)
def test_how_fast_sound_came(arrivals, speed):
    playback = Playback()
    for now, seconds in arrivals:
        playback.push(now, seconds)
    assert playback.speed == (None if speed is None else pytest.approx(speed))


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
b NaN
"""
    found = parse_metrics(text)
    assert found.pop("b") != 0
    assert found == {"a_sum": 1002.5, "a_count": 4.0}
