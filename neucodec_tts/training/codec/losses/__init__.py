"""The losses of a codec: one short file for each, with its source.

All return a scalar tensor. Those of spectra compare a reconstruction with its target, float32 (B, T) at one rate.
"""

from __future__ import annotations

from neucodec_tts.training.codec.losses.adversarial import (
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from neucodec_tts.training.codec.losses.cepstrum import CepstralLoss
from neucodec_tts.training.codec.losses.distillation import digit_distance
from neucodec_tts.training.codec.losses.envelope import EnvelopeLoss
from neucodec_tts.training.codec.losses.mel import MelLoss
from neucodec_tts.training.codec.losses.semantic import SemanticReconstruction, heard_distance
from neucodec_tts.training.codec.losses.spectra import Spectra
from neucodec_tts.training.codec.losses.spread import SpreadLoss
from neucodec_tts.training.codec.losses.stft import STFTLoss

__all__ = [
    "CepstralLoss",
    "EnvelopeLoss",
    "MelLoss",
    "STFTLoss",
    "SemanticReconstruction",
    "Spectra",
    "SpreadLoss",
    "digit_distance",
    "discriminator_loss",
    "feature_matching",
    "generator_loss",
    "heard_distance",
]
