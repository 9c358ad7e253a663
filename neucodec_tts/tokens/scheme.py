"""Names of the tokens that projects add to a language model, and the ids of those names in a tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neucodec_tts.errors import VocabularyError

TokenLookup = Callable[[str], "int | None"]
"""Gives the id of a token, or None if the tokenizer has no such token."""

_LARGEST_CODEBOOK = 2**20  # how far codes are looked for when the codebook's size is not given


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


def token_lookup(tokenizer: object) -> TokenLookup:
    """Return the function that finds a token's id in `tokenizer`.

    The Rust tokenizer is asked where there is one: reading the whole vocabulary of a large model into a dictionary
    takes ten times as long as asking for its 65,536 codes one by one.

    Args:
        tokenizer: a tokenizer of `transformers` or of `tokenizers`, or a plain mapping from token to id.

    Raises:
        VocabularyError: it is none of these.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    lookup: TokenLookup | None = getattr(backend, "token_to_id", None)
    if callable(lookup):
        return lookup
    return (tokenizer if isinstance(tokenizer, Mapping) else _vocab(tokenizer)).get


def next_free_id(tokenizer: object) -> int:
    """Return the smallest id above all ids in use, which is the least number of embedding rows needed.

    This is not ``len(tokenizer)``: that counts tokens, and some vocabularies have holes.
    """
    return max(_vocab(getattr(tokenizer, "backend_tokenizer", tokenizer)).values(), default=-1) + 1


def find_codes(
    tokenizer: object, pattern: str | None, codebook_size: int | None
) -> tuple[npt.NDArray[np.int64], str]:
    """Find the codes in a tokenizer; `SpeechVocabulary.from_tokenizer` documents arguments and errors.

    Returns:
        Token id of each code, int64 (codebook_size,), and the pattern of their names.
    """
    lookup = token_lookup(tokenizer)
    if pattern is not None:
        check_pattern(pattern)
    patterns = [pattern] if pattern else [scheme.pattern for scheme in SCHEMES.values()]
    found = {candidate: _present_codes(lookup, candidate, codebook_size) for candidate in patterns}
    found = {candidate: ids for candidate, ids in found.items() if ids}
    if not found:
        raise VocabularyError(
            f"the tokenizer has no code tokens ({' or '.join(patterns)}); add them with "
            "`neucodec-tts extend-vocab` or SpeechVocabulary.extend, or give the pattern of its own names"
        )
    if len(found) > 1:
        raise VocabularyError(
            f"the tokenizer has code tokens of {len(found)} kinds ({', '.join(found)}); choose one with pattern="
        )
    pattern, ids = found.popitem()
    size = max(ids) + 1 if codebook_size is None else codebook_size
    missing = [code for code in range(size) if code not in ids]
    if missing:
        raise VocabularyError(
            f"the tokenizer has only {len(ids):,} of {size:,} code tokens; missing: "
            f"{describe_codes(missing, pattern)}. It is half-extended: begin again from the original tokenizer"
        )
    if size in ids:
        raise VocabularyError(
            f"the tokenizer has more codes than the {size:,} asked for ({pattern.format(size)} exists): "
            "the language model and the codec have different codebooks"
        )
    return np.fromiter((ids[code] for code in range(size)), np.int64, size), pattern


def _vocab(tokenizer: object) -> Mapping[str, int]:
    """Return all tokens and their ids, added ones included."""
    get_vocab = getattr(tokenizer, "get_vocab", None)
    if get_vocab is None:
        raise VocabularyError(
            f"{type(tokenizer).__name__} is not a tokenizer; give one of transformers (AutoTokenizer.from_pretrained)"
        )
    vocab: Mapping[str, int] = get_vocab()
    return vocab


def _present_codes(lookup: TokenLookup, pattern: str, codebook_size: int | None) -> dict[int, int]:
    """Find the codes of `pattern` that exist: code -> id. One more than expected is looked for, too."""
    before, after = pattern.split("{}")
    if codebook_size is None:
        powers = [2**k for k in range(_LARGEST_CODEBOOK.bit_length())]
        largest = max((power for power in powers if lookup(f"{before}{power}{after}") is not None), default=0)
        codebook_size = 2 * largest if largest else 1
    named = ((code, lookup(f"{before}{code}{after}")) for code in range(codebook_size + 1))
    return {code: id for code, id in named if id is not None}
