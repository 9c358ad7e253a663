"""How much faster integer arithmetic is than names of tokens: measured, side by side, in one run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from timeit import timeit
from typing import TYPE_CHECKING

from neucodec_tts.errors import VocabularyError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from neucodec_tts.tokens.vocabulary import SpeechVocabulary


@dataclass(frozen=True)
class TokenTimes:
    """Seconds for the same work done in two ways, the best of several turns each.

    Attributes:
        codes: number of codes.
        to_ids: a tensor of codes to a list of ids with `SpeechVocabulary.to_ids`.
        strings_to_ids: the same by joining the names of the codes and tokenizing them, as NeuTTS does.
        to_codes: a list of ids to a list of codes with `SpeechVocabulary.to_codes`.
        strings_to_codes: the same by decoding the ids and searching the text for numbers, as NeuTTS does.
    """

    codes: int
    to_ids: float
    strings_to_ids: float
    to_codes: float
    strings_to_codes: float


def compare_with_strings(
    tokenizer: PreTrainedTokenizerBase, vocabulary: SpeechVocabulary, codes: Sequence[int], repeats: int = 15
) -> TokenTimes:
    """Time both ways on the same codes, in turns.

    The other way follows `NeuTTS._apply_chat_template` and `NeuTTS._decode` of neutts 1.4.1, codes in a tensor
    as its reference files hold them.

    Args:
        tokenizer: in the layout ``"added"``.
        vocabulary: of `tokenizer`.
        codes: what to turn into ids and back; a voice of 13 s has 650.
        repeats: how often each way is timed.

    Raises:
        VocabularyError: the two ways give different results, as with the layout ``"vocab"``.
    """
    import torch

    pattern, number = vocabulary.pattern, re.compile(re.escape(vocabulary.pattern).replace(r"\{\}", r"(\d+)"))
    tensor = torch.tensor(codes)

    def strings_to_ids() -> list[int]:
        return tokenizer.encode("".join([pattern.format(code) for code in tensor]), add_special_tokens=False)

    def strings_to_codes() -> list[int]:
        return [int(digits) for digits in number.findall(str(tokenizer.decode(ids)))]

    ids = vocabulary.to_ids(list(codes))
    if strings_to_ids() != ids or strings_to_codes() != list(codes):
        raise VocabularyError(
            "this tokenizer does not read the names of codes in text (layout 'vocab'), so there is nothing to "
            "compare with; save it in the layout 'added'"
        )
    ways: list[Callable[[], object]] = [
        lambda: vocabulary.to_ids(tensor).tolist(),
        strings_to_ids,
        lambda: vocabulary.to_codes(ids),
        strings_to_codes,
    ]
    loops = [50, 1, 50, 1]  # microseconds are timed many at a time
    seconds = [
        [timeit(way, number=n) / n for way, n in zip(ways, loops, strict=True)] for _ in range(repeats)
    ]
    return TokenTimes(len(codes), *(min(column) for column in zip(*seconds, strict=True)))
