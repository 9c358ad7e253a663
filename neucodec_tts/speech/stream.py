"""Speaking while the model is still generating."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from torch import Tensor

from neucodec_tts.codec.streaming import StreamingDecoder
from neucodec_tts.errors import EngineError
from neucodec_tts.speech.ahead import RunAhead
from neucodec_tts.speech.assembly import Assembly

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.codec.streaming import StreamSettings
    from neucodec_tts.speech.engine import FinishReason, SpeechEngine
    from neucodec_tts.speech.plan import Plan, Utterance
    from neucodec_tts.speech.results import Segment
    from neucodec_tts.tokens import SpeechVocabulary

logger = logging.getLogger(__name__)


class SpeechStream(Iterator["NDArray[np.float32]"]):
    """A text being spoken: iterate over it for its sound, float32 arrays (n,), each as soon as it is there.

    Leave it early with `close` or ``with``; one that nobody holds any more closes itself.

    Args:
        chunks: the sound, float32 tensors (n,); generated as they are asked for.
        assembly: keeps the record.
        sample_rate: in Hz.
        seed: where the random numbers come from.
        ahead_seconds: a thread generates so much sound ahead of you; 0 generates in your own thread, and only while
            you ask for more.

    Attributes:
        sample_rate: in Hz.
        seed: with it the same text is spoken in the same way again.
    """

    def __init__(
        self,
        chunks: Generator[Tensor, None, None],
        assembly: Assembly,
        sample_rate: int,
        seed: int,
        ahead_seconds: float,
    ) -> None:
        self.sample_rate = sample_rate
        self.seed = seed
        self._assembly = assembly
        self._chunks = chunks
        self._ahead: RunAhead[Tensor] | None = None
        if ahead_seconds > 0:
            self._ahead = RunAhead(chunks, lambda chunk: chunk.numel(), ahead_seconds * sample_rate)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Stretches of the text that have been generated so far, perhaps ahead of the sound that you have got."""
        return tuple(self._assembly.segments)

    def __next__(self) -> NDArray[np.float32]:
        samples: NDArray[np.float32] = next(self._ahead or self._chunks).numpy()
        return samples

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
    plan: Plan,
    engine: SpeechEngine,
    vocabulary: SpeechVocabulary,
    codec: NeuCodec,
    settings: StreamSettings,
    assembly: Assembly,
) -> Generator[Tensor, None, None]:
    """Plan, engine, decoder and joiner in a row, a token at a time.

    Yields:
        Samples as soon as they are sound, float32 (n,), never none: the first after ``first_chunk + lookahead``
        tokens and one decode.

    Raises:
        EngineError: the model gave no codes for a stretch of the text.
    """
    for utterance in plan:
        for chunk in _speak(utterance, engine, vocabulary, codec, settings, assembly):
            if chunk.numel():
                yield chunk


def _speak(
    utterance: Utterance,
    engine: SpeechEngine,
    vocabulary: SpeechVocabulary,
    codec: NeuCodec,
    settings: StreamSettings,
    assembly: Assembly,
) -> Generator[Tensor, None, None]:
    decoder = StreamingDecoder(codec, settings)
    codes: list[int] = []
    pushed = 0  # codes that the decoder has got
    begun = False
    tokens = engine.generate(utterance.prompt_ids, utterance.sampling)
    try:
        for count, token in enumerate(tokens, start=1):
            codes += vocabulary.codes_among([token])
            if not begun and len(codes) >= max(1, assembly.head_frames):
                begun = True
                yield assembly.begin(codes)
            if begun:
                yield assembly.push(decoder.push(codes[pushed:]))
                pushed = len(codes)
            if count == utterance.sampling.max_frames:
                break  # an engine that does not count must not hold us for ever
    finally:
        tokens.close()
    check_codes(codes, utterance)
    if not begun:
        yield assembly.begin(codes)
    yield assembly.push(decoder.push(codes[pushed:]))
    yield assembly.push(decoder.flush())
    reason = tokens.finish_reason or "length"
    if reason != "stop":
        logger.warning("%s", describe_bad_end(utterance, reason, len(codes) / codec.frame_rate))
    yield assembly.end(utterance, codes, reason)


def check_codes(codes: list[int], utterance: Utterance) -> None:
    """Check that a generation gave any codes.

    Raises:
        EngineError: it gave none.
    """
    if not codes:
        raise EngineError(
            f"the model gave no speech codes for {utterance.text[:60]!r}; another seed may help, otherwise the model "
            "was not trained with this prompt format"
        )


def describe_bad_end(utterance: Utterance, reason: FinishReason, seconds: float) -> str:
    """What to tell of an utterance that did not end by itself."""
    how = "went round in a loop" if reason == "repetition" else "did not stop"
    return (
        f"speech for {utterance.text[:60]!r} {how} and was ended after {seconds:.1f} s; words may be missing or "
        "repeated (another seed may do better)"
    )
