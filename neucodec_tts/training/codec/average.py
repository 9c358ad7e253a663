"""A moving average of a codec's weights: smoother than the weights of any step."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from neucodec_tts.codec.neucodec import NeuCodec


class Average:
    """An exponential moving average (Polyak and Juditsky 1992), short over the first steps.

    What does not learn is shared with the codec, not copied: most of a large one, where its decoder is trained alone.

    Args:
        codec: to follow; ``average.codec`` begins with its weights.
        decay: of the past, for each step.
    """

    def __init__(self, codec: NeuCodec, decay: float) -> None:
        learning = {name: x for name, x in codec.named_parameters() if x.requires_grad}
        weights = {name: x.clone() if name in learning else x for name, x in codec.state_dict().items()}
        with torch.device("meta"):
            self.codec = NeuCodec(codec.config)
        self.codec.load_state_dict(weights, assign=True)
        self.codec.to(codec.device).eval().requires_grad_(False)
        self.decay = decay
        ours = dict(self.codec.named_parameters())
        self._pairs = [(ours[name], x) for name, x in learning.items()]
        self._learning = set(learning)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the codec's weights after step number ``step``."""
        decay = min(self.decay, (1 + step) / (10 + step))
        ours, theirs = zip(*self._pairs, strict=True)
        torch._foreach_lerp_(ours, theirs, 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages, without what does not learn."""
        return {name: x for name, x in self.codec.state_dict().items() if name in self._learning}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from averages.

        Raises:
            RuntimeError: they are of a codec of other shape, or other parts of it learnt.
        """
        if set(state) != self._learning:
            raise RuntimeError(f"averages of {len(state)} tensors, and {len(self._learning)} learn")
        self.codec.load_state_dict(state, strict=False)
