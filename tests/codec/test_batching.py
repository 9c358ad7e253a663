from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from neucodec_tts.codec.batching import plan_batches


@given(
    lengths=st.lists(st.integers(1, 1000), max_size=60),
    max_total=st.integers(1, 5000),
    max_padding=st.floats(0, 0.9),
)
def test_every_item_once_and_within_bounds(lengths, max_total, max_padding):
    batches = plan_batches(lengths, max_total, max_padding)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        sizes = [lengths[i] for i in batch]
        padded = max(sizes) * len(batch)
        assert len(batch) == 1 or padded <= max_total
        assert padded - sum(sizes) <= max_padding * padded + 1e-9


def test_items_of_like_length_share_a_batch_and_the_longest_come_first():
    assert plan_batches([10, 100, 11, 99], max_total=1000, max_padding=0.1) == [[1, 3], [2, 0]]


def test_no_items_no_batches():
    assert plan_batches([], 10) == []
