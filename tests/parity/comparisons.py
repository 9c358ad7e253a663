"""When two codecs agree, and by how much."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tests.parity.summary import CHECKED, Checked

if TYPE_CHECKING:
    from tests.parity.reference import Answers

MIN_EQUAL = 0.999
"""Least share of codes that must be equal."""
MAX_BOUNDARY_DISTANCE = 1e-3
"""Largest distance from a rounding boundary, in levels, of a value whose code differs."""
MIN_SNR = 80.0
"""Least signal-to-noise ratio of decoded audio, in dB."""
_LEVELS, _DIGITS = 4, 8


def snr(expected: Tensor, actual: Tensor) -> float:
    """Signal-to-noise ratio in dB of ``actual`` (T,) against ``expected`` (T,); infinite if they are equal."""
    if expected.shape != actual.shape:
        raise AssertionError(f"lengths differ: expected {tuple(expected.shape)}, got {tuple(actual.shape)}")
    expected, actual = expected.double(), actual.double()
    noise = (expected - actual).square().sum().item()
    signal = expected.square().sum().item()
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 and math.isfinite(noise) else -math.inf


def boundary_distance(expected: Tensor, actual: Tensor, bounded: Tensor) -> Tensor:
    """For each code that differs, how far its value lay from being rounded to the other code.

    Args:
        expected, actual: LongTensor (F,).
        bounded: FloatTensor (F, 8), the values that were rounded to the digits of ``expected``.

    Returns:
        FloatTensor (number of codes that differ,), in levels: the largest distance of a code's differing digits;
        infinite if a digit differs by more than one level.
    """
    power = _LEVELS ** torch.arange(_DIGITS)
    expected_digits = expected[:, None] // power % _LEVELS
    actual_digits = actual[:, None] // power % _LEVELS
    if not torch.equal(bounded.round().long() + _LEVELS // 2, expected_digits):
        raise AssertionError("the reference's codes are not its values rounded")
    step = (actual_digits - expected_digits).abs()
    boundary = (expected_digits + actual_digits).double() / 2 - _LEVELS // 2
    distance = (bounded.double() - boundary).abs()
    distance = distance.masked_fill(step == 0, 0.0).masked_fill(step > 1, math.inf)
    return distance.max(dim=1).values[expected != actual]


@dataclass
class Agreement:
    """Running totals of a comparison; a failed ``check`` says what differs and where.

    Args:
        max_distance: how far from a rounding boundary, in levels, a value may lie whose code differs.
    """

    max_distance: float = MAX_BOUNDARY_DISTANCE
    items: int = 0
    codes: int = 0
    equal: int = 0
    worst_distance: float = 0.0
    worst_snr: float = math.inf
    complaints: list[str] = field(default_factory=list)

    def add_codes(self, name: str, expected: Tensor, actual: Tensor, bounded: Tensor) -> None:
        """Compare the codes (F,) of one item; ``bounded`` (F, 8) as in ``boundary_distance``."""
        self.items += 1
        if expected.shape != actual.shape:
            self.complaints.append(f"{name}: {tuple(actual.shape)} codes instead of {tuple(expected.shape)}")
            return
        distances = boundary_distance(expected, actual, bounded)
        self.codes += expected.numel()
        self.equal += expected.numel() - distances.numel()
        if distances.numel():
            worst = distances.max().item()
            self.worst_distance = max(self.worst_distance, worst)
            if worst > self.max_distance:
                where = (expected != actual).nonzero()[:, 0].tolist()
                self.complaints.append(
                    f"{name}: {len(where)} of {len(expected)} codes differ, up to {worst:.2g} levels, at {where[:20]}"
                )

    def add_audio(self, name: str, expected: Tensor, actual: Tensor) -> None:
        """Compare the samples (T,) of one item."""
        self.items += 1
        if expected.shape != actual.shape:
            self.complaints.append(
                f"{name}: {tuple(actual.shape)} samples instead of {tuple(expected.shape)}"
            )
            return
        ratio = snr(expected, actual)
        self.worst_snr = min(self.worst_snr, ratio)
        if not ratio >= MIN_SNR:
            self.complaints.append(f"{name}: {ratio:.1f} dB")

    @property
    def share_equal(self) -> float:
        """Share of codes that are equal, 1 if there were none to compare."""
        return self.equal / self.codes if self.codes else 1.0

    def check(self) -> None:
        """Raise AssertionError unless the codecs agree as they must.

        One code may differ in any case, so that a comparison of a few codes does not hang on a single rounding.
        """
        if self.items == 0:
            raise AssertionError("nothing was compared")
        CHECKED.append(
            Checked(
                os.environ.get("PYTEST_CURRENT_TEST", ""),
                self.items,
                self.codes,
                self.equal,
                self.worst_distance,
                self.worst_snr,
            )
        )
        if self.codes - self.equal > max(1, (1 - MIN_EQUAL) * self.codes):
            self.complaints.append(f"{self.codes - self.equal} of {self.codes} codes differ")
        if self.complaints:
            raise AssertionError("\n".join(self.complaints))


def agreement_of_codes(answers: Answers, codes: Mapping[str, Tensor]) -> Agreement:
    """Compare our codes (F,) with upstream's of the same names."""
    agreement = Agreement()
    for name, actual in codes.items():
        agreement.add_codes(name, answers.codes[name][0, 0], actual, answers.bounded[name][0])
    return agreement


def agreement_of_audio(answers: Answers, audio: Mapping[str, Tensor]) -> Agreement:
    """Compare our samples (T,) with upstream's of the same names."""
    agreement = Agreement()
    for name, actual in audio.items():
        agreement.add_audio(name, answers.audio[name][0, 0], actual)
    return agreement


def shares_of_levels(codes: Iterable[Tensor]) -> np.ndarray:
    """Shares of the levels of each digit, (8, 4)."""
    joined = torch.cat([code.flatten() for code in codes])
    digits = joined[:, None] // _LEVELS ** torch.arange(_DIGITS) % _LEVELS
    counts = np.stack([np.bincount(digit, minlength=_LEVELS) for digit in digits.T.numpy()])
    return counts / counts.sum(axis=1, keepdims=True)
