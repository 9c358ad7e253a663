"""Finding the codes that a tokenizer already has."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models

from neucodec_tts.errors import VocabularyError
from neucodec_tts.tokens import SpeechVocabulary
from neucodec_tts.tokens.scheme import describe_codes
from tests.tokens.small_tokenizers import llama_like, qwen_like


@pytest.mark.parametrize("size", [1, 2, 3, 64, 100, 1000])
@pytest.mark.parametrize("pattern", ["<|speech_{}|>", "<|s_{}|>"])
def test_known_patterns_and_any_size(pattern: str, size: int):
    tokenizer = qwen_like()
    first = len(tokenizer)
    tokenizer.add_tokens([pattern.format(code) for code in range(size)])
    for vocabulary in (
        SpeechVocabulary.from_tokenizer(tokenizer),
        SpeechVocabulary.from_tokenizer(tokenizer, codebook_size=size),
        SpeechVocabulary.from_tokenizer(tokenizer, pattern),
        SpeechVocabulary.from_tokenizer(tokenizer.backend_tokenizer),
        SpeechVocabulary.from_tokenizer(tokenizer.get_vocab()),
    ):
        assert vocabulary.codebook_size == size
        assert vocabulary.pattern == pattern
        assert vocabulary.id_range == (first, first + size)
        assert vocabulary.ids.tolist() == tokenizer.convert_tokens_to_ids(
            [pattern.format(code) for code in range(size)]
        )


def test_a_pattern_of_ones_own():
    tokenizer = llama_like()
    tokenizer.add_tokens([f"[audio:{code}]" for code in range(10)])
    with pytest.raises(VocabularyError, match=r"no code tokens.*extend-vocab"):
        SpeechVocabulary.from_tokenizer(tokenizer)
    vocabulary = SpeechVocabulary.from_tokenizer(tokenizer, "[audio:{}]")
    assert vocabulary.codebook_size == 10
    assert tokenizer.decode(vocabulary.to_ids([7])) == "[audio:7]"


def test_ids_in_any_order():
    order = [3, 0, 4, 1, 2]
    tokenizer = qwen_like()
    tokenizer.add_tokens([f"<|s_{code}|>" for code in order])
    vocabulary = SpeechVocabulary.from_tokenizer(tokenizer)
    assert not vocabulary.is_contiguous
    assert tokenizer.convert_ids_to_tokens(vocabulary.to_ids([0, 1, 2, 3, 4])) == [
        f"<|s_{code}|>" for code in range(5)
    ]
    assert vocabulary.to_codes(vocabulary.to_ids(order)) == order


def test_a_tokenizer_with_an_unknown_token():
    """Some tokenizers answer with the id of the unknown token where others answer None."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<|s_0|>": 1, "<|s_1|>": 2}, unk_token="<unk>"))
    assert SpeechVocabulary.from_tokenizer(tokenizer).codebook_size == 2


def test_missing_codes_are_named():
    tokenizer = qwen_like()
    tokenizer.add_tokens([f"<|s_{code}|>" for code in range(100) if code not in (7, 40, 41, 42)])
    with pytest.raises(
        VocabularyError, match=r"96 of 100 code tokens; missing: <\|s_7\|> and <\|s_40\|> to <\|s_42\|>"
    ):
        SpeechVocabulary.from_tokenizer(tokenizer)


def test_too_few_and_too_many_codes():
    tokenizer = qwen_like()
    tokenizer.add_tokens([f"<|s_{code}|>" for code in range(64)])
    with pytest.raises(VocabularyError, match=r"only 64 of 65,536 .*<\|s_64\|> to <\|s_65535\|>"):
        SpeechVocabulary.from_tokenizer(tokenizer, codebook_size=65_536)
    with pytest.raises(VocabularyError, match=r"more codes than the 32 .*different codebooks"):
        SpeechVocabulary.from_tokenizer(tokenizer, codebook_size=32)


def test_two_kinds_of_codes_need_a_choice():
    tokenizer = qwen_like()
    tokenizer.add_tokens([f"<|s_{code}|>" for code in range(4)] + [f"<|speech_{code}|>" for code in range(4)])
    with pytest.raises(VocabularyError, match="code tokens of 2 kinds"):
        SpeechVocabulary.from_tokenizer(tokenizer)
    assert SpeechVocabulary.from_tokenizer(tokenizer, "<|s_{}|>").codebook_size == 4


def test_something_that_is_no_tokenizer():
    with pytest.raises(VocabularyError, match="str is not a tokenizer"):
        SpeechVocabulary.from_tokenizer("neuphonic/neutts-air")


def test_describing_codes():
    assert describe_codes([5], "<{}>") == "<5>"
    assert describe_codes([1, 2, 3], "<{}>") == "<1> to <3>"
    assert describe_codes(range(0, 20, 2), "<{}>") == "<0>, <2>, <4>, <6> and 6 more ranges"
