"""The model `tiny`: its configuration, how it starts, and how it is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from losses import SpreadLoss
from torch import Tensor, nn
from transformers import NeuCodecConfig, Wav2Vec2BertConfig

from neucodec_tts import NeuCodec
from neucodec_tts.codec.acoustic_encoder import AntiAliasedSnake


def tiny_config(levels: Sequence[int] | None = None) -> NeuCodecConfig:
    """Just under 5 million parameters, 10 MB in float16, and the 65,536 codes at 50 Hz of the large model.

    The acoustic encoder works at 16 kHz, and so takes much of the time however small it is: two channels, and a stride
    of 8 at once. It adds level and timbre to the semantic branch, which hears the mel bands normalised.
    """
    semantic = Wav2Vec2BertConfig(
        hidden_size=144,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=576,
        conformer_conv_dropout=0.0,
        feature_projection_input_dim=160,
    )
    return NeuCodecConfig(
        hidden_size=224,
        intermediate_size=640,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=56,
        encoder_hidden_size=2,
        downsampling_ratios=[8, 5, 4, 2],
        semantic_model_config=semantic,
        activation_dropout=0.0,
        quantization_dim=224 + 144,
        quantization_levels=list(levels or [4] * 8),
    )


def full_lengths(waveform: Tensor) -> Tensor:
    """The lengths (B,) of a batch (B, T) without padding."""
    return torch.full((len(waveform),), waveform.shape[-1], device=waveform.device)


@torch.no_grad()
def initialise(codec: NeuCodec, waveform: Tensor) -> None:
    """Start where gradients flow: sound that is not silent, and codes spread over all levels.

    `waveform` (B, T) is a first batch: the quantizer's inputs are shifted and scaled to fit it.
    """
    for module in codec.semantic_encoder.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d)):
            module.reset_parameters()  # transformers' own start is too small for two layers
    head = codec.acoustic_decoder.head
    head.linear.bias[: head.n_fft // 2 + 1] = -2.0  # the log-magnitude half
    project = codec.quantizer.project_in
    latents, _ = codec.encode_latents(waveform, full_lengths(waveform))
    values = project(latents).flatten(0, 1)
    # Through both bounds, each of the four levels then holds a quarter of a normal distribution.
    scale = 0.9 / values.std(dim=0)
    project.weight *= scale[:, None]
    project.bias.copy_((project.bias - values.mean(dim=0)) * scale - 0.24)


def copied(codec: NeuCodec, same_codes: bool) -> NeuCodec:
    """A copy to go on training with; unless its codes will keep their meaning, it is a codec of another id."""
    values = codec.config.to_dict() | {"codec_id": codec.codec_id}
    if not same_codes:
        values.pop("codec_id")
    new = NeuCodec(NeuCodecConfig.from_dict(values)).to(codec.device)
    new.load_state_dict(codec.state_dict())
    return new


@torch.no_grad()
def requantized(codec: NeuCodec, levels: Sequence[int]) -> NeuCodec:
    """A copy with another codebook, of as many dimensions or fewer, that starts as near to the old one as it can.

    The digits of a trained quantizer are alike in spread and nearly independent (`SpreadLoss`), so that turning its
    space leaves them so. The new dimensions are those directions that move the quantizer's output most.
    """
    values = codec.config.to_dict() | {"quantization_levels": list(levels)}
    values.pop("codec_id", None)  # its codes mean something else
    new = NeuCodec(NeuCodecConfig.from_dict(values)).to(codec.device)
    old_quantizer, quantizer = codec.quantizer, new.quantizer
    kept = {name: x for name, x in codec.state_dict().items() if not name.startswith("quantizer.")}
    new.load_state_dict(kept, strict=False)
    if len(levels) > len(old_quantizer.levels):
        raise SystemExit(
            f"{len(levels)} levels: the checkpoint has but {len(old_quantizer.levels)} dimensions"
        )
    # Output of both: weight @ (digit / half). A normal value through the bounds comes out with about this spread.
    unit = (old_quantizer.levels // 2).float()
    turn = torch.linalg.svd(old_quantizer.project_out.weight.float() / unit)[2][: len(levels)]  # (new, old)
    centre = SpreadLoss.MEAN
    project = old_quantizer.project_in
    quantizer.project_in.weight.copy_(turn @ project.weight)
    quantizer.project_in.bias.copy_(turn @ (project.bias - centre) + centre)
    weight = (old_quantizer.project_out.weight / unit) @ turn.T  # for digits with a spread of four levels'
    stretch = (quantizer.levels // 2).float() * 4 / quantizer.levels
    quantizer.project_out.weight.copy_(weight * stretch)
    # Digits lie about -0.5 with an even number of levels: what was left out counts by its mean.
    lost = -0.5 * (old_quantizer.project_out.weight / unit).sum(1) + 0.5 * weight.sum(1)
    quantizer.project_out.bias.copy_(old_quantizer.project_out.bias + lost)
    return new


@contextmanager
def unfiltered(active: bool) -> Iterator[None]:
    """Compute the acoustic encoder's activations without their anti-aliasing filters, which take a third of a step.

    With so few channels the two differ little. The last quarter of the training has the filters.
    """
    exact = AntiAliasedSnake.forward

    def plain(self: AntiAliasedSnake, x: Tensor, ragged: object = None) -> Tensor:
        frequency, magnitude = self.act.alpha.exp()[:, None], self.act.beta.neg().exp()[:, None]
        return torch.addcmul(x, (x * frequency).sin().square(), magnitude)

    if active:
        AntiAliasedSnake.forward = plain  # type: ignore[method-assign]
    try:
        yield
    finally:
        AntiAliasedSnake.forward = exact  # type: ignore[method-assign]


class Average:
    """An exponential moving average of the weights: what is measured and written."""

    def __init__(self, codec: NeuCodec, decay: float = 0.999) -> None:
        self.codec = NeuCodec(codec.config).to(codec.device).eval().requires_grad_(False)
        self.codec.load_state_dict(codec.state_dict())
        self.decay = decay

    @torch.no_grad()
    def update(self, codec: NeuCodec, step: int) -> None:
        """Take in the weights after step number `step`; over the first steps the average is short."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.codec.parameters()), list(codec.parameters()), 1 - decay)


def export(codec: NeuCodec, folder: Path) -> None:
    """Write the weights in float16, in the layout that `NeuCodec` and transformers' `NeuCodecModel` load."""
    half = NeuCodec(codec.config).half()
    half.load_state_dict(codec.state_dict())
    half.save_pretrained(folder)
