"""Our codec's answers, in the ways in which they are compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from transformers import NeuCodecConfig

from neucodec_tts import DistillNeuCodec, NeuCodec
from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig
from neucodec_tts.codec.features import pad_waveforms
from tests.parity.random_weights import make_audible, randomise, spread_codes
from tests.parity.signals import speechlike


@torch.no_grad()
def encode_in_one_batch(codec: NeuCodec, waveforms: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Codes (F,) of waveforms (T,) computed together, however much of the batch is padding.

    ``NeuCodec.encode`` sorts by length and so pads little; here nothing is left to its planning.
    """
    tensors = [torch.from_numpy(waveform) for waveform in waveforms.values()]
    padded, lengths = pad_waveforms(tensors, codec.input_hop_length, codec.device)
    latents, frames = codec.encode_latents(padded, lengths)
    codes = codec.quantizer(latents)[1]
    return {name: item[:count] for name, item, count in zip(waveforms, codes, frames.tolist(), strict=True)}


def decode_in_one_batch(codec: NeuCodec, codes: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Samples of code sequences (F,) computed together, as ``encode_in_one_batch``."""
    decoded = codec.decode_batch([torch.from_numpy(sequence) for sequence in codes.values()])
    return dict(zip(codes, decoded, strict=True))


def encode_each(codec: NeuCodec, waveforms: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Codes (F,) of 16 kHz waveforms (T,), one at a time."""
    return {name: codec.encode(waveform, 16_000) for name, waveform in waveforms.items()}


def encode_list(codec: NeuCodec, waveforms: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Codes (F,) of 16 kHz waveforms (T,), all in one call."""
    return dict(zip(waveforms, codec.encode(list(waveforms.values()), 16_000), strict=True))


def random_codec(config: NeuCodecConfig, seed: int = 0) -> NeuCodec:
    """Our codec with random weights under which it uses its whole codebook and is not silent."""
    kind = DistillNeuCodec if isinstance(config, DistillNeuCodecConfig) else NeuCodec
    codec = kind(config).eval().requires_grad_(False)
    randomise(codec, seed)
    spread_codes(codec.quantizer.project_in, lambda: codec.encode(speechlike(64_000, seed=5), 16_000))
    make_audible(codec.acoustic_decoder.head.linear)
    return codec
