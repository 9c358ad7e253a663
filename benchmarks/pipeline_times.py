"""Times of the speech pipeline beside those of the language model and the codec, and of the first sound.

Both are timed inside one run of the pipeline: the clock stops at every call of the engine and of the codec, and what is
left is the pipeline's own. So whatever else the machine does meets all three.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from neucodec_tts.speech import Generated, Sampling, TextToSpeech, TokenStream
from neucodec_tts.speech.engine import FinishReason

if TYPE_CHECKING:
    from torch import Tensor

    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.codec.streaming import Decoded, Window
    from neucodec_tts.speech import SpeechEngine
    from neucodec_tts.voices import SpeakerPrompt


@dataclass
class Clock:
    """Seconds and calls by what was done."""

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    first_token: float | None = None
    """When the first token was there."""
    prompt_seconds: float = 0.0
    """Time of the engine until then."""

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Count the block as one call, and its time."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start
            self.calls[what] = self.calls.get(what, 0) + 1

    def of(self, what: str) -> float:
        """Seconds of one thing."""
        return self.seconds.get(what, 0.0)


class TimedEngine:
    """An engine, timed: ``generation`` is the time in which tokens were waited for."""

    def __init__(self, engine: SpeechEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    @property
    def context_length(self) -> int:
        """As the engine's."""
        return self._engine.context_length

    def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> TokenStream:
        """As the engine's."""
        return TokenStream(self._timed(self._engine.generate(prompt_ids, sampling)))

    def _timed(self, tokens: TokenStream) -> Generator[int, None, FinishReason]:
        while True:
            with self._clock.timing("generation"):
                token = next(tokens, None)
            if self._clock.first_token is None:
                self._clock.first_token, self._clock.prompt_seconds = (
                    time.perf_counter(),
                    self._clock.of("generation"),
                )
            if token is None:
                return tokens.finish_reason or "stop"
            yield token

    def generate_batch(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> Iterator[tuple[int, Generated]]:
        """As the engine's."""
        with self._clock.timing("generation"):
            outcomes = list(self._engine.generate_batch(prompts, samplings))
        yield from outcomes


class TimedCodec:
    """A codec, timed: ``decoding`` is that of the speech, ``seams`` that of what pauses are measured on."""

    def __init__(self, codec: NeuCodec, clock: Clock) -> None:
        self._codec = codec
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codec, name)

    def decode(self, codes: list[Tensor]) -> list[Tensor]:
        """As the codec's, of a list."""
        with self._clock.timing("decoding"):
            return self._codec.decode(codes)

    def decode_windows(self, windows: list[Window]) -> list[Decoded]:
        """As the codec's, of streams."""
        with self._clock.timing("decoding"):
            return self._codec.decode_windows(windows)

    def decode_batch(self, sequences: list[Tensor]) -> list[Tensor]:
        """As the codec's: the two sides of a seam."""
        with self._clock.timing("seams"):
            return self._codec.decode_batch(sequences)


@dataclass(frozen=True)
class PipelineTimes:
    """One text spoken in one way; times in seconds.

    Attributes:
        way: ``"speak"`` or ``"stream"``.
        audio: length of the sound.
        segments: number of stretches that were spoken in one go.
        tokens: codes that were generated.
        total: from the text to the last sample.
        generation: in the engine.
        decoding: in the codec, for the speech itself.
        seams: in the codec, for the length of the pauses; part of the pipeline's own work.
    """

    way: Literal["speak", "stream"]
    audio: float
    segments: int
    tokens: int
    total: float
    generation: float
    decoding: float
    seams: float

    @property
    def overhead(self) -> float:
        """Time of the pipeline itself, as a share of generation and decoding together."""
        needed = self.generation + self.decoding
        return (self.total - needed) / needed


@dataclass(frozen=True)
class FirstSound:
    """From the first generated token to the first samples; times in seconds.

    Attributes:
        tokens: that were generated until then.
        decodes: that were run.
        samples: that came.
        total: in all.
        generation: of the tokens after the first.
        decoding: of the first chunk.
        before: from the call to the first token: planning, phones, and the language model reading the prompt.
    """

    tokens: int
    decodes: int
    samples: int
    total: float
    generation: float
    decoding: float
    before: float

    @property
    def other(self) -> float:
        """Time of neither."""
        return self.total - self.generation - self.decoding


@dataclass(frozen=True)
class PipelineReport:
    """Both ways of speaking the same text with the same seed.

    Attributes:
        speak: all at once.
        stream: as it is generated, a token at a time.
        first: when the first sound came; the median of the turns.
        equal_length: whether both gave the same number of samples.
        equal_codes: whether both spoke the same codes.
    """

    speak: PipelineTimes
    stream: PipelineTimes
    first: FirstSound
    equal_length: bool
    equal_codes: bool


def measure_pipeline(
    tts: TextToSpeech,
    text: str,
    voice: SpeakerPrompt | None = None,
    *,
    repeats: int = 3,
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> PipelineReport:
    """Speak a text in both ways, in turns, and say where the time went.

    Args:
        tts: speaks.
        text: what to say.
        voice: in whose voice.
        repeats: turns; the median one of each way is reported.
        seed: of the speech.
        advance: called with 1 after each turn.

    Raises:
        PromptError: there is nothing to speak, or the voice is of another codec.
        EngineError: the model gave no codes.
    """
    short = replace(tts.sampling, min_frames=0, max_frames=10)
    tts.speak(text, voice, seed=seed, sampling=short, retries=0)  # warms up
    spoken, streamed, first = [], [], []
    lengths, codes = set(), set()
    for _ in range(repeats):
        clock = Clock()
        start = time.perf_counter()
        result = _timed(tts, clock).speak(text, voice, seed=seed, retries=0)
        spoken.append(
            _times("speak", clock, start, result.duration, len(result.segments), result.speech_tokens)
        )
        lengths.add(result.samples.size)
        codes.add(tuple(result.codes.tolist()))

        clock = Clock()
        start = time.perf_counter()
        with _timed(tts, clock).stream(text, voice, seed=seed, ahead_seconds=0) as stream:
            first.append(_first_sound(clock, start, next(stream).size))
            samples = first[-1].samples + sum(chunk.size for chunk in stream)
            generated = [code for segment in stream.segments for code in segment.codes.tolist()]
            streamed.append(
                _times(
                    "stream", clock, start, samples / stream.sample_rate, len(stream.segments), len(generated)
                )
            )
        lengths.add(samples)
        codes.add(tuple(generated))
        advance(1)

    def middle(runs: list[Any]) -> Any:
        return sorted(runs, key=lambda run: run.total)[len(runs) // 2]

    return PipelineReport(middle(spoken), middle(streamed), middle(first), len(lengths) == 1, len(codes) == 1)


def _times(
    way: Literal["speak", "stream"], clock: Clock, start: float, audio: float, segments: int, tokens: int
) -> PipelineTimes:
    total = time.perf_counter() - start
    return PipelineTimes(
        way, audio, segments, tokens, total, clock.of("generation"), clock.of("decoding"), clock.of("seams")
    )


def _first_sound(clock: Clock, start: float, samples: int) -> FirstSound:
    now, first_token = time.perf_counter(), clock.first_token or start
    return FirstSound(
        tokens=clock.calls["generation"],
        decodes=clock.calls["decoding"] + clock.calls.get("seams", 0),
        samples=samples,
        total=now - first_token,
        generation=clock.of("generation") - clock.prompt_seconds,
        decoding=clock.of("decoding"),
        before=first_token - start,
    )


def _timed(tts: TextToSpeech, clock: Clock) -> TextToSpeech:
    """The same pipeline with a clock around its engine and its codec."""
    return TextToSpeech(
        TimedEngine(tts.engine, clock),
        cast("NeuCodec", TimedCodec(tts.codec, clock)),
        tts.prompt_format,
        tts.vocabulary,
        context_length=tts.context_length,
        sampling=tts.sampling,
        pauses=tts.pauses,
        stream_settings=tts.stream_settings,
        voices=tts.voices,
        utterance_frames=tts.utterance_frames,
        watermark=False,  # it holds the first sound back
    )
