"""Fitting encoders into a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from neucodec_tts.errors import DatasetError
from neucodec_tts_ray.engine import Placement

GPUS = {"CPU": 256.0, "GPU": 8.0}


@pytest.mark.parametrize(
    ("resources", "asked", "expected"),
    [
        (GPUS, {}, Placement(8, 1.0, 9, 8, "cuda", 2)),
        ({"CPU": 32.0, "GPU": 8.0}, {}, Placement(8, 1.0, 4, 3, "cuda", 2)),
        (GPUS, {"num_gpus": 0.5}, Placement(16, 0.5, 9, 8, "cuda", 2)),
        (GPUS, {"concurrency": 3, "workers": 20}, Placement(3, 1.0, 21, 20, "cuda", 2)),
        (GPUS, {"device": "cpu"}, Placement(128, 0.0, 2, 1, "cpu", 1)),
        ({"CPU": 2.0}, {}, Placement(1, 0.0, 2, 1, "cpu", 1)),
        ({"CPU": 1.0}, {}, Placement(1, 0.0, 1, 1, "cpu", 1)),
        ({"CPU": 4.0}, {"workers": 0}, Placement(4, 0.0, 1, 0, "cpu", 1)),
    ],
)
def test_it_is_filled(resources: dict[str, float], asked: dict[str, Any], expected: Placement):
    assert Placement.of(resources, **asked) == expected


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"num_gpus": 9}, "the cluster has 8"),
        ({"concurrency": 9}, "at most 8 do"),
        ({"concurrency": 0}, "concurrency is 0; it must be at least 1"),
        ({"num_gpus": float("nan")}, "num_gpus is nan"),
        ({"num_gpus": 1, "device": "cpu"}, "leave one of them out"),
    ],
)
def test_what_does_not_fit(asked: dict[str, Any], message: str):
    with pytest.raises(DatasetError, match=message):
        Placement.of(GPUS, **asked)
