"""NIST SPHERE: the files that libsndfile reads wrongly."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from neucodec_tts.audio.recordings import FRAME_SECONDS, cut_short, joined, later
from neucodec_tts.audio.splice import Buffer
from neucodec_tts.errors import AudioError


def check_sphere(data: Buffer, name: str) -> None:
    """Refuse NIST SPHERE files that libsndfile reads wrongly.

    Raises:
        AudioError: it is compressed, joined from several, or has fewer samples than its header says.
    """
    if next(later(data, b"NIST_1A\n"), None) is not None:
        raise joined(name)
    fields = dict(re.findall(rb"^(\w+) -\w+ (\S+)", bytes(data[:1024]), re.MULTILINE))
    coding = fields.get(b"sample_coding", b"").decode("ascii", "replace")
    if "," in coding:
        raise AudioError(
            f"{name}: its samples are compressed ({coding}); convert it: sph2pipe -f wav {PurePosixPath(name).name} "
            "plain.wav"
        )
    try:
        size = int(bytes(data[8:16]))
        count, wide, channels, rate = (
            int(fields[field])
            for field in (b"sample_count", b"sample_n_bytes", b"channel_count", b"sample_rate")
        )
    except (KeyError, ValueError):
        return
    present = (len(data) - size) // max(1, wide * channels)
    if count - present >= FRAME_SECONDS * rate > 0:
        raise cut_short(name, present / rate, count / rate)
