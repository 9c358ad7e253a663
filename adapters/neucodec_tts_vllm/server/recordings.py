"""Recordings from clients: bounded in bytes before they are read and in seconds before they are decoded."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from neucodec_tts.audio import AudioTooLongError, load_audio
from neucodec_tts.errors import AudioError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*?;base64,", re.IGNORECASE)
_FFMPEG_SECONDS = 20.0


def read_data_url(url: str, max_bytes: int) -> bytes:
    """The bytes of a data URL.

    Raises:
        AudioError: it is none, or holds too much.
    """
    found = _DATA_URL.match(url)
    if found is None:
        raise AudioError("ref_audio must be a data URL, as in data:audio/wav;base64,UklGR...")
    if (len(url) - found.end()) * 3 // 4 > max_bytes:
        raise AudioError(f"ref_audio is larger than the {max_bytes:,} bytes that this server takes")
    try:
        return base64.b64decode(url[found.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise AudioError("ref_audio is not valid base64") from error


def decode_recording(data: bytes, max_seconds: float) -> tuple[NDArray[np.float32], int]:
    """Decode a recording of any kind that `neucodec_tts.audio.load_audio` reads.

    Never much more than `max_seconds` are decoded, whatever the header says: silence compresses a million times.

    Args:
        data: the content of a file.
        max_seconds: the longest recording that is taken.

    Returns:
        float32 (samples,), mono, and the sample rate in Hz.

    Raises:
        AudioError: it is no recording, a damaged one, or longer than allowed.
    """
    try:
        return load_audio(data, max_seconds=max_seconds, name="the recording", timeout=_FFMPEG_SECONDS)
    except AudioTooLongError as problem:
        raise AudioError(
            f"the recording is longer than {max_seconds:g} s; 3 to 15 s of one voice are best"
        ) from problem
