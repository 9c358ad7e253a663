"""Text to token ids so that text stays text: nothing a user writes becomes a control token or a code."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import TYPE_CHECKING

from neucodec_tts.errors import PromptError, VocabularyError
from neucodec_tts.tokens.scheme import token_lookup

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from neucodec_tts.tokens import SpeechVocabulary


class TextEncoder:
    """Encodes text from users.

    Text without names of control tokens gives exactly the ids of ``tokenizer.encode(text,
    add_special_tokens=False)``. Where the tokenizer finds such a name in the text, the text is cut inside the
    name and the parts are encoded one by one, so the same characters arrive as ordinary text. The tokenizer's own
    switch for this (``split_special_tokens``) is not enough: it leaves added tokens that are not marked as
    special, and those of NeuTTS and Llasa are not.

    Forbidden in text are the codes, the tokens marked as special (end of text, chat roles), and the added tokens
    that look like ``<|this|>``.

    Args:
        tokenizer: a fast one of `transformers`.
        vocabulary: the codes.
        allowed: names of tokens that text may contain all the same, such as ``<|LAUGHING|>`` of a model that
            was trained with it.

    Raises:
        VocabularyError: the tokenizer is not a fast one, or lacks one of `allowed`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        vocabulary: SpeechVocabulary,
        allowed: Collection[str] = (),
    ) -> None:
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise VocabularyError(
                f"{type(tokenizer).__name__} is not a fast tokenizer; load it with AutoTokenizer.from_pretrained"
            )
        self._tokenizer = tokenizer
        lookup = token_lookup(tokenizer)
        unknown = [name for name in allowed if lookup(name) is None]
        if unknown:
            raise VocabularyError(f"the tokenizer has no token {unknown[0]!r} that text could contain")
        self._forbidden = frozenset(
            [
                *vocabulary.ids.tolist(),
                *tokenizer.all_special_ids,
                *(
                    id
                    for id, token in tokenizer.added_tokens_decoder.items()
                    if token.special or (token.content.startswith("<|") and token.content.endswith("|>"))
                ),
            ]
        ) - {lookup(name) for name in allowed}

    def __call__(self, text: str) -> list[int]:
        """Return the token ids of `text`, none of them forbidden.

        Raises:
            PromptError: a single character of the text is a forbidden token.
        """
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids if self._forbidden.isdisjoint(ids) else self._encode_apart(text)

    def _encode_apart(self, text: str) -> list[int]:
        ids: list[int] = []
        pending = [text]  # the next piece is the last in the list
        while pending:
            piece = pending.pop()
            encoded = self._tokenizer(piece, add_special_tokens=False, return_offsets_mapping=True)
            found = [
                (id, start)
                for id, (start, _) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
                if id in self._forbidden
            ]
            if not found:
                ids += encoded["input_ids"]
                continue
            # One character into each name; what is left of it is found in the next round if need be.
            cuts = sorted({start + 1 for _, start in found if start + 1 < len(piece)})
            if not cuts:
                name = self._tokenizer.convert_ids_to_tokens(found[0][0])
                raise PromptError(f"the text contains {name!r}, a control token of this model; take it out")
            pending += reversed([piece[start:end] for start, end in pairwise([0, *cuts, len(piece)])])
        return ids
