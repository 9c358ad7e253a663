"""Random weights under which a codec behaves like a trained one.

A freshly initialised NeuCodec is useless for comparisons: every code is the centre level, weight norm is the
identity, every affine norm does nothing and the audio is silent. Here every parameter takes part, all levels of
all eight digits of a code occur, and some magnitudes reach the decoder's clip.

This file is read by two environments (ours, and the one that holds upstream), so it knows neither code base:
it goes by the names and shapes that both use for their parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Mean and deviation of the quantizer's input that spread codes over all four levels of the double FSQ bound:
# pulled back through both bounds, the three rounding boundaries lie at -0.81, -0.24 and 0.41.
_LATENT_MEAN, _LATENT_DEVIATION = -0.24, 0.7

# The log-magnitude of the spectrum: most bins audible, the first few beyond the clip at 100 (log 4.6).
_LOUD_BINS, _LOUD_BIAS, _MAGNITUDE_BIAS = 3, 5.0, 0.5


@torch.no_grad()
def randomise(model: nn.Module, seed: int) -> None:
    """Give every parameter of ``model`` a random value of a size that keeps signals in range through many layers."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.numel() == 0:  # the distilled model's cache tokens, of which it has none
            continue
        leaf = name.rsplit(".", 1)[-1]
        if leaf == "alpha" and parameter.ndim == 3:  # the snake activation's frequency itself
            parameter.uniform_(0.5, 1.5, generator=generator)
        elif leaf in ("alpha", "beta", "gamma"):  # its logarithm and that of an inverse size; a response norm
            parameter.normal_(0, 0.3, generator=generator)
        elif "position_bias" in name or "dynamic_pos_bias" in name:  # networks of distances up to thousands
            parameter.normal_(0, 0.05, generator=generator)
        elif leaf in ("weight_g", "original0"):
            parameter.uniform_(0.4, 1.0, generator=generator)
        elif leaf == "bias":
            parameter.normal_(0, 0.05, generator=generator)
        elif parameter.ndim == 1:  # the weights of norms
            parameter.normal_(0, 0.1, generator=generator).add_(1)
        else:
            parameter.normal_(0, 0.8 / math.sqrt(parameter[0].numel()), generator=generator)


@torch.no_grad()
def spread_codes(project_in: nn.Linear, encode: Callable[[], object]) -> float:
    """Scale and shift the quantizer's input projection so that all levels of every digit occur.

    Args:
        project_in: the linear layer that makes the quantizer's input; changed in place.
        encode: runs the encoder over some speech, through ``project_in``.

    Returns:
        The largest factor by which a row was scaled. If it is large, the encoder hardly reacts to its input,
        rounding errors grow with it, and a comparison says little.
    """
    seen: list[Tensor] = []
    handle = project_in.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach()))
    try:
        encode()
    finally:
        handle.remove()
    values = torch.cat([value.reshape(-1, value.shape[-1]) for value in seen])
    scale = _LATENT_DEVIATION / values.std(dim=0)
    project_in.bias.copy_((project_in.bias - values.mean(dim=0)) * scale + _LATENT_MEAN)
    project_in.weight.mul_(scale[:, None])
    return scale.max().item()


@torch.no_grad()
def make_audible(head: nn.Linear) -> None:
    """Set the biases of the decoder's last layer, (magnitudes, phases), so that audio is loud and some bins clip."""
    magnitudes = head.bias[: head.bias.numel() // 2]
    magnitudes.add_(_MAGNITUDE_BIAS)
    magnitudes[:_LOUD_BINS] = _LOUD_BIAS
