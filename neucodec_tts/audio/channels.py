"""Many channels to one.

One channel stays as it is. Two and four are averaged, as upstream neucodec does. Surround sound is mixed by the matrix
for mono of ITU-R BS.775: the centre, where voices are, at its own level, the front pair at -3 dB, the others at -6 dB,
and no bass channel; the mean would make a voice in the centre of 5.1 channels 15 dB softer.
"""

from __future__ import annotations

import logging

import numpy as np

logger = logging.getLogger(__name__)

MAX_CHANNELS = 8
_FRONT, _SURROUND = 0.5**0.5, 0.5
_MATRICES = {  # by number of channels, in the order of WAV files
    3: (_FRONT, _FRONT, 1.0),
    5: (_FRONT, _FRONT, 1.0, _SURROUND, _SURROUND),
    6: (_FRONT, _FRONT, 1.0, 0.0, _SURROUND, _SURROUND),
    7: (_FRONT, _FRONT, 1.0, 0.0, _SURROUND, _SURROUND, _SURROUND),
    8: (_FRONT, _FRONT, 1.0, 0.0, _SURROUND, _SURROUND, _SURROUND, _SURROUND),
}
_VORBIS = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 5, 3, 4),
    7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}
"""Channels of Vorbis and Opus (RFC 7845, 5.1.1.2) in the order of WAV files."""
_CANCELLED = 0.1  # of the energy of two channels: with less left in their mean, one is the other turned over


class Mixer:
    """Mixes a recording block by block, and notices two channels that cancel each other out.

    Args:
        channels: of the recording.
        vorbis_order: the channels come in the order of Vorbis and Opus, not of WAV files.
        inverted: the second of two channels is upside down.
    """

    def __init__(self, channels: int, *, vorbis_order: bool = False, inverted: bool = False) -> None:
        weights = np.array(_MATRICES.get(channels, (1 / channels,) * channels), dtype=np.float32)
        if vorbis_order and channels in _VORBIS:
            placed = np.empty_like(weights)
            placed[list(_VORBIS[channels])] = weights
            weights = placed
        if inverted:
            weights[1] *= -1
        self._weights = weights
        # Energy of the channels, and of what was made of them; a constant offset is no sound.
        self._sound, self._left = 0.0, 0.0

    def mix(self, block: np.ndarray) -> np.ndarray:
        """Mix float samples (n, channels) to (n,), of the same type."""
        if block.shape[1] == 1:
            return block[:, 0].copy()
        mixed: np.ndarray = block @ self._weights.astype(block.dtype)
        if block.shape[1] == 2:
            self._sound += float(block.var(axis=0, dtype=np.float64).sum()) * mixed.size / 2
            self._left += float(mixed.var(dtype=np.float64)) * mixed.size
        return mixed

    @property
    def cancelled(self) -> bool:
        """True if the two channels are of opposite phase, so that their mean is (nearly) silent."""
        return self._left < _CANCELLED * self._sound


def mix(samples: np.ndarray, name: str, vorbis_order: bool = False) -> np.ndarray:
    """Mix a whole recording (n, channels) to (n,), of the same type."""
    mixer = Mixer(samples.shape[1], vorbis_order=vorbis_order)
    mixed = mixer.mix(samples)
    if mixer.cancelled:
        warn_of_inverted_channel(name)
        mixed = Mixer(samples.shape[1], vorbis_order=vorbis_order, inverted=True).mix(samples)
    return mixed


def warn_of_inverted_channel(name: str) -> None:
    """Say that one of two channels is turned over."""
    logger.warning(
        "%s: its two channels are of opposite phase; the second is turned over before they are mixed", name
    )
