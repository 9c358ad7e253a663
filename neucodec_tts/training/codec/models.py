"""The codec that a training begins with: a given one, one with another decoder or encoder, or one of random weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from transformers import NeuCodecConfig, Wav2Vec2BertConfig

from neucodec_tts.codec.decoder import DecoderLayer
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.errors import CheckpointError
from neucodec_tts.training.codec.losses.spread import SpreadLoss

log = logging.getLogger(__name__)

Trained: TypeAlias = Literal["decoder", "encoder", "all", "scratch"]
"""The parts of a codec that learn: its decoder, so that codes keep their meaning; its encoder, which learns to find the
codes that the given one finds; all of it; or all of it, from random weights."""
OUTPUT_RATES = (16_000, 24_000, 44_100, 48_000)
_ENCODER = ("semantic_encoder", "semantic_adapter", "acoustic_encoder", "fc_encoder", "quantizer.project_in")


def tiny_config(levels: Sequence[int] = (4,) * 7) -> NeuCodecConfig:
    """The second edition of ``tiny``: about 10 M parameters, 20 MB in float16, and 16,384 codes at 50 Hz.

    The acoustic encoder works at 16 kHz, and so takes much of the time however small it is: four channels, and a
    stride of 8 at once. It adds level and timbre to the semantic branch, which hears the mel bands normalised.
    """
    semantic = Wav2Vec2BertConfig(
        hidden_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=640,
        conformer_conv_dropout=0.0,
        feature_projection_input_dim=160,
    )
    return NeuCodecConfig(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
        encoder_hidden_size=4,
        downsampling_ratios=[8, 5, 4, 2],
        semantic_model_config=semantic,
        activation_dropout=0.0,
        quantization_dim=256 + 160,
        quantization_levels=list(levels),
    )


@torch.no_grad()
def initialise(codec: NeuCodec, waveform: Tensor) -> None:
    """Start where gradients flow: sound that is not silent, and codes spread over all levels.

    Args:
        codec: of random weights.
        waveform: a first batch, float32 (B, T) at the encoder's rate; the quantizer's inputs are brought to fit it.
    """
    for module in codec.semantic_encoder.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d)):
            module.reset_parameters()  # transformers' own start is too small for a few layers
    head = codec.acoustic_decoder.head
    head.linear.bias[: head.n_fft // 2 + 1] = -2.0  # the log-magnitude half
    _spread(codec, waveform, torch.ones(len(codec.quantizer.levels), dtype=torch.bool))


@torch.no_grad()
def spread_new_digits(codec: NeuCodec, waveform: Tensor) -> None:
    """Let digits that the decoder does not hear yet use all their levels.

    Args:
        codec: as ``requantized`` makes it.
        waveform: a first batch, float32 (B, T) at the encoder's rate.
    """
    new = (codec.quantizer.project_out.weight == 0).all(dim=0).cpu()
    if bool(new.any()):
        _spread(codec, waveform, new)


def _spread(codec: NeuCodec, waveform: Tensor, which: Tensor) -> None:
    """Bring some of the quantizer's inputs (BoolTensor (D,)) to the mean and deviation that suit its levels."""
    project = codec.quantizer.project_in
    latents, _ = codec.encode_latents(waveform, full_lengths(waveform))
    values = project(latents.float()).flatten(0, 1)[:, which]
    # Through both bounds, each of the four levels then holds a quarter of a normal distribution.
    scale = SpreadLoss.DEVIATION / values.std(dim=0).clamp(min=1e-6)
    project.weight[which] *= scale[:, None]
    project.bias[which] = (project.bias[which] - values.mean(dim=0)) * scale + SpreadLoss.MEAN


def full_lengths(waveform: Tensor) -> Tensor:
    """The lengths (B,) of a batch (B, T) without padding."""
    return torch.full((len(waveform),), waveform.shape[-1], device=waveform.device)


def changed(
    codec: NeuCodec,
    *,
    output_rate: int | None = None,
    layers: int | None = None,
    encoder_layers: int | None = None,
    encoder_width: int | None = None,
    same_codes: bool = True,
) -> NeuCodec:
    """A trainable copy of a codec, in which some sizes are others: what fits is taken over.

    Args:
        codec: to copy.
        output_rate: of the decoder, Hz, with which its frames become longer or shorter.
        layers: of the decoder's transformer. What is added begins as the identity.
        encoder_layers: of the semantic encoder, the first ones of which are taken over. What is added begins near
            the identity.
        encoder_width: channels of the acoustic encoder's first layer. A wider encoder begins as the old one, a
            narrower one at random.
        same_codes: codes will keep their meaning, and the copy its codec id.

    Raises:
        CheckpointError: the rate is not possible.
    """
    values = codec.config.to_dict()
    values.pop("codec_id", None)
    if same_codes:
        values["codec_id"] = codec.codec_id
    if output_rate is not None:
        if output_rate not in OUTPUT_RATES:
            raise CheckpointError(
                f"output rate {output_rate}: choose one of {', '.join(map(str, OUTPUT_RATES))}"
            )
        values["output_sampling_rate"] = output_rate
    if layers is not None:
        values["num_hidden_layers"] = layers
    if encoder_layers is not None:
        values["semantic_model_config"]["num_hidden_layers"] = encoder_layers
    if encoder_width is not None:
        values["encoder_hidden_size"] = encoder_width
    new = NeuCodec(NeuCodecConfig.from_dict(values)).to(codec.device)
    begin_from(new, codec.state_dict(), codec.config)
    return new


@torch.no_grad()
def begin_from(codec: NeuCodec, weights: Mapping[str, Tensor], config: NeuCodecConfig) -> list[str]:
    """Take over what fits of another codec's weights.

    Decoder layers that it lacks begin as the identity. The head of a decoder of another rate begins with the old
    one's bins at the same frequencies.

    Returns:
        Names of parameters that begin at random.
    """
    own = codec.state_dict()
    new = {
        name: tensor for name, tensor in weights.items() if name in own and own[name].shape == tensor.shape
    }
    missing = sorted(set(own) - set(new))
    for name in ("weight", "bias"):
        key = f"acoustic_decoder.head.linear.{name}"
        if key in missing and key in weights and weights[key].shape[1:] == own[key].shape[1:]:
            new[key] = _head_at_another_rate(
                weights[key], own[key], config.output_sampling_rate, codec.config.output_sampling_rate
            )
            missing.remove(key)
    for key in [key for key in missing if key.startswith("acoustic_encoder.") and key in weights]:
        shape, old_shape = own[key].shape, weights[key].shape
        wider = all(size >= old for size, old in zip(shape, old_shape, strict=True))
        if wider and shape[2:] == old_shape[2:]:
            new[key] = _widened(weights[key], own[key])
            missing.remove(key)
    codec.load_state_dict(new, strict=False)
    old_layers = cast(Wav2Vec2BertConfig, config.semantic_model_config).num_hidden_layers
    semantic_layers: list[Any] = list(codec.semantic_encoder.encoder.layers)
    for deeper in semantic_layers[old_layers:]:
        # Its norm comes after the old last one's, whose outputs have about this mean and deviation in each frame.
        norm = semantic_layers[old_layers - 1].final_layer_norm
        deeper.final_layer_norm.bias.fill_(norm.bias.mean())
        deviation = (norm.weight.square().mean() + norm.bias.var(correction=0)).sqrt()
        deeper.final_layer_norm.weight.fill_(deviation)
        for last in (
            deeper.ffn1.output_dense,
            deeper.self_attn.linear_out,
            deeper.conv_module.pointwise_conv2,
            deeper.ffn2.output_dense,
        ):
            for parameter in last.parameters():
                parameter.zero_()
    added = range(config.num_hidden_layers, codec.config.num_hidden_layers)
    for number in added:
        layer = cast(DecoderLayer, codec.acoustic_decoder.layers[number])
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.fc2.weight.zero_()
        if layer.self_attn.o_proj.bias is not None:
            layer.self_attn.o_proj.bias.zero_()
    fresh = [f"acoustic_decoder.layers.{n}." for n in added]
    fresh += [
        f"semantic_encoder.encoder.layers.{n}."
        for n in range(old_layers, len(codec.semantic_encoder.encoder.layers))
    ]
    begun = [name for name in missing if not name.startswith(tuple(fresh))]
    if begun:
        log.warning("%d tensors begin at random, %s among them", len(begun), begun[0])
    return begun


def _widened(old: Tensor, own: Tensor) -> Tensor:
    """Weights of a layer with more channels, which does to the old ones what it did.

    New channels hear everything, and nothing hears them yet (Net2Net, arXiv:1511.05641, has other ways to the same).
    """
    new = own.clone()
    kept = tuple(slice(size) for size in old.shape)
    if old.ndim > 1:
        new[kept[0]] = 0
    new[kept] = old
    return new


def _head_at_another_rate(old: Tensor, own: Tensor, old_rate: int, rate: int) -> Tensor:
    """Rows for log-magnitudes and phases (2 * bins, ...) of an STFT at another rate.

    Frames are four hops long at both rates, so that bins lie at the same frequencies. A spectrum's numbers grow with
    the rate: its log-magnitudes are shifted.
    """
    magnitude, phase = old.chunk(2)
    new_magnitude, new_phase = (part.clone() for part in own.chunk(2))
    kept = min(len(magnitude), len(new_magnitude))
    new_magnitude[:kept], new_phase[:kept] = magnitude[:kept], phase[:kept]
    if old.ndim == 1:
        new_magnitude[:kept] += torch.tensor(rate / old_rate).log()
        new_magnitude[kept:] = magnitude[-1] - 2.0  # above what the old decoder knew: soft
    return torch.cat([new_magnitude, new_phase])


def freeze(codec: NeuCodec, trained: Trained, frozen: Sequence[str] = ()) -> list[nn.Parameter]:
    """Leave gradients to what is trained alone. Returns those parameters.

    Args:
        codec: to be trained.
        trained: what of it.
        frozen: names of modules of it that stay as they are nevertheless.

    Raises:
        CheckpointError: there is no such module, or nothing is left to train.
    """
    if trained == "decoder":
        parts: Sequence[str] = ("acoustic_decoder",)
    elif trained == "encoder":
        parts = _ENCODER
    else:
        parts = ("",)
    codec.requires_grad_(False)
    for name in parts:
        codec.get_submodule(name).requires_grad_(True)
    for name in frozen:
        try:
            codec.get_submodule(name).requires_grad_(False)
        except AttributeError as problem:
            raise CheckpointError(
                f"the codec has no part {name!r} to freeze: it has {', '.join(dict(codec.named_children()))}"
            ) from problem
    learning = [parameter for parameter in codec.parameters() if parameter.requires_grad]
    if not learning:
        raise CheckpointError(f"with {', '.join(frozen)} frozen there is nothing left to train")
    return learning


@torch.no_grad()
def requantized(codec: NeuCodec, levels: Sequence[int]) -> NeuCodec:
    """A copy with another codebook that starts as near to the old one as it can.

    The digits of a trained quantizer are alike in spread and nearly independent (``SpreadLoss``), so that turning its
    space leaves them so. With fewer dimensions, the new ones are those directions that move the quantizer's output
    most. With more, the old ones stay, and the decoder does not hear the others yet; ``spread_new_digits`` lets them
    use all their levels.
    """
    values: dict[str, Any] = codec.config.to_dict() | {"quantization_levels": list(levels)}
    values.pop("codec_id", None)  # its codes mean something else
    new = NeuCodec(NeuCodecConfig.from_dict(values)).to(codec.device)
    old_quantizer, quantizer = codec.quantizer, new.quantizer
    kept = {name: x for name, x in codec.state_dict().items() if not name.startswith("quantizer.")}
    new.load_state_dict(kept, strict=False)
    unit = (old_quantizer.levels // 2).float()
    out = old_quantizer.project_out.weight.float() / unit  # for digits in whole numbers, (Q, old)
    old_levels = old_quantizer.levels.float()
    if len(levels) < len(old_levels):
        turn = torch.linalg.svd(out)[2][: len(levels)]
        old_levels = old_levels.mean().expand(len(levels))
    else:
        turn = torch.eye(len(old_levels), device=out.device)  # (new or old, old)
    centre = SpreadLoss.MEAN
    project = old_quantizer.project_in
    quantizer.project_in.weight[: len(turn)] = turn @ project.weight
    quantizer.project_in.bias[: len(turn)] = turn @ (project.bias - centre) + centre
    for row in quantizer.project_in.weight[len(turn) :]:
        row.mul_(project.weight.norm(dim=1).mean() / row.norm())
    quantizer.project_in.bias[len(turn) :] = centre
    weight = out @ turn.T
    kept_levels = quantizer.levels[: len(turn)].float()
    stretch = (kept_levels / 2).floor() * old_levels / kept_levels
    quantizer.project_out.weight.zero_()
    quantizer.project_out.weight[:, : len(turn)] = weight * stretch
    # Digits lie about -0.5 with an even number of levels: what was left out counts by its mean.
    lost = -0.5 * out.sum(1) + 0.5 * weight.sum(1)
    quantizer.project_out.bias.copy_(old_quantizer.project_out.bias + lost)
    return new
