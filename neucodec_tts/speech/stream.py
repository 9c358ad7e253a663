"""Speaking while the model is still generating."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.codec.streaming import Stream
from neucodec_tts.run_ahead import RunAhead
from neucodec_tts.speech.assembly import Assembly
from neucodec_tts.speech.settling import Spoken, settle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from neucodec_tts.codec.arrays import ArrayCodec
    from neucodec_tts.codec.streaming import StreamSettings
    from neucodec_tts.speech.engine import SpeechEngine
    from neucodec_tts.speech.results import Segment
    from neucodec_tts.speech.script import Script, Sentence
    from neucodec_tts.tokens import SpeechVocabulary

logger = logging.getLogger(__name__)


class SpeechStream(Iterator["NDArray[np.float32]"]):
    """A text being spoken. Iterate over it for the sound: float32 arrays (n,), each as soon as it is there.

    `close` or ``with`` leaves it early; a stream that is not referenced any more closes itself.

    Args:
        chunks: the sound, float32 (n,); generated as they are asked for.
        assembly: keeps the record.
        sample_rate: in Hz.
        seed: of the random numbers.
        ahead_seconds: a thread generates so much sound ahead of you; 0 generates in your own thread while you ask.
        watermarked: True if the sound carries a watermark.
        warnings: parts of the text that are not read, and why.

    Attributes:
        sample_rate: in Hz.
        seed: the same text is spoken in the same way again with this seed.
        watermarked: True if the sound carries a watermark.
        warnings: parts of the text that are not read, and why.
    """

    def __init__(
        self,
        chunks: Generator[NDArray[np.float32], None, None],
        assembly: Assembly,
        sample_rate: int,
        seed: int,
        ahead_seconds: float,
        watermarked: bool = False,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.warnings = warnings
        self.sample_rate = sample_rate
        self.watermarked = watermarked
        self.seed = seed
        self._assembly = assembly
        self._chunks = chunks
        self._ahead: RunAhead[NDArray[np.float32]] | None = None
        if ahead_seconds > 0:
            self._ahead = RunAhead(chunks, lambda chunk: chunk.size, ahead_seconds * sample_rate)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Segments that have been generated so far, perhaps ahead of the sound that you have got."""
        return tuple(self._assembly.segments)

    def __next__(self) -> NDArray[np.float32]:
        return next(self._ahead or self._chunks)

    def __enter__(self) -> SpeechStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop generating; no more sound comes."""
        (self._ahead or self._chunks).close()


def stream_chunks(
    script: Script,
    engine: SpeechEngine,
    vocabulary: SpeechVocabulary,
    codec: ArrayCodec,
    settings: StreamSettings,
    assembly: Assembly,
    retries: int = 1,
) -> Generator[NDArray[np.float32], None, None]:
    """Generate, decode and join a text, a token at a time.

    Args:
        script: the text.
        engine: generates.
        vocabulary: of its tokens.
        codec: decodes.
        settings: of the windows.
        assembly: joins the sentences and keeps the record.
        retries: how often a sentence of which nothing is to be heard is generated again.

    Yields:
        Samples as soon as they are final, float32 (n,), never none: the first after ``first_chunk + lookahead``
        tokens and one decode.

    Raises:
        EngineError: the model gave no codes for a sentence.
    """

    def speak(sentence: Sentence) -> Generator[NDArray[np.float32], None, None]:
        stream: Stream[NDArray[Any]] = Stream(settings, codec.output_hop_length)
        codes: list[int] = []
        pushed = 0  # codes that the decoder has got
        begun = False
        needed = max(settings.needed(0), assembly.head_frames)  # before them there is no sound to send
        tokens = engine.generate(sentence.prompt_ids, sentence.sampling)
        try:
            for count, token in enumerate(tokens, start=1):
                codes += vocabulary.codes_among([token])
                if not begun and len(codes) >= needed:
                    begun = True
                    yield assembly.begin(codes)
                if begun:
                    stream.push(np.array(codes[pushed:], np.int64))
                    pushed = len(codes)
                    yield from _sounds(stream, codec, assembly)
                if count == sentence.sampling.max_frames:
                    break  # an engine that does not count must not hold us for ever
        finally:
            tokens.close()
        spoken = Spoken(sentence, codes, tokens.finish_reason or "length")
        if not begun:
            verdict = settle(spoken, script, retries, codec.frame_rate)
            if verdict.again:
                for other in verdict.again:
                    yield from speak(other)
                return
            yield assembly.begin(codes)
        stream.push(np.array(codes[pushed:], np.int64))
        stream.finish()
        yield from _sounds(stream, codec, assembly)
        spoken = replace(spoken, silent=assembly.silent)
        verdict = settle(spoken, script, retries, codec.frame_rate, sent=True)
        if verdict.again:
            yield assembly.give_up(spoken)
            for other in verdict.again:
                yield from speak(other)
            return
        if verdict.warning is not None:
            logger.warning("%s", verdict.warning)
        yield assembly.end(spoken)

    for sentence in script:
        for chunk in speak(sentence):
            if chunk.size:
                yield chunk


def _sounds(
    stream: Stream[NDArray[Any]], codec: ArrayCodec, assembly: Assembly
) -> Generator[NDArray[np.float32], None, None]:
    """Decode what is ready of a stream."""
    while (window := stream.next_window()) is not None:
        (decoded,) = codec.decode_windows([window])
        yield assembly.push(stream.play(window, decoded))
