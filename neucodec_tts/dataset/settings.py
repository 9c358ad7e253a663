"""The settings of a data set and its codec: all that its contents depend on, besides the corpus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from neucodec_tts.dataset.filters import TEXT_RULES
from neucodec_tts.errors import DatasetError

if TYPE_CHECKING:
    from neucodec_tts.codec.neucodec import NeuCodec

BATCH_SECONDS = {"cpu": 60.0, "gpu": 480.0}
"""Seconds of audio, padding included, that are encoded at a time, as `NeuCodec.encode` does by itself."""
MAX_SHARDS = 99_999
"""More do not fit the names by which ``datasets`` knows the files of a split."""


@dataclass(frozen=True)
class PrepareSettings:
    """The choice of utterances of a corpus, and their division into shards.

    Attributes:
        min_seconds: shorter utterances are left out.
        max_seconds: longer ones are left out; None keeps them. 30 s are what a context of 2,048 tokens holds.
        text_rule: the rule by which utterances are left out for their text, one of `filters.TEXT_RULES`; None is
            "speakable" if there are to be training tokens, which the others would lack, and else "any".
        shard_items: utterances of the corpus a shard. A run that is killed loses the shards it was at.
        batch_seconds: seconds of audio, padding included, encoded at a time; None is 60 on a CPU and 480 on a GPU.
        without_text: go on with a corpus in which no utterance has a text. A data set that was begun keeps its own.

    Raises:
        DatasetError: a value is not possible.
    """

    min_seconds: float = 0.5
    max_seconds: float | None = 30.0
    text_rule: str | None = None
    shard_items: int = 1000
    batch_seconds: float | None = None
    without_text: bool = False

    def __post_init__(self) -> None:
        if self.text_rule is not None and self.text_rule not in TEXT_RULES:
            raise DatasetError(f"unknown text rule {self.text_rule!r}; known are {', '.join(TEXT_RULES)}")
        items = self.shard_items
        if isinstance(items, bool) or not isinstance(items, int) or items < 1:
            raise DatasetError(f"shard_items is {items!r}; it must be a whole number of at least 1")
        for name in ("min_seconds", "max_seconds", "batch_seconds"):
            value = getattr(self, name)
            if value is None and name != "min_seconds":
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < 0:
                raise DatasetError(f"{name} is {value!r}; it must be a number of seconds")
            object.__setattr__(self, name, float(value))
        if self.batch_seconds is not None and self.batch_seconds <= 0:
            raise DatasetError("batch_seconds is 0; it must be more")
        if self.max_seconds is not None and self.max_seconds < self.min_seconds:
            raise DatasetError(
                f"min_seconds {self.min_seconds:g} is above max_seconds {self.max_seconds:g}, so nothing could be kept"
            )

    def resolved(
        self, codec: CodecInfo, stored: PrepareSettings | None = None, tokens: bool = False
    ) -> PrepareSettings:
        """Return them with everything filled in.

        Args:
            codec: `batch_seconds` depends on its device.
            stored: the settings that the data set was begun with; their `batch_seconds` and `without_text` count.
            tokens: there are to be training tokens.
        """
        batch = self.batch_seconds or (stored.batch_seconds if stored is not None else None)
        return replace(
            self,
            text_rule=self.text_rule or ("speakable" if tokens else "any"),
            batch_seconds=batch or BATCH_SECONDS["cpu" if codec.on_cpu else "gpu"],
            without_text=self.without_text if stored is None else stored.without_text,
        )

    @property
    def window_seconds(self) -> float:
        """Seconds of consecutive audio that batches are chosen from; eight batches waste little by padding."""
        return 8 * (self.batch_seconds or BATCH_SECONDS["cpu"])


@dataclass(frozen=True)
class CodecInfo:
    """A codec, as a data set describes the one that made its codes."""

    codec_id: str
    codebook_size: int
    frame_rate: float
    sample_rate: int
    hop_length: int
    dtype: str
    encoder: str
    """Fingerprint of the encoder's weights: two codecs of one codebook (NeuCodec and its distilled twin) differ
    here."""
    on_cpu: bool = field(default=True, compare=False)
    """The place where it encodes; not part of the description."""

    @classmethod
    def of(cls, codec: NeuCodec) -> CodecInfo:
        """Describe a codec.

        Raises:
            DatasetError: its codes do not fit into 16 bits.
        """
        if codec.codebook_size > 2**16:
            raise DatasetError(
                f"a codebook of {codec.codebook_size} does not fit into the 16 bits a code has in a data set"
            )
        return cls(
            codec.codec_id,
            codec.codebook_size,
            codec.frame_rate,
            codec.input_sample_rate,
            codec.input_hop_length,
            str(codec.dtype).removeprefix("torch."),
            codec.encoder_fingerprint(),
            codec.device.type == "cpu",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the description, JSON values for the manifest."""
        return {name: value for name, value in asdict(self).items() if name != "on_cpu"}


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return in words where two sets of settings differ."""
    names = sorted({*stored, *wanted})
    return [
        f"{name} was {_shown(stored.get(name))} and is now {_shown(wanted.get(name))}"
        for name in names
        if stored.get(name) != wanted.get(name)
    ]


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    return f"{value:g}" if isinstance(value, float) else str(value)
