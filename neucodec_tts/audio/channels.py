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
_CANCELLED = 0.2  # of the energy that unlike channels would leave: with less, some are others turned over


class Mixer:
    """Mixes a recording block by block, and notices channels that cancel each other out.

    Args:
        channels: of the recording.
        vorbis_order: the channels come in the order of Vorbis and Opus, not of WAV files.
    """

    def __init__(self, channels: int, *, vorbis_order: bool = False) -> None:
        weights = np.array(_MATRICES.get(channels, (1 / channels,) * channels), dtype=np.float32)
        if vorbis_order and channels in _VORBIS:
            placed = np.empty_like(weights)
            placed[list(_VORBIS[channels])] = weights
            weights = placed
        self._weights = weights
        # Of the channels as they are weighed; a constant offset is no sound.
        self._covariance = np.zeros((channels, channels))

    def mix(self, block: np.ndarray) -> np.ndarray:
        """Mix float samples (n, channels) to (n,), of the same type."""
        if block.shape[1] == 1:
            return block[:, 0].copy()
        weights = self._weights.astype(block.dtype)
        mixed: np.ndarray = block @ weights
        weighed = (block - block.mean(axis=0, dtype=np.float64).astype(block.dtype)) * weights
        self._covariance += weighed.T @ weighed
        return mixed

    @property
    def cancelled(self) -> bool:
        """True if channels are of opposite phase, so that little or nothing is left of them."""
        return float(self._covariance.sum()) < _CANCELLED * float(self._covariance.trace())

    def turned_over(self) -> Mixer:
        """A mixer for the same recording that turns each channel over which opposes the sum of the louder ones."""
        signs = np.zeros(len(self._weights), np.float32)
        for channel in np.argsort(-self._covariance.diagonal(), kind="stable"):
            signs[channel] = -1 if self._covariance[channel] @ signs < 0 else 1
        mixer = Mixer(len(self._weights))
        mixer._weights = self._weights * signs
        return mixer


def mix(samples: np.ndarray, name: str, vorbis_order: bool = False) -> np.ndarray:
    """Mix a whole recording (n, channels) to (n,), of the same type."""
    mixer = Mixer(samples.shape[1], vorbis_order=vorbis_order)
    mixed = mixer.mix(samples)
    if mixer.cancelled:
        warn_of_opposite_channels(name)
        mixed = mixer.turned_over().mix(samples)
    return mixed


def warn_of_opposite_channels(name: str) -> None:
    """Say that channels are turned over."""
    logger.warning(
        "%s: it has channels of opposite phase; those that oppose louder ones are turned over before they are mixed",
        name,
    )
