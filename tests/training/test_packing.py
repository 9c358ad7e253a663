"""Fitting examples into a context, and several into a row."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neucodec_tts.errors import DatasetError
from neucodec_tts.training import PackedExamples, fit_examples, pack


@given(st.lists(st.integers(1, 64), max_size=200), st.integers(0, 3))
def test_rows_hold_everything_once(lengths: list[int], seed: int):
    rows = pack(lengths, 64, seed)
    assert Counter(index for row in rows for index in row) == Counter(range(len(lengths)))
    assert all(0 < sum(lengths[index] for index in row) <= 64 for row in rows)
    # Best fit leaves at most one row half empty or emptier.
    assert sum(sum(lengths[index] for index in row) <= 32 for row in rows) <= 1
    assert rows == pack(lengths, 64, seed)


def test_rows_are_full():
    """On lengths as utterances have them, next to nothing is wasted."""
    source = random.Random(0)
    lengths = [min(2048, int(source.lognormvariate(6, 0.5))) for _ in range(20_000)]
    rows = pack(lengths, 2048)
    assert sum(lengths) / (2048 * len(rows)) > 0.99
    assert rows != pack(lengths, 2048, seed=1)


def test_too_long_examples_are_counted():
    dropped = fit_examples([5, 12, 10, 30], 10)
    assert (dropped.kept, dropped.lengths) == ((0, 2), (5, 10))
    assert (dropped.dropped, dropped.truncated, dropped.lost_tokens) == (2, 0, 42)
    assert str(dropped) == (
        "2 dropped of 4 examples, longer than 10 tokens: 42 of 57 tokens (73.7%) are not trained with"
    )
    cut = fit_examples([5, 12, 10, 30], 10, "truncate")
    assert (cut.kept, cut.lengths) == ((0, 1, 2, 3), (5, 10, 10, 10))
    assert (cut.dropped, cut.truncated, cut.lost_tokens) == (0, 2, 22)
    assert str(fit_examples([5, 10], 10)) == "all 2 examples fit 10 tokens"


@pytest.mark.parametrize(
    ("lengths", "too_long", "message"),
    [
        ([20], "drop", "none of 1 examples fits 10 tokens"),
        ([], "drop", "there are no examples"),
        ([5, 20], "refuse", "example 1 has 20 tokens, more than max_length 10"),
        ([5], "ignore", "too_long is 'ignore'"),
    ],
)
def test_what_cannot_be_trained_with_is_refused(lengths: list[int], too_long: str, message: str):
    with pytest.raises(DatasetError, match=message):
        fit_examples(lengths, 10, too_long)  # type: ignore[arg-type]


@pytest.mark.parametrize("lengths", [[5, 11], [0]])
def test_pack_refuses_what_fits_no_row(lengths: list[int]):
    with pytest.raises(DatasetError, match="choose what fits"):
        pack(lengths, 10)


def test_packed_examples():
    examples = [{"input_ids": [n], "labels": [n]} for n in range(4)]
    packed = PackedExamples(examples, [[2, 0], [3], [1]])
    assert len(packed) == 3
    assert packed[0] == [examples[2], examples[0]]
    assert packed[-1] == [examples[1]]
    assert packed[1:] == [[examples[3]], [examples[1]]]
    assert [len(row) for row in packed] == [2, 1, 1]
