"""The semantic encoder of the distilled codec: transformers' HuBERT, of which DistilHuBERT has two layers."""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.parametrize import remove_parametrizations
from transformers import HubertConfig, HubertModel

from neucodec_tts.codec.devices import share_of
from neucodec_tts.codec.ragged import Ragged
from neucodec_tts.errors import CheckpointError

if TYPE_CHECKING:
    from transformers.models.hubert.modeling_hubert import HubertGroupNormConvLayer

PADDING = 160
"""Samples of silence that upstream adds on either side."""
_CHUNK_FRAMES = {"cpu": 100.0, "gpu": 8_000.0}  # through the convolutions at a time, over all items


class DistilHubert(HubertModel):
    """HuBERT over ragged batches; modules, parameters and their names are those of ``transformers``.

    Only weight norm is missing: it is folded into the weights of the positional convolution.
    """

    float32_parts = ("feature_extractor.conv_layers.0",)

    def __init__(self, config: HubertConfig) -> None:
        if config.feat_extract_norm != "group" or config.do_stable_layer_norm or config.conv_pos_batch_norm:
            raise CheckpointError(
                "semantic_model_config must have feat_extract_norm='group', do_stable_layer_norm=False and "
                f"conv_pos_batch_norm=False, as DistilHuBERT has; not {config.feat_extract_norm!r}, "
                f"{config.do_stable_layer_norm} and {config.conv_pos_batch_norm}"
            )
        super().__init__(config)
        remove_parametrizations(self.encoder.pos_conv_embed.conv, "weight")
        self.hop_length = math.prod(config.conv_stride)
        # Samples that one frame is made of, 400.
        self.width = reduce(
            lambda width, layer: (width - 1) * layer[1] + layer[0],
            reversed(list(zip(config.conv_kernel, config.conv_stride, strict=True))),
            1,
        )

    def forward(self, waveform: Tensor, lengths: Tensor, normalize: bool = False) -> Tensor:
        """Encode a batch.

        Args:
            waveform: (B, T) at 16 kHz, T a multiple of the hop (320 samples), zero beyond each item's end.
            lengths: valid samples of each item, LongTensor (B,), multiples of the hop.
            normalize: give each item zero mean and unit variance first.

        Returns:
            (B, T / hop, hidden); what lies beyond an item's end has no meaning.
        """
        padded = F.pad(waveform, (PADDING, PADDING))
        samples = lengths + 2 * PADDING
        if normalize:
            padded = _normalize(padded, samples)
        hidden = self.feature_projection(self._convolve(padded, samples).transpose(1, 2))
        encoder = self.encoder
        ragged = Ragged.of(lengths // self.hop_length, hidden.shape[1])
        hidden = ragged.zero(hidden, time=1)  # for the positional convolution
        mask = None if ragged.mask is None else ragged.mask[:, None, None, :]
        hidden = encoder.dropout(encoder.layer_norm(hidden + encoder.pos_conv_embed(hidden)))
        for layer in encoder.layers:
            hidden = layer(hidden, attention_mask=mask)
        return hidden

    @property
    def first_layer(self) -> HubertGroupNormConvLayer:
        """The convolution of the waveform, and the group norm behind it."""
        return cast("HubertGroupNormConvLayer", self.feature_extractor.conv_layers[0])

    def _convolve(self, padded: Tensor, samples: Tensor) -> Tensor:
        """Padded waveform (B, T + 320) to (B, C, frames); its convolutions pad nothing, so that pieces are exact."""
        first, others = self.first_layer, self.feature_extractor.conv_layers[1:]
        scale, shift = self._group_norm(padded, samples)
        padded = padded.to(first.conv.weight.dtype)
        dtype = self.feature_projection.projection.weight.dtype
        frames = (padded.shape[1] - self.width) // self.hop_length + 1
        chunk = max(1, int(share_of(_CHUNK_FRAMES, padded.device)) // padded.shape[0])
        pieces = []
        for start in range(0, frames, chunk):
            stop = min(start + chunk, frames)
            begin, end = start * self.hop_length, (stop - 1) * self.hop_length + self.width
            hidden = first.conv(padded[:, None, begin:end])
            hidden = first.activation(torch.addcmul(shift, hidden, scale)).to(dtype)
            for layer in others:
                hidden = layer(hidden)
            pieces.append(hidden)
        return torch.cat(pieces, dim=-1)

    def _group_norm(self, padded: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """The group norm behind the first convolution as a scale and a shift, (B, C, 1) each.

        Its statistics are those of each channel over the whole item. They follow from the mean and the covariance
        of the few samples under the kernel, so that the convolution need not be computed for them.
        """
        conv, norm = self.first_layer.conv, self.first_layer.layer_norm
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        dtype = torch.float32 if padded.device.type == "mps" else torch.float64
        patches = padded.to(dtype).unfold(-1, kernel, stride)
        count = (samples - kernel) // stride + 1
        outside = torch.arange(patches.shape[1], device=padded.device) >= count[:, None]
        count = count.view(-1, 1, 1)
        mean = patches.masked_fill(outside[..., None], 0.0).sum(dim=1, keepdim=True) / count
        centred = (patches - mean).masked_fill(outside[..., None], 0.0)
        covariance = centred.mT @ centred / count
        weight = conv.weight[:, 0].to(dtype)
        variance = ((weight @ covariance) * weight).sum(dim=-1)
        scale = norm.weight.to(dtype) * torch.rsqrt(variance + norm.eps)
        centre = mean[:, 0] @ weight.T + (0 if conv.bias is None else conv.bias.to(dtype))
        shift = norm.bias.to(dtype) - centre * scale
        return scale[..., None].to(conv.weight.dtype), shift[..., None].to(conv.weight.dtype)


def _normalize(padded: Tensor, samples: Tensor) -> Tensor:
    """Zero mean and unit variance over each item's own samples; as ``Wav2Vec2FeatureExtractor`` does."""
    mask = torch.arange(padded.shape[1], device=padded.device) < samples[:, None]
    count = samples[:, None]
    centred = (padded - padded.masked_fill(~mask, 0.0).sum(dim=1, keepdim=True) / count).masked_fill(
        ~mask, 0.0
    )
    variance = centred.square().sum(dim=1, keepdim=True) / count
    return centred * torch.rsqrt(variance + 1e-7)
