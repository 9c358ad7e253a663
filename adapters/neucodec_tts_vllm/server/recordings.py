"""Recordings from clients: bounded in bytes before they are read and in seconds before they are decoded."""

from __future__ import annotations

import base64
import binascii
import io
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neucodec_tts.audio import FFMPEG_CONTAINERS
from neucodec_tts.errors import AudioError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*?;base64,", re.IGNORECASE)
_MOST_CHANNELS = 8
_LEAST_RATE, _GREATEST_RATE = 4_000, 192_000
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
    """Decode a recording of any common kind.

    Never more than `max_seconds` are decoded, whatever the header says: silence compresses a million times.

    Returns:
        float32 (samples,), mono, and the sample rate in Hz.

    Raises:
        AudioError: it is no recording, a damaged one, or longer than allowed.
    """
    import soundfile

    if not data:
        raise AudioError("the recording is empty (0 bytes)")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            return _read(file, max_seconds)
    except soundfile.LibsndfileError as problem:
        return _through_ffmpeg(data, max_seconds, problem)


def _read(file: object, max_seconds: float) -> tuple[NDArray[np.float32], int]:
    rate, channels = int(file.samplerate), int(file.channels)  # type: ignore[attr-defined]
    if not _LEAST_RATE <= rate <= _GREATEST_RATE or not 1 <= channels <= _MOST_CHANNELS:
        raise AudioError(f"a recording of {channels} channels at {rate} Hz is none of a voice")
    most = int(max_seconds * rate)
    samples: NDArray[np.float32] = file.read(most + 1, dtype="float32", always_2d=True)  # type: ignore[attr-defined]
    if len(samples) > most:
        raise AudioError(f"the recording is longer than {max_seconds:g} s; 3 to 15 s of one voice are best")
    return samples.mean(axis=1, dtype=np.float32), rate


def _through_ffmpeg(data: bytes, max_seconds: float, problem: Exception) -> tuple[NDArray[np.float32], int]:
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(
            "this is no recording that can be read here; send WAV, FLAC, MP3 or OGG"
        ) from problem
    rate = 48_000
    with tempfile.TemporaryDirectory(prefix="neucodec-tts-") as folder:
        source = Path(folder) / "upload"
        source.write_bytes(data)
        # This file only, nothing that it might name; bounded in seconds and in time.
        command = [program, "-nostdin", "-v", "error", "-protocol_whitelist", "file"]
        command += ["-format_whitelist", FFMPEG_CONTAINERS, "-i", f"file:{source}"]
        command += [
            "-map",
            "0:a:0",
            "-t",
            str(max_seconds + 1),
            "-ac",
            "1",
            "-ar",
            str(rate),
            "-f",
            "f32le",
            "pipe:1",
        ]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_FFMPEG_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise AudioError("the recording takes too long to decode; send it as WAV") from error
    samples = np.frombuffer(done.stdout, "<f4")
    if done.returncode != 0 or not samples.size:
        raise AudioError("this is not a recording, or a damaged one; send WAV, FLAC, MP3 or OGG") from problem
    if samples.size > max_seconds * rate:
        raise AudioError(f"the recording is longer than {max_seconds:g} s; 3 to 15 s of one voice are best")
    return samples.astype(np.float32), rate
