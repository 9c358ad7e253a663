"""The sound of a whole text, put together from the sounds of its sentences, and the record of what lies where."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from neucodec_tts.speech.joins import HEAD_FRAMES, TAIL_FRAMES, Joiner, Pauses, Seam, seam
from neucodec_tts.speech.results import Segment
from neucodec_tts.speech.settling import SILENT, Spoken, loudest_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from neucodec_tts.codec.arrays import ArrayCodec


class Assembly:
    """Takes the sounds of sentences in turn: `begin`, `push` as often as needed, `end` or `give_up`.

    The silence at a seam is measured on the last second of one segment and the first 0.2 s of the next, decoded on
    their own. So it depends on codes only, and speech has the same length whether it is decoded in chunks or as a
    whole. This costs 1.2 s of decoding for every seam, in one batch.

    Args:
        codec: decodes the surroundings of a seam.
        pauses: wanted between segments.

    Attributes:
        segments: those that have ended.
    """

    def __init__(self, codec: ArrayCodec, pauses: Pauses) -> None:
        self.segments: list[Segment] = []
        self._codec = codec
        self._pauses = pauses
        self._joiner = Joiner(codec.output_sample_rate)
        self._before: Spoken | None = None
        self._seam = Seam()
        self._position = 0  # sample at which the current segment begins
        self._loudest = 0.0  # frame of the current segment, up to the first that can be heard

    @property
    def head_frames(self) -> int:
        """Codes of the next segment that `begin` needs, if the segment has so many."""
        return HEAD_FRAMES if self._before is not None else 0

    def begin(self, codes: list[int]) -> NDArray[np.float32]:
        """Begin a segment; returns the silence before it, float32 (n,).

        Args:
            codes: the first of the segment, ``head_frames`` or all of them.
        """
        self._seam = Seam()
        self._loudest = 0.0
        if self._before is not None:
            tail, head = self._before.codes[-TAIL_FRAMES:], codes[:HEAD_FRAMES]
            sounds = self._codec.decode_batch([np.array(tail), np.array(head)])
            self._seam = seam(
                sounds[0],
                sounds[1],
                self._pauses.seconds(self._before.sentence.span.ending),
                self._codec.output_hop_length,
                self._codec.output_sample_rate,
            )
        self._position += self._seam.silence
        return self._joiner.start(self._seam)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add samples of the segment, float32 (n,); returns those that are final, float32 (m,)."""
        if self.silent:
            self._loudest = loudest_frame(samples, self._codec.output_hop_length)
        return self._joiner.push(samples)

    @property
    def silent(self) -> bool:
        """True if nothing that was pushed of this segment can be heard."""
        return self._loudest < SILENT

    def give_up(self, spoken: Spoken) -> NDArray[np.float32]:
        """End a segment that another attempt follows; returns its last samples, float32 (n,). It gets no record."""
        self._position += len(spoken.codes) * self._codec.output_hop_length - self._seam.skip
        self._before = spoken
        return self._joiner.end()

    def end(self, spoken: Spoken) -> NDArray[np.float32]:
        """End the segment; returns its last samples, float32 (n,)."""
        samples = len(spoken.codes) * self._codec.output_hop_length - self._seam.skip
        rate = self._codec.output_sample_rate
        sentence = spoken.sentence
        self.segments.append(
            Segment(
                index=len(self.segments),
                text=sentence.text,
                start_char=sentence.span.start,
                end_char=sentence.span.end,
                start=self._position / rate,
                end=(self._position + samples) / rate,
                codes=np.array(spoken.codes, np.int64),
                prompt_tokens=len(sentence.prompt_ids),
                finish_reason=spoken.finish_reason,
                attempts=sentence.attempt + 1,
            )
        )
        return self.give_up(spoken)


def assemble(
    codec: ArrayCodec,
    pauses: Pauses,
    sounds: Iterable[tuple[Spoken, NDArray[np.float32]]],
    on_segment: Callable[[Segment], None] | None = None,
) -> tuple[NDArray[np.float32], tuple[Segment, ...]]:
    """Join the sentences of a text.

    Args:
        codec: decodes the surroundings of a seam.
        pauses: wanted between segments.
        sounds: each sentence with its samples, float32 (n,).
        on_segment: called with each segment as soon as it has been joined.

    Returns:
        The sound, float32 (n,), and the record of its segments.
    """
    assembly = Assembly(codec, pauses)
    parts: list[NDArray[np.float32]] = []
    for spoken, sound in sounds:
        parts += [assembly.begin(spoken.codes), assembly.push(sound), assembly.end(spoken)]
        if on_segment is not None:
            on_segment(assembly.segments[-1])
    return np.concatenate(parts), tuple(assembly.segments)
