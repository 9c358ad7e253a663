"""One pass through a codec in training: what is heard, coded, and said again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neucodec_tts.codec.devices import exact_math
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.training.codec.losses.semantic import SemanticReconstruction
from neucodec_tts.training.codec.models import Trained, full_lengths


@dataclass(frozen=True)
class Pass:
    """The result of one pass."""

    audio: Tensor
    """float32 (B, T) at the decoder's rate."""
    values: Tensor | None
    """The quantizer's inputs (B, L, D), if the encoder learns."""
    digits: Tensor | None
    """The same through its bounds."""
    codes: Tensor
    """LongTensor (B, L)."""
    semantic: Tensor | None
    """The semantic loss, a scalar, if it is asked for."""


class Reconstruction(nn.Module):
    """The codec and what learns with it, as one module: gradients of all its parts are shared between processes.

    Args:
        codec: to be trained.
        trained: what of it learns; the rest computes no gradients.
        semantic: rebuilds a teacher's features, if that is a loss.
    """

    def __init__(
        self, codec: NeuCodec, trained: Trained, semantic: SemanticReconstruction | None = None
    ) -> None:
        super().__init__()
        self.codec, self.trained, self.semantic = codec, trained, semantic

    def forward(
        self,
        heard: Tensor,
        wanted: Tensor | None = None,
        shaken: Tensor | None = None,
        codes: Tensor | None = None,
    ) -> tuple[Pass, Tensor | None]:
        """Encode, quantize and decode.

        Args:
            heard: float32 (B, T) at the encoder's rate, whole codes.
            wanted: a teacher's features (B, about L, D), if the codec learns to keep them.
            shaken: some of the segments, changed so that they should get the same codes (b, T): the first ones.
            codes: of the segments, LongTensor (B, L), if they are known and the decoder alone learns.

        Returns:
            The pass, and the quantizer's inputs for ``shaken``.
        """
        codec = self.codec
        if self.trained == "decoder":
            # In full precision, so that the codes are those that everybody else gets.
            with torch.no_grad(), exact_math(heard.device):
                if codes is None:
                    latents = codec.encode_latents(heard, full_lengths(heard))[0].float()
                    codes = codec.quantizer(latents)[1]
                quantized = codec.quantizer.lookup(codes)
            values = digits = None
        else:
            latents = codec.encode_latents(heard, full_lengths(heard))[0].float()
            with torch.autocast(heard.device.type, enabled=False):
                values = codec.quantizer.project_in(latents)
                digits = codec.quantizer.bounded(latents)
                quantized, codes = codec.quantizer(latents)
        semantic = None
        if self.semantic is not None and wanted is not None:
            semantic = self.semantic(quantized, wanted)
        again = None
        if shaken is not None:
            latents = codec.encode_latents(shaken, full_lengths(shaken))[0].float()
            again = codec.quantizer.project_in(latents)
        audio = codec.decode_latents(quantized).float()
        return Pass(audio, values, digits, codes, semantic), again


def within_band(audio: Tensor, bandwidth: Tensor, rate: int) -> Tensor:
    """Reconstructions without what their targets cannot hold, so that narrow recordings teach no dullness.

    Args:
        audio: float32 (B, T).
        bandwidth: of each target, Hz (B,).
        rate: of the audio, Hz.
    """
    if bool((bandwidth >= 0.98 * rate / 2).all()):
        return audio
    spectrum = torch.fft.rfft(audio)
    hertz = torch.linspace(0, rate / 2, spectrum.shape[-1], device=audio.device)
    # A slope of 3 % of the band, so that the filter does not ring.
    edge = bandwidth[:, None].clamp(max=rate)
    keep = ((edge - hertz) / (0.03 * edge)).clamp(0, 1)
    keep = torch.where(edge >= 0.98 * rate / 2, torch.ones_like(keep), keep)
    return torch.fft.irfft(spectrum * keep, audio.shape[-1])
