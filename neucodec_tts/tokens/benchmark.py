"""How much faster integer arithmetic is than names of tokens, and how fast the two layouts load: in one run."""

from __future__ import annotations

import itertools
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from timeit import timeit
from typing import TYPE_CHECKING, Any, cast

from neucodec_tts.errors import VocabularyError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from neucodec_tts.tokens.vocabulary import SpeechVocabulary


@dataclass(frozen=True)
class TokenTimes:
    """Seconds for the same work done in two ways, the best of several turns each.

    Attributes:
        codes: number of codes.
        to_ids: a tensor of codes to a tensor of ids with `SpeechVocabulary.to_ids`.
        strings_to_ids: a tensor of codes to a list of ids by joining the names of the codes and tokenizing them, as
            NeuTTS does.
        to_codes: a tensor of ids to a tensor of codes with `SpeechVocabulary.to_codes`.
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

    def strings_to_codes() -> torch.Tensor:
        return torch.tensor([int(digits) for digits in number.findall(str(tokenizer.decode(ids.tolist())))])

    ids = vocabulary.to_ids(tensor)
    if strings_to_ids() != ids.tolist() or not torch.equal(strings_to_codes(), tensor):
        raise VocabularyError(
            "this tokenizer does not read the names of codes in text (layout 'vocab'), so there is nothing to "
            "compare with; save it in the layout 'added'"
        )
    ways: list[Callable[[], object]] = [
        lambda: vocabulary.to_ids(tensor),
        strings_to_ids,
        lambda: vocabulary.to_codes(ids),
        strings_to_codes,
    ]
    loops = [50, 1, 50, 1]  # microseconds are timed many at a time
    seconds = [
        [timeit(way, number=n) / n for way, n in zip(ways, loops, strict=True)] for _ in range(repeats)
    ]
    return TokenTimes(len(codes), *(min(column) for column in zip(*seconds, strict=True)))


QWEN_TOKENS = 151_643
"""Of text, in the tokenizer of NeuTTS Air."""


def synthetic_tokenizer(tokens: int = QWEN_TOKENS) -> PreTrainedTokenizerBase:
    """Make a byte-level BPE tokenizer of a given size whose merges mean nothing; it takes any text.

    It costs what a real one of that size costs to load, and nothing need be downloaded.

    Args:
        tokens: at least the 256 bytes; at most their pairs and triples.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    # The characters that stand for bytes in byte-level BPE.
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    letters = [chr(code) for code in printable] + [
        chr(256 + number) for number in range(256 - len(printable))
    ]
    pairs = itertools.product(letters, letters)
    triples = ((first + second, third) for first, second, third in itertools.product(letters, repeat=3))
    merges = list(itertools.islice(itertools.chain(pairs, triples), max(0, tokens - len(letters))))
    vocabulary = {token: id for id, token in enumerate([*letters, *(left + right for left, right in merges)])}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    content: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }
    backend = Tokenizer.from_str(json.dumps(content))
    return cast(
        "PreTrainedTokenizerBase",
        PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>"),
    )


@dataclass(frozen=True)
class LoadingTimes:
    """Seconds that ``AutoTokenizer.from_pretrained`` takes, the best of several turns each.

    Attributes:
        without_codes: the tokenizer before it was extended.
        added: extended, every code an added token.
        vocab: extended, codes in the base vocabulary.
    """

    without_codes: float
    added: float
    vocab: float


def time_loading(tokens: int = QWEN_TOKENS, repeats: int = 3) -> LoadingTimes:
    """Time both layouts of 65,536 codes on top of a tokenizer with so many tokens of text, in turns.

    Args:
        tokens: of text.
        repeats: how often each is loaded.
    """
    from transformers import AutoTokenizer

    from neucodec_tts.tokens.vocabulary import SpeechVocabulary

    tokenizer = synthetic_tokenizer(tokens)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(f"{folder}/without")
        vocabulary = SpeechVocabulary.extend(tokenizer)
        vocabulary.save_tokenizer(tokenizer, f"{folder}/added", "added")
        vocabulary.save_tokenizer(tokenizer, f"{folder}/vocab", "vocab")

        def load(name: str) -> Any:
            return AutoTokenizer.from_pretrained(f"{folder}/{name}")

        seconds = [
            [timeit(lambda name=name: load(name), number=1) for name in ("without", "added", "vocab")]  # type: ignore[misc]
            for _ in range(repeats)
        ]
    return LoadingTimes(*(min(column) for column in zip(*seconds, strict=True)))
