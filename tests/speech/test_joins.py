"""Pauses and seams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neucodec_tts.errors import EngineError
from neucodec_tts.speech import Pauses
from neucodec_tts.speech.joins import Joiner, Seam, seam

HOP, RATE = 480, 24_000


def silence(count: int) -> np.ndarray:
    return np.zeros(count, np.float32)


def sound(loud: int, silent_before: int = 0, silent_after: int = 0) -> np.ndarray:
    """Frames of a loud tone between silent ones."""
    tone = 0.3 * np.sin(np.arange(loud * HOP, dtype=np.float32) * 0.1)
    return np.concatenate([silence(silent_before * HOP), tone, silence(silent_after * HOP)])


@pytest.mark.parametrize(
    ("after", "before", "wanted", "expected"),
    [
        (0, 0, 0.4, Seam(silence=20 * HOP)),
        (5, 3, 0.4, Seam(silence=12 * HOP)),
        (20, 0, 0.4, Seam()),
        (18, 6, 0.4, Seam(skip=4 * HOP)),
        (40, 6, 0.4, Seam(skip=6 * HOP)),  # what has been played cannot be taken back
        (0, 0, 0.0, Seam()),
        (0, 5, 0.0, Seam(skip=5 * HOP)),
    ],
)
def test_the_silence_that_segments_bring_counts(after: int, before: int, wanted: float, expected: Seam):
    tail, head = sound(10, silent_after=after), sound(10, silent_before=before)
    assert seam(tail, head, wanted, HOP, RATE) == expected


def test_faint_noise_is_silence_too():
    noise = 5e-4 * np.random.default_rng(0).standard_normal(10 * HOP, np.float32)
    assert seam(np.concatenate([sound(10), noise]), sound(10), 0.4, HOP, RATE).silence == 10 * HOP


def test_segments_of_silence_only():
    assert seam(silence(30 * HOP), silence(10 * HOP), 0.4, HOP, RATE) == Seam(skip=10 * HOP)
    assert seam(silence(0), silence(0), 0.4, HOP, RATE) == Seam(silence=20 * HOP)


def joined(pieces: list[list[np.ndarray]], between: list[Seam]) -> np.ndarray:
    joiner = Joiner(RATE)
    parts = []
    for pushes, seam_before in zip(pieces, between, strict=True):
        parts.append(joiner.start(seam_before))
        parts += [joiner.push(samples) for samples in pushes]
        parts.append(joiner.end())
    return np.concatenate(parts)


_sizes = st.lists(st.integers(0, 700), max_size=6)


@given(st.lists(_sizes, min_size=1, max_size=4), st.lists(st.integers(0, 300), min_size=4, max_size=4))
def test_any_split_gives_the_same_sound(sizes: list[list[int]], skips: list[int]):
    source = np.random.default_rng(0)
    pieces = [[source.standard_normal(n, np.float32) for n in row] for row in sizes]
    whole = [[np.concatenate([silence(0), *row])] for row in pieces]
    between = [
        Seam(silence=7 * number, skip=0 if number % 2 else skips[number]) for number in range(len(pieces))
    ]
    result = joined(pieces, between)
    assert np.array_equal(result, joined(whole, between))
    lengths = [
        max(0, len(row[0]) - where.skip) + where.silence for row, where in zip(whole, between, strict=True)
    ]
    assert len(result) == sum(lengths)


def test_no_clicks():
    """A tone that begins and ends at its peak does so within 5 ms, and is untouched between."""
    tone = np.ones(4800, np.float32)
    result = joined([[tone], [tone]], [Seam(), Seam(silence=2400)])
    steps = np.abs(np.diff(result))
    assert float(steps.max()) < 0.01
    assert float(result[0]) < 0.01
    assert float(result[-1]) < 0.01
    assert np.array_equal(result[120:4680], tone[120:4680])
    assert not result[4800:7200].any()


def test_pauses_out_of_range():
    with pytest.raises(EngineError, match="after 'sentence' is -1 s"):
        Pauses(sentence=-1)
    with pytest.raises(EngineError, match="after 'clause'"):
        Pauses(clause=float("nan"))
