"""The same generations with sound and without, in turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serving.load import Load, LoadSettings, do_at_a_time, load_server, phase_of
from serving.throughput import ProcessorTime, Throughput, Turn

if TYPE_CHECKING:
    from serving.client import SpeechClient
    from serving.comparison import Samples
    from serving.report import Phase
    from serving.requests import SpeechCall

_FRAME_RATE = 50
TOKENS, WINDOWS, DECODES, DECODE_SECONDS = (
    "neucodec_tts:speech_tokens_total",
    "neucodec_tts:decode_batch_size_sum",
    "neucodec_tts:decode_batch_seconds_count",
    "neucodec_tts:decode_batch_seconds_sum",
)
_COUNTED = (TOKENS, WINDOWS, DECODES, DECODE_SECONDS)
_WAYS = {"silent": "without sound", "speaking": "with sound as it comes", "whole": "with sound as a whole"}


@dataclass
class Turns:
    """Measures them, one after the other, so that whatever else the machine does meets all of them.

    Attributes:
        client: talks to the server.
        settings: how many.
        calls: what is asked for.
        references: the sound of each call alone.
        processor: the server's processor time so far; None where it is not known.
        advance: told what begins.
        left_out: what could not be measured, and why.
        lost: answers as a whole that did not come.
    """

    client: SpeechClient
    settings: LoadSettings
    calls: Sequence[SpeechCall]
    references: Sequence[Samples]
    processor: Callable[[], ProcessorTime | None]
    advance: Callable[[str], None]
    left_out: list[str] = field(default_factory=list)
    lost: int = 0
    _loads: list[Load] = field(default_factory=list)
    _codec: Counter[str] = field(default_factory=Counter)

    async def measure(
        self, completions: Sequence[Sequence[dict[str, object]]] | None
    ) -> tuple[Phase, Throughput | None]:
        """Every turn; returns what was heard as it came, and what each way gave, where all of them went well.

        Args:
            completions: bodies of the same generations for ``/v1/completions``; None where they cannot be made here.
        """
        settings = self.settings
        turns: dict[str, list[Turn]] = {way: [] for way in _WAYS}
        for number in range(settings.turns):
            # The second time it goes the other way round: what is first in each is not always the same.
            for way in list(_WAYS)[:: -1 if number % 2 else 1]:
                if way == "silent" and completions is None:
                    continue
                self.advance(f"{settings.requests} requests {_WAYS[way]}, {settings.streams} at a time")
                turn = await self._turn(way, completions or ())
                if turn is not None:
                    turns[way].append(turn)
        streams = phase_of(settings.streams, self._loads)
        if streams.lost or any(len(done) < settings.turns for done in turns.values()):
            return streams, None
        batches = self._codec[DECODES]
        return streams, Throughput(
            turns["speaking"],
            turns["silent"],
            turns["whole"],
            codec_share=self._codec[DECODE_SECONDS] / streams.seconds if batches else None,
            windows=self._codec[WINDOWS] / batches if batches else None,
        )

    async def _turn(self, way: str, completions: Sequence[Sequence[dict[str, object]]]) -> Turn | None:
        run = {
            "silent": lambda: self._silent(completions),
            "speaking": self._speaking,
            "whole": self._whole,
        }[way]
        before = self.processor()
        done = await run()
        after = self.processor()
        if done is None:
            return None
        tokens, seconds = done
        used = after - before if after is not None and before is not None else None
        return Turn(tokens / seconds, None if used is None else used / tokens)

    async def _speaking(self) -> tuple[float, float] | None:
        """Tokens and seconds of speech that is streamed."""
        settings = self.settings
        before = await self.client.metrics()
        load = await load_server(
            self.client, self.calls, self.references, settings.streams, range(settings.requests)
        )
        after = await self.client.metrics()
        self._loads.append(load)
        counted = {name: after[name] - before.get(name, 0) for name in _COUNTED if name in after}
        self._codec.update(counted)
        tokens = counted.get(TOKENS, load.audio * _FRAME_RATE)
        return (tokens, load.seconds) if tokens else None

    async def _whole(self) -> tuple[float, float] | None:
        """Tokens and seconds of speech that is sent when all of it is there."""

        async def one(index: int) -> tuple[float, str | None]:
            heard = await self.client.speak(self.calls[index % len(self.calls)].body, stream=False)
            self.lost += heard.error is not None
            return heard.playback.seconds * _FRAME_RATE, heard.error

        return await self._all("sound as a whole", one)

    async def _silent(self, completions: Sequence[Sequence[dict[str, object]]]) -> tuple[float, float] | None:
        """Tokens and seconds of the same generations alone."""

        async def one(index: int) -> tuple[float, str | None]:
            total, error = 0, None
            for body in completions[index % len(completions)]:
                done = await self.client.complete(body)
                total += done.tokens
                error = error or done.error
            return total, error

        return await self._all("tokens without sound", one)

    async def _all(
        self, what: str, one: Callable[[int], Awaitable[tuple[float, str | None]]]
    ) -> tuple[float, float] | None:
        """Tokens and seconds of all requests; None, with the reason noted, if one failed."""
        total = 0.0
        errors = set()

        async def count(index: int) -> None:
            nonlocal total
            tokens, error = await one(index)
            total += tokens
            if error:
                errors.add(error)

        works: Iterator[Awaitable[None]] = (count(index) for index in range(self.settings.requests))
        start = self.client.clock()
        await do_at_a_time(self.settings.streams, works)
        seconds = self.client.clock() - start
        if errors or not total:
            self.left_out.append(f"{what}: {'; '.join(sorted(errors)) or 'there was nothing'}")
            return None
        return total, seconds
