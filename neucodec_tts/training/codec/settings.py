"""How a codec is trained: every choice, with the values that papers use where they say."""

from __future__ import annotations

from dataclasses import dataclass, field

from neucodec_tts.training.codec.discriminators import DiscriminatorSizes
from neucodec_tts.training.codec.losses.adversarial import Game
from neucodec_tts.training.codec.models import Trained
from neucodec_tts.training.codec.segments import SegmentSettings


@dataclass(frozen=True)
class LossWeights:
    """The weight of each loss; 0 leaves it out. Defaults are those of BigCodec and X-Codec 2 where these have them."""

    mel: float = 15.0
    stft: float = 0.0
    cepstrum: float = 0.0
    envelope: float = 0.0
    adversarial: float = 1.0
    features: float = 1.0
    semantic: float = 0.0
    """That a teacher's features can be rebuilt from the codes."""
    heard: float = 0.0
    """That the teacher hears the same in the reconstruction as in the recording."""
    spread: float = 0.0
    digits: float = 1.0
    """With ``train="encoder"``: that codes are those of the given encoder."""
    steady: float = 0.0
    """That a sound a few milliseconds earlier or later, upside down or with a little noise gets the same codes: a
    language model need not foresee such things."""


@dataclass(frozen=True)
class TrainingSettings:
    """All choices of a training."""

    train: Trained = "decoder"
    frozen: tuple[str, ...] = ()
    """Parts of that which stay as they are, such as ``acoustic_encoder``, the slow half of the encoder."""
    steps: int = 100_000
    rate: float = 1e-4
    """Peak learning rate of the codec (BigCodec: 1e-4)."""
    discriminator_rate: float = 1e-4
    betas: tuple[float, float] = (0.8, 0.9)
    weight_decay: float = 0.01
    warmup: int = 200
    """Steps over which the learning rate rises; it then falls by a cosine."""
    final_rate: float = 0.02
    """Of the peak, at the end."""
    adversary_from: int = 0
    """First step with discriminators, which start to learn ``discriminator_ahead`` steps before."""
    discriminator_ahead: int = 0
    adversary_seconds: float | None = None
    """Of each segment that the discriminators see; None is all of it."""
    game: Game = "least-squares"
    clip: float = 1.0
    """Largest norm of the gradient, of either network."""
    average: float = 0.999
    """Decay of the moving average of the weights, which is what is validated and given away."""
    accumulate: int = 1
    """Batches to a step of the optimisers."""
    seed: int = 0
    weights: LossWeights = field(default_factory=LossWeights)
    segments: SegmentSettings = field(default_factory=SegmentSettings)
    discriminators: DiscriminatorSizes = field(default_factory=DiscriminatorSizes)
    validate_every: int = 2000
    save_every: int = 500
    save_seconds: float | None = None
    """Also save when so long has passed."""
    log_every: int = 20
    half: bool = False
    """Give weights away in float16."""
