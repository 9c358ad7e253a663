"""The cost of sound beside the language model's tokens alone, by the clock and in processor time."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_FRAME_RATE = 50


@dataclass(frozen=True)
class ProcessorTime:
    """Processor time in seconds.

    Attributes:
        total: of the server and all that it has started.
        front: of its first process alone, which answers clients and decodes; vLLM's engine is another.
    """

    total: float
    front: float

    def __sub__(self, other: ProcessorTime) -> ProcessorTime:
        return ProcessorTime(self.total - other.total, self.front - other.front)

    def __truediv__(self, tokens: float) -> ProcessorTime:
        return ProcessorTime(self.total / tokens, self.front / tokens)


@dataclass(frozen=True)
class Turn:
    """Many requests of one way.

    Attributes:
        rate: tokens a second.
        processor: seconds for each token; None where it is not known.
    """

    rate: float
    processor: ProcessorTime | None = None


@dataclass(frozen=True)
class Throughput:
    """The same generations with sound and without, in turns.

    The ways of a turn stand beside each other, so that a machine that is busier in some turns changes little.

    Attributes:
        speaking: turns through ``/v1/audio/speech``, streamed.
        silent: through vLLM's own ``/v1/completions``.
        whole: through ``/v1/audio/speech``, answered when all of it is there.
        codec_share: share of the speaking time for which the codec computed; None where the server does not tell.
        windows: that the codec decoded at a time, on average; None where the server does not tell.
    """

    speaking: list[Turn]
    silent: list[Turn]
    whole: list[Turn] = field(default_factory=list)
    codec_share: float | None = None
    windows: float | None = None

    @property
    def loss(self) -> float:
        """Share of vLLM's own tokens a second that streamed speech costs, the median of the turns."""
        return _loss(self.silent, self.speaking, lambda turn: turn.rate)

    @property
    def whole_loss(self) -> float | None:
        """The same of speech that is not streamed."""
        return _loss(self.silent, self.whole, lambda turn: turn.rate) if self.whole else None

    @property
    def processor_loss(self) -> float | None:
        """Share of the tokens that streamed speech costs where only processor time counts, the median of the turns."""
        return self._processor_loss(self.speaking)

    @property
    def processor_loss_whole(self) -> float | None:
        """The same of speech that is not streamed."""
        return self._processor_loss(self.whole)

    @property
    def model_streams(self) -> float | None:
        """Streams in real time for which one core would do the language model's work."""
        return _streams([turn.processor.total for turn in self.silent if turn.processor is not None])

    @property
    def speech_streams(self) -> float | None:
        """Streams in real time for which one core would do what streaming their sound adds: codec, routes, sending."""
        return _streams(
            [
                sound.processor.front - none.processor.front
                for sound, none in zip(self.speaking, self.silent, strict=True)
                if sound.processor is not None and none.processor is not None
            ]
        )

    def _processor_loss(self, turns: Sequence[Turn]) -> float | None:
        if not turns or any(turn.processor is None for turn in (*turns, *self.silent)):
            return None
        return _loss(self.silent, turns, lambda turn: 1 / turn.processor.total if turn.processor else 0.0)


def _loss(silent: Sequence[Turn], sound: Sequence[Turn], of: Callable[[Turn], float]) -> float:
    return 1 - statistics.median(of(some) / of(none) for some, none in zip(sound, silent, strict=True))


def _streams(seconds: Sequence[float]) -> float | None:
    middle = statistics.median(seconds) if seconds else 0.0
    return 1 / (_FRAME_RATE * middle) if middle > 0 else None


def describe(throughput: Throughput) -> list[str]:
    """Say it in lines."""
    ways = {
        "without sound": throughput.silent,
        "streamed": throughput.speaking,
        "not streamed": throughput.whole,
    }
    rates = "; ".join(
        f"{way} {', '.join(f'{turn.rate:.0f}' for turn in turns)}" for way, turns in ways.items() if turns
    )
    lines = [f"tokens a second, by turns: {rates}"]
    costs = f"sound costs {100 * throughput.loss:.1f} % of them streamed"
    if throughput.whole_loss is not None:
        costs += f", {100 * throughput.whole_loss:.1f} % otherwise"
    if throughput.processor_loss is not None and throughput.processor_loss_whole is not None:
        costs += (
            f"; by processor time {100 * throughput.processor_loss:.1f} % and "
            f"{100 * throughput.processor_loss_whole:.1f} %"
        )
        spent = "; ".join(
            f"{way} {_microseconds(turns, 'total')} ({_microseconds(turns, 'front')} of it in the front process)"
            for way, turns in ways.items()
        )
        lines.append(f"processor time for a token, in microseconds: {spent}")
    lines.insert(1, costs)
    if throughput.model_streams is not None and throughput.speech_streams is not None:
        lines.append(
            f"a core carries {throughput.model_streams:.1f} streams of the language model in real time, or "
            f"{throughput.speech_streams:.1f} of their sound"
        )
    if throughput.codec_share is not None and throughput.windows is not None:
        lines.append(
            f"the codec computed {100 * throughput.codec_share:.0f} % of the time while streaming, "
            f"{throughput.windows:.1f} windows at once"
        )
    return lines


def _microseconds(turns: Sequence[Turn], part: str) -> str:
    values = [getattr(turn.processor, part) for turn in turns if turn.processor is not None]
    return f"{1e6 * statistics.median(values):.0f}"
