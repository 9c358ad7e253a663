"""A moving average of a codec's weights: smoother than the weights of any step."""

from __future__ import annotations

import torch

from neucodec_tts.codec.neucodec import NeuCodec


class Average:
    """An exponential moving average (Polyak and Juditsky 1992), short over the first steps.

    Args:
        codec: to follow; ``average.codec`` begins as a copy.
        decay: of the past, for each step.
    """

    def __init__(self, codec: NeuCodec, decay: float) -> None:
        self.codec = NeuCodec(codec.config).to(codec.device).eval().requires_grad_(False)
        self.codec.load_state_dict(codec.state_dict())
        self.decay = decay

    @torch.no_grad()
    def update(self, codec: NeuCodec, step: int) -> None:
        """Take in the weights after step number ``step``."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.codec.parameters()), list(codec.parameters()), 1 - decay)
