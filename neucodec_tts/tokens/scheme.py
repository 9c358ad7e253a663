"""How projects name the tokens that they add to a language model, and in which order they add them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from neucodec_tts.errors import VocabularyError


def check_pattern(pattern: str) -> None:
    """Check that `pattern` names one token for each code.

    Raises:
        VocabularyError: it does not hold ``{}`` exactly once, or other braces.
    """
    if pattern.count("{}") != 1 or pattern.count("{") != 1 or pattern.count("}") != 1:
        raise VocabularyError(
            f"the token pattern {pattern!r} must hold {{}} exactly once, where the code's number stands, "
            "as in '<|speech_{}|>'"
        )


@dataclass(frozen=True)
class TokenScheme:
    """Names of the tokens of one family of speech language models.

    Attributes:
        name: the family.
        pattern: the name of a code's token, with ``{}`` where the code's number stands.
        control_tokens: the other tokens the family adds, in the order in which it adds them. They come
            before the codes, so the first code's id is the old vocabulary's size plus their number.
    """

    name: str
    pattern: str
    control_tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        check_pattern(self.pattern)


SCHEMES: dict[str, TokenScheme] = {
    # The order of Neuphonic's TRAINING.md for "training from scratch" (neutts 1.4.1).
    "neutts": TokenScheme(
        "neutts",
        "<|speech_{}|>",
        (
            "<|TEXT_REPLACE|>",
            "<|TEXT_PROMPT_START|>",
            "<|TEXT_PROMPT_END|>",
            "<|SPEECH_REPLACE|>",
            "<|SPEECH_GENERATION_START|>",
            "<|SPEECH_GENERATION_END|>",
        ),
    ),
    # The order of Llasa's train_tts.py; with Llama 3's 128,256 tokens it puts <|s_0|> at 128264.
    "llasa": TokenScheme(
        "llasa",
        "<|s_{}|>",
        (
            "<|TEXT_GENERATION_START|>",
            "<|TEXT_GENERATION_END|>",
            "<|TEXT_UNDERSTANDING_START|>",
            "<|TEXT_UNDERSTANDING_END|>",
            "<|SPEECH_GENERATION_START|>",
            "<|SPEECH_GENERATION_END|>",
            "<|SPEECH_UNDERSTANDING_START|>",
            "<|SPEECH_UNDERSTANDING_END|>",
        ),
    ),
}


def scheme_by_name(name: str) -> TokenScheme:
    """Return the scheme called `name`.

    Raises:
        VocabularyError: there is none of that name; the message lists those there are.
    """
    if name not in SCHEMES:
        raise VocabularyError(f"unknown token scheme {name!r}; known are {', '.join(sorted(SCHEMES))}")
    return SCHEMES[name]


def tags(pattern: str, codes: Iterable[int]) -> list[str]:
    """Name the tokens of `codes`: ``["<|speech_3|>", ...]``."""
    before, after = pattern.split("{}")
    return [f"{before}{code}{after}" for code in codes]


def describe_codes(codes: Iterable[int], pattern: str, most: int = 4) -> str:
    """Describe a set of codes in few words: ``"<|s_3|> to <|s_7|>, <|s_9|> and 2 more ranges"``."""
    ranges: list[tuple[int, int]] = []
    for code in sorted(codes):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], code)
        else:
            ranges.append((code, code))
    shown = [
        pattern.format(first) if first == last else f"{pattern.format(first)} to {pattern.format(last)}"
        for first, last in ranges[:most]
    ]
    left_out = len(ranges) - most
    if left_out > 0:
        shown.append(f"{left_out} more range{'s' if left_out > 1 else ''}")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
