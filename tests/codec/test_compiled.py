"""``torch.compile`` of the decoder; PyTorch's compilers take long, so that here simple ones take their place."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.parity.comparisons import snr

pytestmark = pytest.mark.slow


@pytest.fixture
def own(codec):
    yield copy.deepcopy(codec)
    torch._dynamo.reset()


def test_it_sounds_the_same_and_can_be_undone(own, codec):
    assert own.compile_decoder(backend="eager")
    sequences = [torch.arange(17), torch.arange(29) * 7, torch.arange(3)]
    for ours, expected in zip(own.decode(sequences), codec.decode(sequences), strict=True):
        assert snr(expected, ours) > 80
    assert not own.compile_decoder(False)
    assert torch.equal(own.decode(sequences[0]), codec.decode(sequences[0]))


@pytest.mark.parametrize("fault", ["wrong", "failing"])
def test_a_compiler_that_does_not_work_changes_nothing(own, codec, caplog, fault):
    def broken(graph, inputs):
        if fault == "failing":
            raise RuntimeError("no compiler here")
        return lambda *given: [x * 0 if x.is_floating_point() else x for x in graph(*given)]

    assert not own.compile_decoder(backend=broken)
    assert torch.equal(own.decode([1, 2, 3]), codec.decode([1, 2, 3]))
    (message,) = [record.getMessage() for record in caplog.records if record.name.startswith("neucodec_tts")]
    assert message.startswith("the decoder is not compiled: torch.compile ")
