"""Many requests at a time, and what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neucodec_tts.errors import EngineError
from serving.client import Heard, SpeechClient, StallMeter
from serving.report import Judged, Phase, summarize

if TYPE_CHECKING:
    from serving.comparison import Samples
    from serving.requests import SpeechCall

MOST_REQUESTS = 10_000
"""At most so many at once: more is no measurement."""


@dataclass(frozen=True)
class LoadSettings:
    """The amounts of each kind of load.

    Attributes:
        streams: requests at a time.
        requests: of each turn in which there are so many at a time.
        turns: with sound and without.
        burst: requests all at once; 0 for none.
        distinct: requests that differ; each is asked for alone first.
        minutes: of steady load at the end; 0 for none.
        longest: most frames of each; None leaves it to the model.
        voice: that requests name.
        seed: of the first request.
        faults: whether there are clients in the end that behave as they should not.
        first_chunk: frames of the first chunk of each, as ``initial_codec_chunk_frames``; None leaves it to the server.
        gapless: whether the first sound waits where codes come slowly.

    Raises:
        EngineError: a number is out of range.
    """

    streams: int = 8
    requests: int = 16
    turns: int = 2
    burst: int = 32
    distinct: int = 8
    minutes: float = 0.0
    longest: int | None = None
    voice: str | None = None
    seed: int = 0
    faults: bool = False
    first_chunk: int | None = None
    gapless: bool = True

    def __post_init__(self) -> None:
        for name, least in (("streams", 1), ("requests", 1), ("turns", 1), ("burst", 0), ("distinct", 1)):
            value = getattr(self, name)
            if not least <= value <= MOST_REQUESTS:
                raise EngineError(f"{name} is {value}; it must be {least} to {MOST_REQUESTS}")
        if not 0 <= self.minutes <= 24 * 60:
            raise EngineError(f"minutes is {self.minutes}; it must be 0 to {24 * 60}")


@dataclass(frozen=True)
class Load:
    """The answers to many requests; times in seconds, as in `Phase`."""

    requests: list[Judged]
    seconds: float
    stall: float
    own_stall: float

    @property
    def audio(self) -> float:
        """Seconds of speech that came."""
        return sum(one.audio for one in self.requests)


async def load_server(
    client: SpeechClient,
    calls: Sequence[SpeechCall],
    references: Sequence[Samples],
    at_a_time: int,
    numbers: Sequence[int],
) -> Load:
    """Ask for speech many times, and compare it.

    Args:
        client: talks to the server.
        calls: what is asked for.
        references: the sound of each call alone.
        at_a_time: at most so many at once.
        numbers: of calls, counted round and round.
    """
    heard: list[tuple[int, Heard]] = []

    async def one(number: int) -> None:
        index = number % len(calls)
        heard.append((index, await client.speak(calls[index].body)))

    start = client.clock()
    async with StallMeter(client) as meter:
        await do_at_a_time(at_a_time, (one(number) for number in numbers))
        seconds = client.clock() - start
    judged = await asyncio.to_thread(lambda: [Judged.of(sound, index, references) for index, sound in heard])
    return Load(judged, seconds, meter.worst, meter.own)


def phase_of(at_a_time: int, loads: Sequence[Load]) -> Phase:
    """Put several loads together."""
    worst = max(loads, key=lambda load: load.stall)
    return summarize(
        [one for load in loads for one in load.requests],
        at_a_time=at_a_time,
        seconds=sum(load.seconds for load in loads),
        stall=worst.stall,
        own_stall=worst.own_stall,
    )


async def do_at_a_time(most: int, works: Iterator[Awaitable[None]]) -> None:
    """Do works, at most so many at a time; the next begins as soon as one has ended."""

    async def worker() -> None:
        for work in works:
            await work

    tasks = [asyncio.create_task(worker()) for _ in range(most)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
