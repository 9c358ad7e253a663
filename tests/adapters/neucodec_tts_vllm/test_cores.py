"""Where the codec computes beside vLLM's CPU engine."""

from __future__ import annotations

import os

import pytest

from neucodec_tts_vllm.cores import spare_cores

processes = pytest.importorskip("vllm.utils.ompmultiprocessing", reason="needs vLLM's CPU engine")


@pytest.mark.parametrize(
    ("bound", "reserved", "expected"),
    [
        ([[0]], [1], [1]),
        ([[0, 1], [2]], [], [3]),
        ([[0, 1, 2, 3]], [], None),  # it takes all
        ([list(range(15))], [15], None),  # what it leaves is too little
        ([], [], None),  # it binds nothing
        ([[0]], [77], None),  # which this process may not use
    ],
)
def test_the_codec_takes_what_vllm_leaves(monkeypatch, bound, reserved, expected):
    """vLLM's own class says what is bound; how it finds out depends on the machine."""

    def made(self, config):
        self.cpu_lists, self.reserved_cpu_list = bound, reserved

    monkeypatch.setattr(processes.OMPProcessManager, "__init__", made)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4 if reserved != [15] else 16)))
    assert spare_cores(None) == expected


def test_a_vllm_that_says_nothing_binds_nothing(monkeypatch):
    monkeypatch.delattr(processes, "OMPProcessManager")
    assert spare_cores(None) is None
