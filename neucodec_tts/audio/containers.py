"""Audio files whose header does not tell how much speech is in them, and the stretches to decode instead.

A header that was written before the recording ended holds a placeholder. A file that was joined from several says
only how long the first one is. An MP3 file says nothing. Decoders believe the header; here the file itself is looked
at, so that all that can be decoded is.
"""

from __future__ import annotations

from neucodec_tts.audio.aiff_au_w64 import of_sized
from neucodec_tts.audio.caf import of_caf
from neucodec_tts.audio.flac import of_flac
from neucodec_tts.audio.mp3 import Mp3Stream, after_tags, is_mp3, read_frames
from neucodec_tts.audio.mp4 import check_boxes
from neucodec_tts.audio.ogg import of_ogg
from neucodec_tts.audio.recordings import (
    ASF_HEADER,
    BEHIND_MP3,
    W64_RIFF,
    Part,
    Recordings,
    joined,
    later,
    refuse_another_format,
)
from neucodec_tts.audio.riff import of_wave
from neucodec_tts.audio.sphere import check_sphere
from neucodec_tts.audio.splice import Buffer

_SECOND_HEADERS = (
    # (first bytes of the file, bytes that begin another recording of the same format)
    (ASF_HEADER, ASF_HEADER),
    (b"FLV\x01", b"FLV\x01"),
    (b"TTA1", b"TTA1\x01\x00"),
    (b"\x1aE\xdf\xa3", b"\x1aE\xdf\xa3"),
    (b"#!AMR", b"#!AMR"),
)
"""Formats that ffmpeg reads. Of joined files it gives the first one only, or fails."""


def find_recordings(data: Buffer, name: str) -> Recordings | None:
    """Look for recordings that a decoder would not read as they are.

    Args:
        data: the content of the file.
        name: of the file, for errors.

    Returns:
        None if a decoder reads all of it as it is.

    Raises:
        AudioError: the file is cut short, or joined from recordings in a format that cannot be taken apart.
    """
    if bytes(data[:3]) == b"ID3" and not is_mp3(data):
        start = after_tags(data, 0, len(data))
        if 0 < start < len(data):  # a tag before another format: libsndfile counts it as sound
            untagged = bytes(data[start:])
            return find_recordings(untagged, name) or Recordings([Part(((untagged, 0, len(untagged)),))])
    head = bytes(data[:16])
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return of_wave(data, name)
    if head[:4] == b"OggS":
        return of_ogg(data, name)
    if head[:4] == b"caff":
        return of_caf(data, name)
    if head[:4] == b"fLaC":
        return of_flac(data, name)
    if head[:7] == b"NIST_1A":
        check_sphere(data, name)
        return None
    if head[:4] in (b"FORM", b".snd") or head == W64_RIFF:
        return of_sized(data, name)
    if head[4:8] == b"ftyp":
        check_boxes(data, name)
        return None
    for begins, again in _SECOND_HEADERS:
        if head.startswith(begins) and next(later(data, again), None) is not None:
            raise joined(name)
    if is_mp3(data):
        stream = read_frames(data, 0, len(data), name)
        if stream is not None and stream.notes:
            refuse_another_format(data, name, BEHIND_MP3)
        if stream is not None and not stream.complete:
            return _of_mp3(stream)
        if stream is not None and stream.notes:
            return Recordings([Part(((data, 0, len(data)),))], list(stream.notes))
        return None
    refuse_another_format(data, name)
    return None


def _of_mp3(stream: Mp3Stream) -> Recordings:
    return Recordings([Part(stream.pieces, stream.lead)], list(stream.notes))
