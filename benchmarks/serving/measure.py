"""The measurement of a running server: alone, many at a time, all at once, and for as long as is wanted."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from itertools import count, islice
from typing import TYPE_CHECKING

from neucodec_tts.codec.streaming import StreamSettings
from neucodec_tts.errors import EngineError, NeuCodecError
from serving.client import Completed, Heard, SpeechClient
from serving.faults import measure_faults
from serving.load import Load, LoadSettings, load_server, phase_of
from serving.prefix import HITS, QUERIES, measure_prefix
from serving.report import FirstSound, Judged, Phase, ServingReport, summarize
from serving.requests import CompletionMaker, SpeechCall, make_calls
from serving.turns import DECODE_SECONDS, DECODES, Turns

if TYPE_CHECKING:
    from serving.comparison import Samples
    from serving.throughput import ProcessorTime

_PROBES = 9


async def measure_serving(
    client: SpeechClient,
    settings: LoadSettings | None = None,
    *,
    model: str | None = None,
    memory: Callable[[], float | None] = lambda: None,
    processes: Callable[[], dict[str, float]] = dict,
    processor: Callable[[], ProcessorTime | None] = lambda: None,
    advance: Callable[[str], None] = lambda what: None,
) -> ServingReport:
    """Load a server, and say what its clients see.

    Args:
        client: talks to it.
        settings: how much.
        model: folder or hub id of what it serves, for the same prompts without sound; by default what it says itself.
        memory: the server's memory in bytes, where its metrics do not tell.
        processes: memory in bytes of each of the server's processes, by name.
        processor: the server's processor time so far; None where it is not known.
        advance: told what begins.

    Raises:
        EngineError: no server answers, or it does not speak.
    """
    return await _Measurement(client, settings or LoadSettings(), memory, processes, processor, advance).run(
        model
    )


class _Measurement:
    def __init__(
        self,
        client: SpeechClient,
        settings: LoadSettings,
        memory: Callable[[], float | None],
        processes: Callable[[], dict[str, float]],
        processor: Callable[[], ProcessorTime | None],
        advance: Callable[[str], None],
    ) -> None:
        self._client = client
        self._settings = settings
        self._memory = memory
        self._processes = processes
        self._processor = processor
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
            settings.distinct,
            model=name,
            voice=settings.voice,
            longest=settings.longest,
            seed=settings.seed,
            first_chunk=settings.first_chunk,
            gapless=settings.gapless,
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
        turns = Turns(self._client, settings, self._calls, self._references, self._processor, self._advance)
        streams, throughput = await turns.measure(completions)
        self._left_out += turns.left_out
        burst = soak = None
        samples: list[tuple[float, float]] = []
        rested = self._processes()
        if settings.burst:
            self._advance(f"{settings.burst} requests at once")
            burst = phase_of(settings.burst, [await self._load(settings.burst, range(settings.burst))])
        if settings.minutes:
            self._advance(f"{settings.minutes:g} minutes of load")
            soak = await self._soak(samples)
        faults = []
        if settings.faults:
            faults = await measure_faults(
                self._client, self._calls[0], self._references[0], advance=self._advance
            )
        after = await self._resident()
        loaded = self._processes()
        return ServingReport(
            model=name,
            alone=alone,
            repeatable=repeatable,
            first=first,
            streams=streams,
            burst=burst,
            soak=soak,
            throughput=throughput,
            lost_as_a_whole=turns.lost,
            left_out=self._left_out,
            idle_stall=idle,
            server_stall=(await self._client.metrics()).get("neucodec_tts:event_loop_worst_stall_seconds"),
            memory_before=before,
            memory_after=after,
            memory=samples,
            memory_by_process={name: (size, loaded[name]) for name, size in rested.items() if name in loaded},
            faults=faults,
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
        needed = (self._settings.first_chunk or defaults.first_chunk) + defaults.lookahead
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
            decodes += after.get(DECODES, 0) - before.get(DECODES, 0)
            seconds += after.get(DECODE_SECONDS, 0) - before.get(DECODE_SECONDS, 0)
        arrivals = [one.arrivals for one in tokens if len(one.arrivals) >= needed]
        if not arrivals or not decodes:
            errors = {one.error for one in tokens if one.error}
            reason = "; ".join(sorted(errors)) or f"the server's metrics have no {DECODES}"
            self._left_out.append(f"the first sound's parts: {reason}")
            return None
        return FirstSound(
            first_audio=statistics.median(sounds),
            first_token=statistics.median(times[0] for times in arrivals),
            chunk_tokens=statistics.median(times[needed - 1] for times in arrivals),
            decode=seconds / decodes,
        )

    async def _load(self, at_a_time: int, numbers: Sequence[int]) -> Load:
        return await load_server(self._client, self._calls, self._references, at_a_time, numbers)

    async def _soak(self, samples: list[tuple[float, float]]) -> Phase:
        """Steady load for minutes, in pieces, so that no sound need be kept for longer."""
        start = self._client.clock()
        loads: list[Load] = []
        numbers = count()
        while not loads or self._client.clock() < start + 60 * self._settings.minutes:
            loads.append(
                await self._load(self._settings.streams, list(islice(numbers, 4 * self._settings.streams)))
            )
            resident = await self._resident()
            if resident is not None:
                samples.append(((self._client.clock() - start) / 60, resident))
        return phase_of(self._settings.streams, loads)

    async def _resident(self) -> float | None:
        found = (await self._client.metrics()).get("process_resident_memory_bytes")
        own = self._memory()
        return found if own is None else own

    async def _hit_rate(self) -> float | None:
        metrics = await self._client.metrics()
        asked = metrics.get(QUERIES, 0)
        return metrics.get(HITS, 0) / asked if asked else None
