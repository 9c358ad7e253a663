"""The low-pass filter around each activation of the acoustic encoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TAPS = 12
"""Length of the filter."""


def low_pass_filter() -> Tensor:
    """The 12 taps (12,) float32 of the Kaiser-windowed sinc at half band, with sum 1.

    Source: ``alias_free_torch`` in upstream, ``kaiser_sinc_filter1d(0.25, 0.3, 12)``.
    """
    attenuation = 2.285 * (TAPS // 2 - 1) * math.pi * 4 * 0.3 + 7.95  # 51.02 dB
    beta = 0.1102 * (attenuation - 8.7)  # Kaiser's rule above 50 dB
    window = torch.kaiser_window(TAPS, beta=beta, periodic=False, dtype=torch.float32, device="cpu")
    time = torch.arange(-TAPS // 2, TAPS // 2, device="cpu") + 0.5
    taps = 0.5 * window * torch.sinc(0.5 * time)
    return taps / taps.sum()
