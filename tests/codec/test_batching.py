from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neucodec_tts import DeviceError
from neucodec_tts.codec.batching import plan_batches, run_in_batches


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


def test_a_batch_is_made_ready_while_the_one_before_is_computed():
    """The results are the same, and an error of either belongs to the caller."""
    order: list[str] = []
    ready = [threading.Event() for _ in range(3)]

    def stage(items):
        number = sum(name.startswith("staged") for name in order)
        order.append(f"staged {number}")
        ready[number].set()
        return torch.stack(items)

    def run(batch):
        number = sum(name.startswith("ran") for name in order)
        if number < 2:
            assert ready[number + 1].wait(60)  # the next one, while this one runs
        order.append(f"ran {number}")
        return [item + 1 for item in batch]

    items = [torch.full((10,), float(i)) for i in range(6)]
    device = torch.device("cpu")
    results = run_in_batches(run, items, 1.0, device, 20.0, stage=stage)
    assert all(torch.equal(result, item + 1) for result, item in zip(results, items, strict=True))
    assert [name for name in order if name.startswith("ran")] == ["ran 0", "ran 1", "ran 2"]

    def broken(batch):
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(DeviceError, match="set max_batch_seconds below 20"):
        run_in_batches(lambda batch: batch, items, 1.0, device, 20.0, stage=broken)
    assert run_in_batches(run, [], 1.0, device, 20.0, stage=stage) == []
