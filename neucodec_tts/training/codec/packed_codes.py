"""The codes of packed speech, found once: a decoder that learns need not wait for its encoder at each step.

They lie beside the speech, one file for each encoder. A clip has a code for each whole frame of the decoder's. The file
only grows, so that encoding can be interrupted, and speech that has become longer is encoded on from where it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from neucodec_tts.audio.resampling import resample
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.errors import DatasetError
from neucodec_tts.training.codec.packed_speech import Clip, PackedSpeech

log = logging.getLogger(__name__)

_TOGETHER = 30.0  # seconds of clips that are encoded as one batch
_TYPE = np.dtype("<u4")


class PackedCodes:
    """The codes of each clip of a folder of packed speech.

    Args:
        speech: of that folder, or a part of it.
        path: of the codes.
        hop: of the decoder, samples.
    """

    def __init__(self, speech: PackedSpeech, path: Path, hop: int) -> None:
        self.hop = hop
        self._places, count = {}, 0
        for clip in speech.all_clips():
            self._places[clip.start] = count
            count += clip.samples // hop
        self._codes = np.memmap(path, _TYPE, mode="r") if count else np.zeros(0, _TYPE)

    def of(self, clip: Clip, first: int = 0, count: int | None = None) -> np.ndarray:
        """Some codes of a clip, or all: int64 (count,)."""
        whole = clip.samples // self.hop
        stop = whole if count is None else min(first + count, whole)
        place = self._places[clip.start]
        return self._codes[place + first : place + stop].astype(np.int64)


def encode_packed(speech: PackedSpeech, codec: NeuCodec) -> PackedCodes:
    """Encode a whole folder of packed speech, or what of it is not encoded yet.

    Args:
        speech: of that folder, or a part of it, at the codec's output rate.
        codec: on the device that is to do it.

    Raises:
        DatasetError: the disk is full.
    """
    hop = codec.output_hop_length
    path = speech.folder / f"codes-{codec.encoder_fingerprint()}.uint32"
    done = 0
    missing: list[Clip] = []
    stored = path.stat().st_size // _TYPE.itemsize if path.is_file() else 0
    for clip in speech.all_clips():
        if not missing and done + clip.samples // hop <= stored:
            done += clip.samples // hop
        else:
            missing.append(clip)
    if missing:
        minutes = sum(clip.samples for clip in missing) / speech.rate / 60
        log.info("%s: encoding %.1f minutes", speech.folder, minutes)
    training = codec.training
    codec.eval()
    try:
        with path.open("ab") as file:
            file.truncate(done * _TYPE.itemsize)  # what a kill left of a clip
            for codes in _encoded(speech, missing, codec):
                file.write(codes.astype(_TYPE).tobytes())
                file.flush()
    except OSError as problem:
        raise DatasetError(f"cannot write codes to {path}: {problem.strerror or problem}") from problem
    finally:
        codec.train(training)
    return PackedCodes(speech, path, hop)


def _encoded(speech: PackedSpeech, clips: list[Clip], codec: NeuCodec) -> Iterator[np.ndarray]:
    """The codes of each clip, in order."""
    hop, said = codec.output_hop_length, time.monotonic()
    first = 0
    while first < len(clips):
        last, seconds = first, 0.0
        while last < len(clips) and (last == first or seconds < _TOGETHER):
            seconds += clips[last].samples / speech.rate
            last += 1
        batch = clips[first:last]
        waves = [resample(speech.waveform(clip), speech.rate, codec.input_sample_rate) for clip in batch]
        for clip, codes in zip(batch, codec.encode(waves, codec.input_sample_rate), strict=True):
            yield codes[: clip.samples // hop].cpu().numpy()
        first = last
        if time.monotonic() - said > 60:
            said = time.monotonic()
            log.info("encoded %d of %d recordings", first, len(clips))
