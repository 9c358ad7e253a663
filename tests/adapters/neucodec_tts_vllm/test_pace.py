"""How long the first sound waits, by a model of listeners: codes come unevenly, and decoding takes its time."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed; the server uses what comes with it")

from neucodec_tts.codec.streaming import StreamSettings
from neucodec_tts_vllm.server.pace import LONGEST_HOLD_SECONDS, Pace, hold_seconds

FRAME = 0.02
SETTINGS = StreamSettings()
LISTENERS = 60


def arrivals(count: int, speed: float, chance: random.Random, start: float) -> list[float]:
    """When each code comes, in seconds: steps of uneven length, and one in twelve that computes a prompt, too."""
    now, times = start, []
    for _ in range(count):
        step = FRAME / speed / 1.25 * (4 if chance.random() < 1 / 12 else 1)
        now += step * chance.gammavariate(11, 1 / 11)
        times.append(now)
    return times


def chunks(total: int) -> list[tuple[int, int]]:
    """The first frame of each chunk, and the codes that it needs."""
    found, start = [], 0
    while start < total:
        needed = min(SETTINGS.needed(start), total)
        found.append((start, needed))
        start = total if needed == total else SETTINGS.chunk_end(start)
    return found


@dataclass
class Listener:
    """Seconds that one waited beyond the first chunk, seconds of silence, and the speed of the sound."""

    held: float
    silence: float
    speed: float


def listen(total: int, speed: float, chance: random.Random, gapless: bool) -> Listener:
    pace = Pace(50)
    before = arrivals(200, speed, chance, 0.0)  # of requests that ran before
    times = arrivals(total, speed, chance, before[-1])
    first, *others = chunks(total)
    known = first[1]
    for earlier, later in zip(before + times[:known], (before + times[:known])[1:], strict=False):
        pace.count(1, later - earlier, later)
    while gapless and known < total:
        left = LONGEST_HOLD_SECONDS - (times[known - 1] - times[first[1] - 1])
        if not 0 < hold_seconds(SETTINGS, known, total, pace.speed, 50) <= left:
            break
        pace.count(1, times[known] - times[known - 1], times[known])
        known += 1
    decoding = FRAME * chance.uniform(0.5, 2.5)
    ready = times[first[1] - 1] + decoding
    begin = max(ready, times[known - 1])
    silence = 0.0
    for start, needed in others:
        come = times[needed - 1] + FRAME * chance.uniform(0.5, 2.5)
        silence += max(0.0, come - (begin + silence + start * FRAME))
    return Listener(begin - ready, silence, (total - 5) * FRAME / (times[-1] - ready))


def audience(total: int, speed: float, gapless: bool) -> list[Listener]:
    """Those whose sound comes faster than it is played, on the whole."""
    chance = random.Random(f"{total} {speed}")
    heard = [listen(total, speed, chance, gapless) for _ in range(LISTENERS)]
    return [one for one in heard if one.speed >= 1]


def dry(heard: list[Listener]) -> float:
    return sum(one.silence > 0 for one in heard) / len(heard)


@pytest.mark.parametrize("total", [100, 200])
@pytest.mark.parametrize("speed", [1.0, 1.05, 1.1, 1.15, 1.2])
def test_who_would_run_dry_waits_and_hears_all_of_it(total: int, speed: float):
    at_once, waiting = audience(total, speed, gapless=False), audience(total, speed, gapless=True)
    assert dry(at_once) > 0.6
    assert dry(waiting) < 0.2
    assert sum(one.silence for one in waiting) < 0.1 * sum(one.silence for one in at_once)
    assert sum(one.held for one in waiting) / len(waiting) < total * FRAME / 2


@pytest.mark.parametrize("speed", [1.6, 2.0, 4.0])
def test_fast_codes_wait_for_nothing(speed: float):
    assert sum(one.held for one in audience(200, speed, gapless=True)) < LISTENERS * 0.02


def test_nobody_waits_where_waiting_does_not_help():
    assert hold_seconds(SETTINGS, 10, 500, 0.3, 50) > LONGEST_HOLD_SECONDS
    chance = random.Random(1)
    assert all(listen(500, 0.5, chance, gapless=True).held == 0 for _ in range(20))


def test_the_rate_is_that_of_late():
    pace = Pace(50)
    assert pace.speed is None
    assert hold_seconds(SETTINGS, 10, 100, pace.speed, 50) == 0
    for second in range(1, 60):
        pace.count(100, 1.0, float(second))
    assert pace.speed == pytest.approx(2)
    for second in range(60, 70):
        pace.count(50, 1.0, float(second))
    assert pace.speed == pytest.approx(1, abs=0.02)
    # Two generations at a time: each gets codes at this rate, not both together.
    for _ in range(2):
        pace.count(50, 1.0, 71.0)
    assert pace.speed == pytest.approx(1, abs=0.02)


def test_a_listener_who_plays_faster_waits_longer():
    plain = hold_seconds(SETTINGS, 10, 200, 1.3, 50)
    assert hold_seconds(SETTINGS, 10, 200, 1.3 / 1.2, 50 * 1.2) > plain > 0
