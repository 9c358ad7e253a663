"""The measurement of a running server: alone, many at a time, all at once, and for as long as is wanted."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING

from neucodec_tts.codec.streaming import StreamSettings
from neucodec_tts.errors import EngineError, NeuCodecError
from neucodec_tts.evaluate.serving.client import Completed, Heard, SpeechClient, StallMeter
from neucodec_tts.evaluate.serving.prefix import HITS, QUERIES, measure_prefix
from neucodec_tts.evaluate.serving.report import (
    FirstSound,
    Judged,
    Phase,
    ServingReport,
    Throughput,
    summarize,
)
from neucodec_tts.evaluate.serving.requests import CompletionMaker, SpeechCall, make_calls

if TYPE_CHECKING:
    from neucodec_tts.evaluate.serving.comparison import Samples

MOST_REQUESTS = 10_000
"""At most so many at once: more is no measurement."""
_FRAME_RATE = 50
_PROBES = 9
_TOKENS, _WINDOWS, _DECODES, _DECODE_SECONDS = (
    "neucodec_tts:speech_tokens_total",
    "neucodec_tts:decode_batch_size_sum",
    "neucodec_tts:decode_batch_seconds_count",
    "neucodec_tts:decode_batch_seconds_sum",
)
_COUNTED = (_TOKENS, _WINDOWS, _DECODES, _DECODE_SECONDS)


@dataclass(frozen=True)
class LoadSettings:
    """How much of what.

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

    def __post_init__(self) -> None:
        for name, least in (("streams", 1), ("requests", 1), ("turns", 1), ("burst", 0), ("distinct", 1)):
            value = getattr(self, name)
            if not least <= value <= MOST_REQUESTS:
                raise EngineError(f"{name} is {value}; it must be {least} to {MOST_REQUESTS}")
        if not 0 <= self.minutes <= 24 * 60:
            raise EngineError(f"minutes is {self.minutes}; it must be 0 to {24 * 60}")


async def measure_serving(
    client: SpeechClient,
    settings: LoadSettings | None = None,
    *,
    model: str | None = None,
    memory: Callable[[], float | None] = lambda: None,
    advance: Callable[[str], None] = lambda what: None,
) -> ServingReport:
    """Load a server, and say what its clients see.

    Args:
        client: talks to it.
        settings: how much.
        model: folder or hub id of what it serves, for the same prompts without sound; by default what it says itself.
        memory: the server's memory in bytes, where its metrics do not tell.
        advance: told what begins.

    Raises:
        EngineError: no server answers, or it does not speak.
    """
    return await _Measurement(client, settings or LoadSettings(), memory, advance).run(model)


class _Measurement:
    def __init__(
        self,
        client: SpeechClient,
        settings: LoadSettings,
        memory: Callable[[], float | None],
        advance: Callable[[str], None],
    ) -> None:
        self._client = client
        self._settings = settings
        self._memory = memory
        self._advance = advance
        self._left_out: list[str] = []
        self._references: list[Samples] = []
        self._calls: list[SpeechCall] = []
        self._prompt_of: Callable[[SpeechCall], Sequence[int]] | None = None

    async def run(self, model: str | None) -> ServingReport:
        settings = self._settings
        served = (await self._client.models())[0]
        name = str(served["id"])
        self._calls = make_calls(
            settings.distinct, model=name, voice=settings.voice, longest=settings.longest, seed=settings.seed
        )
        self._advance("a request alone")
        await self._must_speak(self._calls[0])  # warms up
        idle = max([await self._client.ping() for _ in range(20)])
        before = await self._resident()
        alone = await self._alone()
        again = await self._client.speak(self._calls[0].body)
        repeatable = again.error is None and again.samples.tobytes() == self._references[0].tobytes()
        completions = self._completions(model or str(served.get("root") or name))
        first = None if completions is None else await self._first_sound(completions)
        self._advance("prompts in a voice that is known")
        prefix = await measure_prefix(self._client, self._calls[0], self._prompt_of)
        streams, throughput = await self._turns(completions)
        burst = soak = None
        samples: list[tuple[float, float]] = []
        if settings.burst:
            self._advance(f"{settings.burst} requests at once")
            burst = _phase(settings.burst, [await self._load(settings.burst, range(settings.burst))])
        if settings.minutes:
            self._advance(f"{settings.minutes:g} minutes of load")
            soak = await self._soak(samples)
        after = await self._resident()
        return ServingReport(
            model=name,
            alone=alone,
            repeatable=repeatable,
            first=first,
            streams=streams,
            burst=burst,
            soak=soak,
            throughput=throughput,
            left_out=self._left_out,
            idle_stall=idle,
            server_stall=(await self._client.metrics()).get("neucodec_tts:event_loop_worst_stall_seconds"),
            memory_before=before,
            memory_after=after,
            memory=samples,
            voice=settings.voice,
            prefix=prefix,
            prefix_hit_rate=await self._hit_rate(),
        )

    async def _must_speak(self, call: SpeechCall) -> Heard:
        heard = await self._client.speak(call.body)
        if heard.error is not None:
            raise EngineError(f"the server at {self._client.url} does not speak: {heard.error}")
        return heard

    async def _alone(self) -> Phase:
        self._advance(f"{len(self._calls)} requests one by one")
        start = self._client.clock()
        heard = [await self._must_speak(call) for call in self._calls]
        seconds = self._client.clock() - start
        self._references = [one.samples for one in heard]
        return summarize([Judged.of(one, 0, ()) for one in heard], at_a_time=1, seconds=seconds)

    def _completions(self, model: str) -> list[list[dict[str, object]]] | None:
        """The generations of each request; None where they cannot be made here."""
        try:
            maker = CompletionMaker(model, self._settings.voice)
            self._prompt_of = lambda call: maker.of(call)[0]["prompt"]
            return [maker.of(call) for call in self._calls]
        except NeuCodecError as error:
            self._left_out.append(f"tokens without sound, and the first sound's parts: {error}")
            return None

    async def _first_sound(self, completions: Sequence[Sequence[dict[str, object]]]) -> FirstSound | None:
        """The first sound of a request alone, and its parts, in turns, so that all meet the same machine."""
        self._advance("the first sound")
        defaults = StreamSettings()
        needed = defaults.first_chunk + defaults.lookahead
        # Tokens are sent some at a time, and the last that the first chunk needs is the last of some.
        interval = max(divisor for divisor in range(1, 6) if (needed - 1) % divisor == 0)
        sounds: list[float] = []
        tokens: list[Completed] = []
        decodes = seconds = 0.0
        for turn in range(_PROBES):
            index = turn % len(self._calls)
            call, body = self._calls[index], completions[index][0]
            tokens.append(await self._client.complete({**body, "stream_interval": interval}, stream=True))
            sounds.append((await self._must_speak(call)).first_audio or 0.0)
            before = await self._client.metrics()
            await self._must_speak(
                SpeechCall(call.text, call.seed, {**call.options, "max_new_tokens": needed})
            )
            after = await self._client.metrics()
            decodes += after.get(_DECODES, 0) - before.get(_DECODES, 0)
            seconds += after.get(_DECODE_SECONDS, 0) - before.get(_DECODE_SECONDS, 0)
        arrivals = [one.arrivals for one in tokens if len(one.arrivals) >= needed]
        if not arrivals or not decodes:
            errors = {one.error for one in tokens if one.error}
            reason = "; ".join(sorted(errors)) or f"the server's metrics have no {_DECODES}"
            self._left_out.append(f"the first sound's parts: {reason}")
            return None
        return FirstSound(
            first_audio=statistics.median(sounds),
            first_token=statistics.median(times[0] for times in arrivals),
            chunk_tokens=statistics.median(times[needed - 1] for times in arrivals),
            decode=seconds / decodes,
        )

    async def _turns(
        self, completions: list[list[dict[str, object]]] | None
    ) -> tuple[Phase, Throughput | None]:
        """The same requests with sound and without, in turns, so that whatever else the machine does meets both."""
        settings = self._settings
        loads: list[_Load] = []
        speaking: list[float] = []
        silent: list[float] = []
        codec: Counter[str] = Counter()
        for turn in range(settings.turns):
            # The second turn goes the other way round: what is first in each is not always the same.
            for sound in (True, False) if turn % 2 else (False, True):
                if not sound and completions is None:
                    continue
                way = "with" if sound else "without"
                self._advance(f"{settings.requests} requests {way} sound, {settings.streams} at a time")
                if sound:
                    before = await self._client.metrics()
                    load = await self._load(settings.streams, range(settings.requests))
                    after = await self._client.metrics()
                    loads.append(load)
                    counted = {name: after[name] - before.get(name, 0) for name in _COUNTED if name in after}
                    speaking.append(counted.get(_TOKENS, load.audio * _FRAME_RATE) / load.seconds)
                    codec.update(counted)
                elif completions is not None:
                    rate = await self._silent(completions)
                    if rate is None:
                        completions = None
                    else:
                        silent.append(rate)
        streams = _phase(settings.streams, loads)
        comparable = completions is not None and bool(silent) and streams.lost == 0
        if not comparable:
            return streams, None
        batches = codec[_DECODES]
        return streams, Throughput(
            speaking,
            silent,
            codec_share=codec[_DECODE_SECONDS] / streams.seconds if batches else None,
            windows=codec[_WINDOWS] / batches if batches else None,
        )

    async def _silent(self, completions: Sequence[Sequence[dict[str, object]]]) -> float | None:
        """Tokens a second of the same generations alone; None, with the reason noted, if one failed."""
        total, errors = 0, set()

        async def one(index: int) -> None:
            nonlocal total
            for body in completions[index % len(completions)]:
                done = await self._client.complete(body)
                total += done.tokens
                if done.error:
                    errors.add(done.error)

        start = self._client.clock()
        await _at_a_time(self._settings.streams, (one(index) for index in range(self._settings.requests)))
        seconds = self._client.clock() - start
        if errors or not total:
            self._left_out.append(f"tokens without sound: {'; '.join(sorted(errors)) or 'there were none'}")
            return None
        return total / seconds

    async def _load(self, at_a_time: int, numbers: Sequence[int]) -> _Load:
        heard: list[tuple[int, Heard]] = []

        async def one(number: int) -> None:
            index = number % len(self._calls)
            heard.append((index, await self._client.speak(self._calls[index].body)))

        start = self._client.clock()
        async with StallMeter(self._client) as meter:
            await _at_a_time(at_a_time, (one(number) for number in numbers))
            seconds = self._client.clock() - start
        judged = await asyncio.to_thread(
            lambda: [Judged.of(sound, index, self._references) for index, sound in heard]
        )
        return _Load(judged, seconds, meter.worst, meter.own)

    async def _soak(self, samples: list[tuple[float, float]]) -> Phase:
        """Steady load for minutes, in pieces, so that no sound need be kept for longer."""
        start = self._client.clock()
        loads: list[_Load] = []
        numbers = count()
        while not loads or self._client.clock() < start + 60 * self._settings.minutes:
            loads.append(
                await self._load(self._settings.streams, list(islice(numbers, 4 * self._settings.streams)))
            )
            resident = await self._resident()
            if resident is not None:
                samples.append(((self._client.clock() - start) / 60, resident))
        return _phase(self._settings.streams, loads)

    async def _resident(self) -> float | None:
        found = (await self._client.metrics()).get("process_resident_memory_bytes")
        own = self._memory()
        return found if own is None else own

    async def _hit_rate(self) -> float | None:
        metrics = await self._client.metrics()
        asked = metrics.get(QUERIES, 0)
        return metrics.get(HITS, 0) / asked if asked else None


@dataclass(frozen=True)
class _Load:
    requests: list[Judged]
    seconds: float
    stall: float
    own_stall: float

    @property
    def audio(self) -> float:
        return sum(one.audio for one in self.requests)


def _phase(at_a_time: int, loads: Sequence[_Load]) -> Phase:
    worst = max(loads, key=lambda load: load.stall)
    return summarize(
        [one for load in loads for one in load.requests],
        at_a_time=at_a_time,
        seconds=sum(load.seconds for load in loads),
        stall=worst.stall,
        own_stall=worst.own_stall,
    )


async def _at_a_time(most: int, works: Iterator[Awaitable[None]]) -> None:
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
