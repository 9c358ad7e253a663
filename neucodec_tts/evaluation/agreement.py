"""How far the codes of two encoders agree (the question of arXiv:2509.09550, section on distillation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from neucodec_tts.codec.quantizer import FiniteScalarQuantizer
from neucodec_tts.errors import CodesError
from neucodec_tts.evaluation.codecs import AudioCodec, OurCodec


@dataclass(frozen=True)
class Agreement:
    """Shares from 0 to 1, over all frames that both encoders gave."""

    frames: int
    codes: float
    """Codes that are equal."""
    digits: tuple[float, ...]
    """Digits that are equal, each digit of the code by itself, the least significant first."""
    near_digits: float
    """Digits that differ by one level at most."""
    cosine: float
    """Mean cosine of the angle between the vectors that the codes stand for."""
    one_codebook: bool
    """True if both codes mean the same, so that each codec decodes those of the other."""


def compare(first: AudioCodec, second: AudioCodec, pairs: list[tuple[np.ndarray, np.ndarray]]) -> Agreement:
    """Compare codes of the same recordings by two encoders.

    Args:
        first: made the first codes of each pair.
        second: made the second.
        pairs: integers (1, frames); where one is longer by a frame or so, its end is left out.

    Raises:
        CodesError: the codes of one of the two are not those of one codebook of digits with equal levels, or there are
            no recordings.
    """
    if not isinstance(first, OurCodec) or not isinstance(second, OurCodec):
        raise CodesError("codes are compared digit by digit, which only NeuCodec, its kin and X-Codec 2 have")
    quantizers = [each.codec.quantizer for each in (first, second)]
    levels = [each.levels.tolist() for each in quantizers]
    if levels[0] != levels[1]:
        raise CodesError(f"the codes have digits of {levels[0]} and {levels[1]} levels; they cannot agree")
    if not pairs:
        raise CodesError("there are no codes to compare")
    lengths = [min(a.shape[1], b.shape[1]) for a, b in pairs]
    a, b = (
        np.concatenate([pair[side][0, :n] for pair, n in zip(pairs, lengths, strict=True)]).astype(np.int64)
        for side in (0, 1)
    )
    if any(not hasattr(each, "project_out") for each in quantizers):
        raise CodesError("the vectors of codes lie in checkpoints, not in ONNX files; name the checkpoints")
    parts = zip(*(np.array_split(codes, len(pairs)) for codes in (a, b)), strict=True)
    cosines = torch.cat([_cosines(quantizers, part) for part in parts])
    basis = quantizers[0].basis.cpu().numpy()
    digits = [(codes[:, None] // basis) % np.array(levels[0]) for codes in (a, b)]
    return Agreement(
        frames=int(a.size),
        codes=float(np.mean(a == b)),
        digits=tuple(float(share) for share in np.mean(digits[0] == digits[1], axis=0)),
        near_digits=float(np.mean(np.abs(digits[0] - digits[1]) <= 1)),
        cosine=float(cosines.mean()),
        one_codebook=first.codec.codec_id == second.codec.codec_id,
    )


@torch.no_grad()
def _cosines(quantizers: list[FiniteScalarQuantizer], codes: Sequence[np.ndarray]) -> torch.Tensor:
    """Of the angles between the vectors of two sequences of codes (frames,), float32 (frames,)."""
    one, other = (
        quantizer.lookup(torch.from_numpy(each).to(quantizer.basis.device)).float().cpu()
        for quantizer, each in zip(quantizers, codes, strict=True)
    )
    return torch.cosine_similarity(one, other, dim=-1)
