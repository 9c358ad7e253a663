"""The sound of a whole text, put together from the sounds of its segments, and the record of what lies where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from neucodec_tts.speech.joins import HEAD_FRAMES, TAIL_FRAMES, Joiner, Pauses, Seam, seam
from neucodec_tts.speech.results import Segment

if TYPE_CHECKING:
    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.speech.engine import FinishReason
    from neucodec_tts.speech.plan import Utterance


class Assembly:
    """Takes the segments of one text in turn: `begin`, `push` as often as you like, `end`.

    How much silence lies at a seam is measured on the last second of the one segment and the first 0.2 s of the
    other, decoded on their own. So it depends on codes only, and speech has the same length whether it is decoded
    in chunks or as a whole. That costs 1.2 s of decoding for every seam, in one batch.

    Args:
        codec: decodes the surroundings of a seam.
        pauses: wanted between segments.

    Attributes:
        segments: those that have ended.
    """

    def __init__(self, codec: NeuCodec, pauses: Pauses) -> None:
        self.segments: list[Segment] = []
        self._codec = codec
        self._pauses = pauses
        self._joiner = Joiner(codec.output_sample_rate)
        self._before: tuple[Utterance, list[int]] | None = None
        self._seam = Seam()
        self._position = 0  # sample at which the current segment begins

    @property
    def head_frames(self) -> int:
        """Codes of the next segment that `begin` must have, if there are so many."""
        return HEAD_FRAMES if self._before is not None else 0

    def begin(self, codes: list[int]) -> Tensor:
        """Begin a segment; returns the silence before it, float32 (n,).

        Args:
            codes: the first of the segment, ``head_frames`` or all of them.
        """
        self._seam = Seam()
        if self._before is not None:
            utterance, tail = self._before
            sounds = self._codec.decode_batch([torch.tensor(tail), torch.tensor(codes[:HEAD_FRAMES])])
            self._seam = seam(
                sounds[0],
                sounds[1],
                self._pauses.seconds(utterance.span.ending),
                self._codec.output_hop_length,
                self._codec.output_sample_rate,
            )
        self._position += self._seam.silence
        return self._joiner.start(self._seam)

    def push(self, samples: Tensor) -> Tensor:
        """Add samples of the segment, float32 (n,); returns what can be heard now."""
        return self._joiner.push(samples)

    def end(self, utterance: Utterance, codes: list[int], finish_reason: FinishReason) -> Tensor:
        """End the segment; returns its last samples, float32 (n,)."""
        samples = len(codes) * self._codec.output_hop_length - self._seam.skip
        rate = self._codec.output_sample_rate
        self.segments.append(
            Segment(
                index=len(self.segments),
                text=utterance.text,
                start_char=utterance.span.start,
                end_char=utterance.span.end,
                start=self._position / rate,
                end=(self._position + samples) / rate,
                codes=np.array(codes, np.int64),
                prompt_tokens=len(utterance.prompt_ids),
                finish_reason=finish_reason,
                attempts=utterance.attempt + 1,
            )
        )
        self._position += samples
        self._before = (utterance, codes[-TAIL_FRAMES:])
        return self._joiner.end()
