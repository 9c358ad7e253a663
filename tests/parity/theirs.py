"""The codec of ``transformers``, one item at a time: its own batches let padding into the answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import NeuCodecConfig, NeuCodecFeatureExtractor, NeuCodecModel

from tests.parity.random_weights import make_audible, randomise, spread_codes


@dataclass(frozen=True)
class Theirs:
    """``NeuCodecModel`` with its feature extractor."""

    model: NeuCodecModel
    extractor: NeuCodecFeatureExtractor

    @staticmethod
    def random(config: NeuCodecConfig, calibration: np.ndarray, seed: int = 0) -> Theirs:
        """With random weights under which codes spread over all levels on ``calibration``, float32 (T,)."""
        theirs = Theirs(NeuCodecModel(config).eval(), NeuCodecFeatureExtractor())
        randomise(theirs.model, seed)
        spread_codes(theirs.model.quantizer.project_in, lambda: theirs.encode(calibration))
        make_audible(theirs.model.acoustic_decoder.head.linear)
        return theirs

    @staticmethod
    def from_pretrained(folder: Path) -> Theirs:
        """The content of ``folder``, by their own loaders."""
        return Theirs(
            NeuCodecModel.from_pretrained(folder).eval(), NeuCodecFeatureExtractor.from_pretrained(folder)
        )

    def save_pretrained(self, folder: Path, max_shard_size: str = "50GB") -> None:
        """Write ``folder`` by their own means."""
        self.model.save_pretrained(folder, max_shard_size=max_shard_size)
        self.extractor.save_pretrained(folder)

    @torch.no_grad()
    def encode(self, waveform: np.ndarray) -> tuple[Tensor, Tensor]:
        """Codes (F,) of a 16 kHz waveform (T,), and the values (F, 8) that were rounded to them."""
        seen: list[Tensor] = []
        quantizer = self.model.quantizer
        handle = quantizer.project_in.register_forward_hook(
            lambda _module, _inputs, output: seen.append(output)
        )
        try:
            inputs = self.extractor(waveform, sampling_rate=16_000, return_tensors="pt")
            codes = self.model.encode(inputs["input_values"], inputs["input_features"]).audio_codes
        finally:
            handle.remove()
        bound = quantizer.quantizer.bound
        return codes[0, 0].long(), bound(bound(seen[0]))[0]

    @torch.no_grad()
    def decode(self, codes: np.ndarray) -> Tensor:
        """Samples (T,) of codes (F,)."""
        return self.model.decode(torch.from_numpy(codes).view(1, 1, -1)).audio_values[0, 0]
