"""An engine that says what it is told to, so that the speech can be foreseen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat

import numpy as np

from neucodec_tts import NeuCodec, SpeechVocabulary, TextToSpeech
from neucodec_tts.prompts import NeuTTSFormat
from neucodec_tts.speech import Generated, Sampling, TokenStream
from neucodec_tts.speech.engine import FinishReason
from tests.tokens.small_tokenizers import qwen_like


@dataclass
class Line:
    """One generation: token ids and why it ends."""

    ids: Sequence[int]
    reason: FinishReason = "stop"
    endless: bool = False
    """Whether the last id is repeated for ever, whatever the limit."""
    problem: BaseException | None = None
    """Raised after the ids."""


@dataclass
class ScriptedEngine:
    """A `SpeechEngine` whose nth generation is the nth line; the last is repeated."""

    lines: Sequence[Line]
    context_length: int = 2048
    on_token: Callable[[int], None] = lambda count: None
    """Called with the number of tokens taken so far, before each is given."""
    asked: list[tuple[list[int], Sampling]] = field(default_factory=list)
    taken: int = 0
    closed: int = 0

    def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> TokenStream:
        line = self.lines[min(len(self.asked), len(self.lines) - 1)]
        self.asked.append((list(prompt_ids), sampling))

        def tokens():
            try:
                for token in chain(line.ids, repeat(line.ids[-1]) if line.endless else ()):
                    self.taken += 1
                    self.on_token(self.taken)
                    yield token
                if line.problem is not None:
                    raise line.problem
                return line.reason
            finally:
                self.closed += 1

        return TokenStream(tokens())

    def generate_batch(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> Iterator[tuple[int, Generated]]:
        made = [self.generate(*each).collect() for each in zip(prompts, samplings, strict=True)]
        yield from reversed(list(enumerate(made)))  # any order is allowed


@dataclass(frozen=True)
class Stage:
    """A codec, a vocabulary of its codes, and a prompt format: all that speech needs but the engine."""

    codec: NeuCodec
    vocabulary: SpeechVocabulary
    prompt_format: NeuTTSFormat

    @classmethod
    def build(cls, codec: NeuCodec) -> Stage:
        tokenizer = qwen_like()
        vocabulary = SpeechVocabulary.extend(tokenizer, None, codebook_size=codec.codebook_size)
        return cls(codec, vocabulary, NeuTTSFormat(tokenizer, vocabulary, None))

    def line(self, codes: Sequence[int] | np.ndarray, reason: FinishReason = "stop") -> Line:
        """A generation of these codes."""
        return Line(self.vocabulary.to_ids([int(code) for code in codes]), reason)

    def tts(self, *lines: Line, **settings) -> tuple[TextToSpeech, ScriptedEngine]:
        """A `TextToSpeech` whose engine says these lines; without a watermark unless asked for."""
        settings.setdefault("watermark", False)
        engine = ScriptedEngine(lines)
        return TextToSpeech(engine, self.codec, self.prompt_format, self.vocabulary, **settings), engine
