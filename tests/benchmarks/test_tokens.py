"""The benchmark compares equal work; how fast it is, is printed and not asserted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from neucodec_tts.errors import VocabularyError
from neucodec_tts.tokens import SpeechVocabulary
from tests.tokens.small_tokenizers import qwen_like
from tokens import compare_with_strings


def test_full_codebook_against_strings(tmp_path: Path):
    tokenizer = qwen_like()
    vocabulary = SpeechVocabulary.extend(tokenizer)
    codes = random.Random(0).choices(range(65_536), k=650)
    times = compare_with_strings(tokenizer, vocabulary, codes)
    print(
        f"\n{times.codes} codes: to_ids {times.to_ids * 1e6:.0f} µs, strings {times.strings_to_ids * 1e6:.0f} µs "
        f"({times.strings_to_ids / times.to_ids:.0f}x); to_codes {times.to_codes * 1e6:.0f} µs, "
        f"strings {times.strings_to_codes * 1e6:.0f} µs ({times.strings_to_codes / times.to_codes:.0f}x)"
    )
    assert times.codes == 650

    vocabulary.save_tokenizer(tokenizer, tmp_path, "vocab")
    with pytest.raises(VocabularyError, match="layout 'vocab'"):
        compare_with_strings(AutoTokenizer.from_pretrained(tmp_path), vocabulary, codes)
