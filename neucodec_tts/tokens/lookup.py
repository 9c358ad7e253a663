"""Asking a tokenizer for the ids of tokens by name, without reading its whole vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from neucodec_tts.errors import VocabularyError

TokenLookup = Callable[[str], "int | None"]
"""Gives the id of a token, or None if the tokenizer has no such token."""


@runtime_checkable
class Tokenizer(Protocol):
    """What is asked of a tokenizer of `transformers`."""

    def get_vocab(self) -> Mapping[str, int]:
        """All tokens and their ids, added ones included."""
        ...


def token_lookup(tokenizer: object) -> TokenLookup:
    """Return the function that finds a token's id in `tokenizer`.

    Reading the vocabulary of a large model with 65,536 codes into a dictionary takes ten times as long as
    asking for those codes one by one, so the Rust tokenizer is asked where there is one.

    Args:
        tokenizer: a tokenizer of `transformers` or of `tokenizers`, or a plain mapping from token to id.

    Raises:
        VocabularyError: it is none of these.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    lookup = getattr(backend, "token_to_id", None)
    if callable(lookup):
        return lookup
    if isinstance(tokenizer, Mapping):
        return tokenizer.get
    if isinstance(tokenizer, Tokenizer):
        return tokenizer.get_vocab().get
    raise VocabularyError(
        f"{type(tokenizer).__name__} is not a tokenizer; give one of transformers (AutoTokenizer.from_pretrained)"
    )


def next_free_id(tokenizer: object) -> int:
    """Return the smallest id above all ids in use, which is the least number of embedding rows needed.

    This is not ``len(tokenizer)``: that counts tokens, and some vocabularies have holes.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    get_vocab = getattr(backend, "get_vocab", None)
    if get_vocab is None:
        raise VocabularyError(f"{type(tokenizer).__name__} is not a tokenizer")
    return max(get_vocab().values(), default=-1) + 1
