"""The measurements of a server."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from neucodec_tts.codec.streaming import StreamSettings
from serving.comparison import Verdict, compare

if TYPE_CHECKING:
    from serving.client import Heard
    from serving.comparison import Samples
    from serving.faults import Fault
    from serving.prefix import PrefixSharing
    from serving.throughput import Throughput

GAPLESS_SPEED = StreamSettings().growth
"""Speed, in multiples of real time, from which chunks of the default settings leave no gap."""


@dataclass(frozen=True)
class Spread:
    """Middle, 95th percentile and worst of some numbers."""

    median: float
    p95: float
    worst: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread | None:
        """None of no numbers."""
        if not numbers:
            return None
        ordered = sorted(numbers)
        return cls(
            statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], ordered[-1]
        )


@dataclass(frozen=True)
class Phase:
    """Many requests, from the client's side; times in seconds.

    Attributes:
        requests: that were sent.
        at_a_time: at most so many at once.
        seconds: from the first sent to the last heard.
        audio: seconds of speech that came.
        first_audio: from sending to the first sound.
        real_time_factor: seconds of waiting per second of speech, for each request.
        underruns: how many times all listeners together ran dry.
        silence: seconds for which they did.
        dry_listeners: how many ran dry at all.
        fast: requests whose sound came faster than it is played, after the first of it.
        dry_fast: how many of those ran dry all the same.
        promised: requests whose sound came so fast that chunks of the default settings leave no gap: `GAPLESS_SPEED`
            times as fast as it is played, or more.
        dry_promised: how many of those ran dry all the same.
        generation_speed: how many times as fast as it is played each request's sound came after the first of it, the
            median.
        lost: requests with an error, no sound, or too little.
        mixed: requests with another's sound.
        diverged: that began as alone and went on otherwise, with nothing of another's.
        different: that are neither.
        errors: the messages, with their number.
        stall: longest time that the server took to answer ``/health`` meanwhile; None if nobody asked.
        own_stall: longest time for which the client itself did not come round meanwhile.
    """

    requests: int
    at_a_time: int
    seconds: float
    audio: float
    first_audio: Spread | None
    real_time_factor: Spread | None
    underruns: int
    silence: float
    dry_listeners: int
    fast: int
    dry_fast: int
    promised: int
    dry_promised: int
    generation_speed: float | None
    lost: int
    mixed: int
    diverged: int
    different: int
    errors: dict[str, int] = field(default_factory=dict)
    stall: float | None = None
    own_stall: float | None = None

    @property
    def whole(self) -> bool:
        """True if every request was answered with its own sound."""
        return not (self.lost or self.mixed or self.different)


@dataclass(frozen=True)
class Judged:
    """One request, judged; times in seconds.

    Attributes:
        audio: seconds of speech that came.
        first_audio: from sending to the first sound; None if there was none.
        total: until the end.
        underruns: how many times its listener ran dry.
        silence: seconds for which it did.
        speed: how many times as fast as it is played its sound came after the first of it; None if all came at once.
        error: why it is not whole; None if it is.
        verdict: what it is beside the same request alone; None where it was not compared.
    """

    audio: float
    first_audio: float | None
    total: float
    underruns: int
    silence: float
    speed: float | None
    error: str | None
    verdict: Verdict | None

    @classmethod
    def of(cls, heard: Heard, own: int, references: Sequence[Samples]) -> Judged:
        """Judge what was heard.

        Args:
            heard: of one request.
            own: which of the references it should be.
            references: the sound of each request asked for alone; without any, nothing is compared.
        """
        compared = heard.error is None and len(references) > 0
        return cls(
            heard.playback.seconds,
            heard.first_audio,
            heard.total,
            heard.playback.underruns,
            heard.playback.silence,
            heard.playback.speed,
            heard.error,
            compare(heard.samples, own, references) if compared else None,
        )


def summarize(
    requests: Sequence[Judged],
    *,
    at_a_time: int,
    seconds: float,
    stall: float | None = None,
    own_stall: float | None = None,
) -> Phase:
    """Put requests together; the arguments are those of `Phase`."""
    whole = [one for one in requests if one.error is None and one.first_audio is not None]
    verdicts = Counter(one.verdict for one in requests)
    speeds = [one.speed for one in whole if one.speed is not None]

    def dry_from(speed: float) -> list[bool]:
        """True for each that ran dry, of those that came at this speed or faster."""
        return [one.underruns > 0 for one in whole if one.speed is not None and one.speed >= speed]

    return Phase(
        requests=len(requests),
        at_a_time=at_a_time,
        seconds=seconds,
        audio=sum(one.audio for one in requests),
        first_audio=Spread.of([one.first_audio for one in requests if one.first_audio is not None]),
        real_time_factor=Spread.of([one.total / one.audio for one in whole]),
        underruns=sum(one.underruns for one in requests),
        silence=sum(one.silence for one in requests),
        dry_listeners=sum(one.underruns > 0 for one in requests),
        fast=len(dry_from(1)),
        dry_fast=sum(dry_from(1)),
        promised=len(dry_from(GAPLESS_SPEED)),
        dry_promised=sum(dry_from(GAPLESS_SPEED)),
        generation_speed=statistics.median(speeds) if speeds else None,
        lost=len(requests) - len(whole) + verdicts["short"],
        mixed=verdicts["mixed"],
        diverged=verdicts["diverged"],
        different=verdicts["different"],
        errors=dict(Counter(one.error for one in requests if one.error is not None)),
        stall=stall,
        own_stall=own_stall,
    )


@dataclass(frozen=True)
class FirstSound:
    """The first sound of a request that is alone, medians, in seconds.

    Attributes:
        first_audio: from sending the request to its first sound.
        first_token: from sending the same request for tokens alone to its first token.
        chunk_tokens: to the last token that the first chunk needs.
        decode: one decode of such a chunk, by the server's own count.
    """

    first_audio: float
    first_token: float
    chunk_tokens: float
    decode: float

    @property
    def decodes(self) -> float:
        """Time on top of the tokens, in decodes of the first chunk."""
        return (self.first_audio - self.chunk_tokens) / self.decode


@dataclass(frozen=True)
class ServingReport:
    """All that was measured.

    Attributes:
        model: name on the server.
        alone: each request on its own; their sound is what the others are compared with.
        repeatable: whether a request asked for twice, alone, was the same.
        first: where the first sound's time goes; None where the server or the model does not tell.
        streams: so many at a time.
        burst: all at once; None if there was none.
        soak: for minutes; None if there was none.
        throughput: None where it could not be compared.
        lost_as_a_whole: requests for speech that is not streamed, in `throughput`'s turns, that were not answered.
        left_out: what could not be measured, and why.
        idle_stall: longest answer of ``/health`` before the load, seconds.
        server_stall: longest time for which the server's event loop has not come round since it was first asked to
            speak, by its own metrics, seconds; None where it does not tell.
        memory_before: bytes of the server; None where it does not tell.
        memory_after: bytes.
        memory: bytes every now and then during `soak`, after minutes.
        memory_by_process: bytes of each of the server's processes after the turns and in the end; empty where they are
            not known.
        faults: what came of clients that behaved as they should not; empty if there were none.
        voice: name of the voice of all requests; None if they named none.
        prefix: what prompts share, measured one by one; None where the server does not tell.
        prefix_hit_rate: share of all prompt tokens since the server's start that vLLM had computed before; None where
            it does not tell. The same texts are asked again and again here, so it is higher than elsewhere.
    """

    model: str
    alone: Phase
    repeatable: bool
    first: FirstSound | None
    streams: Phase
    burst: Phase | None
    soak: Phase | None
    throughput: Throughput | None
    lost_as_a_whole: int
    left_out: list[str]
    idle_stall: float
    server_stall: float | None
    memory_before: float | None
    memory_after: float | None
    memory: list[tuple[float, float]]
    memory_by_process: dict[str, tuple[float, float]]
    faults: list[Fault]
    voice: str | None
    prefix: PrefixSharing | None
    prefix_hit_rate: float | None

    @property
    def whole(self) -> bool:
        """True if no request was lost or mixed, and no misbehaving client did harm."""
        phases = (self.alone, self.streams, self.burst, self.soak)
        unharmed = all(fault.whole for fault in self.faults)
        return unharmed and not self.lost_as_a_whole and all(phase is None or phase.whole for phase in phases)
