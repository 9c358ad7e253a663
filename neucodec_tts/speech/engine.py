"""The contract of a language model that speaks: prompts in, tokens of codes out, one prompt at a time or many."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from neucodec_tts.errors import EngineError, VocabularyError

if TYPE_CHECKING:
    from neucodec_tts.tokens import SpeechVocabulary

FinishReason = Literal["stop", "length", "repetition"]
"""Why a generation ended: the model stopped, the longest length was reached, or the codes had become a loop."""


@dataclass(frozen=True)
class Sampling:
    """Settings for drawing tokens.

    Attributes:
        temperature: 1 as trained; lower is safer and flatter; 0 takes the likeliest token each time.
        top_k: tokens are drawn from the k likeliest; 0 draws from all.
        top_p: tokens are drawn from the likeliest that together have this probability, applied after `top_k`.
        min_p: tokens less likely than this share of the likeliest are not drawn; 0 draws them all. Applied last.
        repetition_penalty: tokens that stand in the prompt or have been drawn become less likely above 1, as in CTRL
            (arXiv:1909.05858): a positive logit is divided by it, a negative one multiplied; 1 leaves them alone.
        min_frames: fewest codes (50 a second) before the model may stop.
        max_frames: most codes; None leaves it to the model's context.
        repetition_frames: the generation ends when the last so many codes are a loop; 0 switches this off. The default
            is 2 s, longer than a speaker pauses within a sentence.
        seed: the same seed draws the same tokens from the same model and prompt; None draws new ones each time.

    Raises:
        EngineError: a value is out of range or not a number.
    """

    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    min_frames: int = 0
    max_frames: int | None = None
    repetition_frames: int = 100
    seed: int | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= 10):
            raise EngineError(f"temperature is {self.temperature}; it must lie between 0 and 10")
        if not 0 < self.top_p <= 1:  # false for NaN
            raise EngineError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if not 0 <= self.min_p <= 1:
            raise EngineError(f"min_p is {self.min_p}; it must lie between 0 and 1")
        if not 0 < self.repetition_penalty <= 10:
            raise EngineError(
                f"repetition_penalty is {self.repetition_penalty}; it must be above 0 and at most 10"
            )
        for name, least in (("top_k", 0), ("min_frames", 0), ("max_frames", 1), ("repetition_frames", 0)):
            value = getattr(self, name)
            if value is None and name == "max_frames":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise EngineError(f"{name} is {value!r}; it must be a whole number of at least {least}")
        if self.max_frames is not None and self.max_frames < self.min_frames:
            raise EngineError(
                f"max_frames is {self.max_frames} and min_frames {self.min_frames}; the first must not be smaller"
            )
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int)):
            raise EngineError(f"seed is {self.seed!r}; it must be a whole number")


@dataclass(frozen=True)
class SpeechTokens:
    """The tokens of speech: codes and stops.

    Attributes:
        vocabulary: maps codes to token ids.
        stop_ids: each of these ids ends the speech.
    """

    vocabulary: SpeechVocabulary
    stop_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.stop_ids:
            raise EngineError("there are no stop tokens: the model could not end a sentence by itself")
        if any(self.vocabulary.is_code(list(self.stop_ids))):
            raise EngineError(
                f"a stop token is also a code: {self.stop_ids}; the prompt format is not this model's"
            )

    @property
    def required_rows(self) -> int:
        """Rows that the model's output layer needs at least."""
        return max(self.vocabulary.required_rows, max(self.stop_ids) + 1)

    def check_rows(self, rows: int) -> None:
        """Check that a model has a row for each code and each stop.

        Args:
            rows: of its embedding and its output layer, the smaller of the two. More than enough are fine.

        Raises:
            VocabularyError: it has too few.
        """
        self.vocabulary.check_model_rows(rows)
        if max(self.stop_ids) >= rows:
            raise VocabularyError(
                f"the stop token has id {max(self.stop_ids)}, but the model has only {rows:,} embedding rows: model "
                "and tokenizer do not belong together"
            )


@dataclass(frozen=True)
class Generated:
    """A finished generation.

    Attributes:
        ids: the token ids, all of them codes; the stop is not among them.
        finish_reason: why it ended.
    """

    ids: list[int]
    finish_reason: FinishReason


class TokenStream(Iterator[int]):
    """Token ids of one running generation, as they come.

    Args:
        tokens: a generator that yields the ids of codes and returns the reason why it ended.

    Attributes:
        finish_reason: None until the last token has been taken.
    """

    def __init__(self, tokens: Generator[int, None, FinishReason]) -> None:
        self._tokens = tokens
        self.finish_reason: FinishReason | None = None

    def __next__(self) -> int:
        try:
            return next(self._tokens)
        except StopIteration as end:
            if end.value is not None:  # a generator says it only once
                self.finish_reason = end.value
            raise StopIteration from None

    def close(self) -> None:
        """Stop generating and free what it holds; harmless when it has ended."""
        self._tokens.close()

    def collect(self) -> Generated:
        """Take all that is left."""
        ids = list(self)
        return Generated(ids, self.finish_reason or "stop")


@runtime_checkable
class SpeechEngine(Protocol):
    """A language model that speaks codes.

    An engine gets token ids and gives token ids: it must not tokenize, know of text or voices, or decode audio. It
    yields ids of codes only, never a stop, and obeys `Sampling`. A generation's tokens depend on its own prompt and
    sampling, not on what runs beside it, up to the rounding of floating-point numbers. Errors are `EngineError`.
    """

    @property
    def context_length(self) -> int:
        """Tokens that prompt and speech may have together."""
        ...

    def generate(self, prompt_ids: Sequence[int], sampling: Sampling) -> TokenStream:
        """Continue one prompt; each token is there as soon as the model has drawn it.

        Raises:
            EngineError: the prompt leaves no room for speech, or holds ids that the model lacks.
        """
        ...

    def generate_batch(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> Iterator[tuple[int, Generated]]:
        """Continue many prompts together; yields the index and the outcome of each as it ends, in any order.

        Raises:
            EngineError: as for `generate`.
        """
        ...


@dataclass
class RepetitionDetector:
    """Finds out when a sequence of codes has become a loop.

    The codes are a loop when each of the last ``frames`` equals the one ``period`` before it, for any period that
    goes round at least four times in them.

    Attributes:
        frames: length of the loop that is noticed; 0 notices none.
    """

    frames: int
    _recent: list[int] = field(default_factory=list, repr=False)
    _runs: list[int] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self._runs = [0] * (max(1, self.frames // 4) if self.frames else 0)

    def push(self, code: int) -> bool:
        """Add a code or a token id; returns True when the sequence has become a loop. Costs microseconds."""
        if not self._runs:
            return False
        # self._recent[p] is what came p + 1 before; the run of period p + 1 grows while they are equal.
        if code not in self._recent:  # as nearly always: every run ends
            self._runs = [0] * len(self._runs)
            self._recent = [code, *self._recent[: len(self._runs) - 1]]
            return self.frames <= 1
        self._runs = [
            run + 1 if before == code else 0 for run, before in zip(self._runs, self._recent, strict=False)
        ] + self._runs[len(self._recent) :]
        self._recent = [code, *self._recent[: len(self._runs) - 1]]
        return any(run >= self.frames - period for period, run in enumerate(self._runs, start=1))


def check_prompt(prompt_ids: Sequence[int], context_length: int, rows: int | None = None) -> None:
    """Check that a model can continue a prompt.

    Args:
        prompt_ids: token ids.
        context_length: tokens that prompt and speech may have together.
        rows: number of token ids that the model has; None skips this check.

    Raises:
        EngineError: the prompt is empty, leaves no room for speech, or holds ids that the model lacks.
    """
    if not len(prompt_ids):
        raise EngineError("the prompt is empty; there is nothing to continue")
    if len(prompt_ids) >= context_length:
        raise EngineError(
            f"the prompt has {len(prompt_ids)} tokens, which leaves no room for speech in the model's context of "
            f"{context_length}; shorten the text or the voice's recording"
        )
    low, high = min(prompt_ids), max(prompt_ids)
    if rows is not None and (low < 0 or high >= rows):
        raise EngineError(
            f"the prompt holds the token id {low if low < 0 else high}, but the model has ids 0 to {rows - 1}: its "
            "tokenizer belongs to another model"
        )


def check_batch(
    prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling], context_length: int, rows: int
) -> None:
    """Check that a model can continue all of these prompts, each with its own sampling.

    Raises:
        EngineError: as `check_prompt`, or there are not as many samplings as prompts.
    """
    if len(prompts) != len(samplings):
        raise EngineError(f"{len(prompts)} prompts came with {len(samplings)} samplings; give one for each")
    for prompt in prompts:
        check_prompt(prompt, context_length, rows)
