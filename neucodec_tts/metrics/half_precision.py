"""How far a codec in half precision agrees with the same codec in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from neucodec_tts.codec.neucodec import NeuCodec


@dataclass(frozen=True)
class HalfPrecision:
    """Agreement of a lower precision with float32.

    Attributes:
        dtype: the lower precision.
        codes: share of codes that are equal, from 0 to 1.
        digits: share of the codes' digits that are equal. One of eight differs in most codes that do.
        snr: of the sound of float32's codes, decoded in the lower precision, against float32, in dB.
    """

    dtype: str
    codes: float
    digits: float
    snr: float


def in_precision(codec: NeuCodec, dtype: torch.dtype) -> NeuCodec:
    """A copy of a codec in another precision, as ``from_pretrained(dtype=...)`` loads it."""
    import copy

    from neucodec_tts.codec.precision import set_precision

    converted = copy.deepcopy(codec)
    set_precision(converted, dtype)
    return converted


def measure_agreement(exact: NeuCodec, codec: NeuCodec, waveforms: Sequence[torch.Tensor]) -> HalfPrecision:
    """Encode recordings with both, and decode the codes of the first with both.

    Args:
        exact: in float32.
        codec: the same weights in a lower precision.
        waveforms: recordings (samples,) at 16 kHz.
    """
    import torch

    wanted = exact.encode([*waveforms], exact.input_sample_rate)
    codes, found = torch.cat(wanted), torch.cat(codec.encode([*waveforms], exact.input_sample_rate))
    digits = [exact.quantizer.digits(each.to(exact.device)) for each in (codes, found)]
    return HalfPrecision(
        str(codec.dtype).removeprefix("torch."),
        float((codes == found).double().mean()),
        float((digits[0] == digits[1]).double().mean()),
        decibels(torch.cat(exact.decode(wanted)), torch.cat(codec.decode(wanted))),
    )


def decibels(wanted: torch.Tensor, found: torch.Tensor) -> float:
    """Signal-to-noise ratio of two waveforms of one shape, in dB; infinite for equal ones."""
    noise = float((wanted - found).double().square().sum())
    signal = float(wanted.double().square().sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
