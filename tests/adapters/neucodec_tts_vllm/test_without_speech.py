"""What the plugin costs where nobody asks for speech, by counting: no operation on a tensor, no call of numpy."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from neucodec_tts_vllm import SpeechConstraint
from tests.adapters.neucodec_tts_vllm.test_constraint import (
    SPEECH,
    WIDTH,
    config,
    context,
    expected,
    logits_of,
    params,
    slots_of,
    survivors,
)


@pytest.fixture(scope="module")
def processors():
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from neucodec_tts_vllm import logits_processor

    return logits_processor


class Operations(TorchDispatchMode):
    """Remembers every operation on tensors, allocations included."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


@contextmanager
def counted() -> Iterator[list[str]]:
    """Names of all that is done meanwhile: operations on tensors, and calls of functions that C implements."""
    done: list[str] = []

    def profile(frame, event, argument):
        if event == "c_call":
            done.append(argument.__qualname__)

    with Operations() as operations:
        sys.setprofile(profile)
        try:
            yield done
        finally:
            sys.setprofile(None)
    done += operations.names
    for own in ("next", "setprofile"):  # of leaving this
        done.remove(own)


CHEAP = {"isinstance", "len", "dict.get"}


def test_the_count_counts():
    with counted() as done:
        torch.zeros(3)
    assert "aten.zeros.default" in done
    with counted() as done:
        pass
    assert done == []


def test_v1_does_nothing_for_text(processors):
    from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality

    processor = processors.SpeechProcessorV1(config(), torch.device("cpu"), False)
    logits = logits_of(2)
    before = logits.clone()
    plain, other = params(None), params(SPEECH)
    other.extra_args = {"session_id": "x"}  # another plugin's
    updates = [
        BatchUpdate(2, [], [(0, plain, [1], []), (1, other, [1], [])], []),
        None,
        BatchUpdate(2, [], [], [(0, 1, MoveDirectionality.SWAP)]),
        BatchUpdate(1, [1], [], []),
    ]
    with counted() as done:
        for update in updates:
            processor.update_state(update)
            assert processor.apply(logits) is logits
    assert set(done) <= {*CHEAP, "dict.items", "dict.pop"}
    assert torch.equal(logits, before)

    # And again once speech has come and gone.
    processor.update_state(BatchUpdate(2, [], [(1, params(SPEECH), [1], [])], []))
    assert survivors(processor.apply(logits))[1] == expected(SPEECH, 0)
    processor.update_state(BatchUpdate(1, [1], [], []))
    with counted() as done:
        processor.update_state(None)
        assert processor.apply(logits) is logits
    assert set(done) <= CHEAP


def test_v2_does_nothing_for_text(processors):
    processor = processors.SpeechProcessorV2(config(), slots_of([7, 5]))
    logits, batch = logits_of(2), context([(0, 6), (1, 5)])
    before = logits.clone()
    plain = params(None)
    with counted() as done:
        for slot in (0, 1, 0):
            assert processor.add_request(slot, plain) is False
        for _ in range(3):
            processor.apply_staged_writes()
            assert processor.apply(logits, batch) is logits
    assert set(done) <= CHEAP
    assert torch.equal(logits, before)

    # And again once the slot in which somebody spoke has been taken by text.
    assert processor.add_request(1, params(SPEECH))
    processor.apply_staged_writes()
    assert survivors(processor.apply(logits, batch))[1] == expected(SPEECH, 1)
    assert processor.add_request(1, params(SPEECH))  # of two for speech, one after the other, one is left
    assert not processor.add_request(1, plain)
    processor.apply_staged_writes()
    with counted() as done:
        processor.apply_staged_writes()
        assert processor.apply(logits, batch) is logits
    assert set(done) <= CHEAP


def test_a_request_for_text_is_checked_by_one_look_up():
    with counted() as done:
        assert SpeechConstraint.from_extra_args(None) is None
        assert SpeechConstraint.from_extra_args({"other": [0] * WIDTH}) is None
    assert done == []
