"""The game of decoder and discriminators, and the distance of what the discriminators see.

Sources: least squares, Mao et al. 2016 (arXiv:1611.04076), as in HiFi-GAN (arXiv:2010.05646) and BigCodec; hinge, Lim
and Ye 2017 (arXiv:1705.02894), as in Vocos (arXiv:2306.00814); feature matching, MelGAN (arXiv:1910.06711).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Game: TypeAlias = Literal["least-squares", "hinge"]


def discriminator_loss(
    real: Sequence[Tensor], fake: Sequence[Tensor], game: Game = "least-squares"
) -> Tensor:
    """The loss of the discriminators: the mean over them.

    Args:
        real: logits of each about recordings, any shape.
        fake: the same about reconstructions.
        game: which loss.
    """
    if game == "hinge":
        losses = [(1 - r).relu().mean() + (1 + f).relu().mean() for r, f in zip(real, fake, strict=True)]
    else:
        losses = [(1 - r).square().mean() + f.square().mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def generator_loss(fake: Sequence[Tensor], game: Game = "least-squares") -> Tensor:
    """The loss of the decoder that is found out: the mean over discriminators.

    Args:
        fake: logits of each about reconstructions, any shape.
        game: which loss.
    """
    losses = [-f.mean() if game == "hinge" else (1 - f).square().mean() for f in fake]
    return torch.stack(losses).mean()


def feature_matching(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """L1 distance of the discriminators' hidden layers, relative to what the recordings have there: the mean over all.

    Args:
        real: hidden layers of each discriminator for recordings; no gradient passes through them.
        fake: the same for reconstructions.
    """
    distances = [
        (f - r.detach()).abs().mean() / r.detach().abs().mean().clamp(min=1e-4)
        for theirs, ours in zip(real, fake, strict=True)
        for r, f in zip(theirs, ours, strict=True)
    ]
    return torch.stack(distances).mean()
