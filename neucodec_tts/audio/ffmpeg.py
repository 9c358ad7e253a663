"""The program ffmpeg, for formats that libsndfile does not know. Everything that needs it calls it here.

It is found in ``PATH``. It is not a Python dependency: most users never need it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from neucodec_tts.errors import AudioError

_CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,nut,ogg,"
    "rm,sox,tta,voc,w64,wav,wv"
)
"""The containers that ffmpeg may read: none of them names other files, as play lists do."""
_LOST = ("ended prematurely", "EBML number", "EBML header")
"""Messages of ffmpeg that a part of a Matroska or WebM file was skipped. Its exit code is 0 then."""


class NoFfmpegError(AudioError):
    """ffmpeg is needed and not installed."""


def convert_to_wav(
    source: Path, target: Path, *, max_seconds: float | None = None, timeout: float | None = None
) -> str:
    """Decode the first audio stream of `source` into a 32-bit float WAV file.

    Only the file itself is read, nothing that it names. Errors in the data end it.

    Args:
        source: a file of any format.
        target: the file to write.
        max_seconds: decode at most this much; None decodes all.
        timeout: seconds to wait; None waits for ever.

    Returns:
        What ffmpeg complained of in a file that it read all the same; empty for a sound one.

    Raises:
        NoFfmpegError: ffmpeg is not installed.
        AudioError: it holds no audio, or damaged audio, or is cut short, or takes too long. The message is ffmpeg's
            first line.
    """
    command = [_program(), "-nostdin", "-v", "error", "-xerror"]
    command += ["-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS, "-i", f"file:{source}"]
    command += ["-map", "0:a:0", *([] if max_seconds is None else ["-t", f"{max_seconds:.3f}"])]
    command += ["-c:a", "pcm_f32le", "-rf64", "auto", f"file:{target}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout)
    except subprocess.TimeoutExpired as problem:
        raise AudioError(f"not decoded within {timeout:g} s") from problem
    except OSError as problem:
        raise AudioError(f"does not start: {problem}") from problem
    # Its first line is the cause; each line begins with the addresses of parts of ffmpeg.
    lines = [
        re.sub(r"^(\[[^]]* @ 0x[0-9a-f]+\] )+", "", line.strip())
        for line in done.stderr.splitlines()
        if line.strip()
    ]
    lost = any(mark in line for line in lines for mark in _LOST)
    if done.returncode == 0 and target.exists() and not lost:
        return lines[0] if lines else ""
    said = lines[0] if lines else "no audio found"
    if "not on whitelist" in said:
        said = "of a kind that is not taken for a recording"
    elif "ended prematurely" in said:
        said = "it is cut short"
    elif "matches no streams" in said:
        said = "there is no sound in it"
    raise AudioError(said)


def run_ffmpeg(arguments: Sequence[str], data: bytes) -> bytes:
    """Run ffmpeg from ``pipe:0``, which is `data`, to ``pipe:1``, which is returned.

    Raises:
        NoFfmpegError: ffmpeg is not installed.
        AudioError: it fails; the message is its last line.
    """
    command = [_program(), "-nostdin", "-v", "error", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise AudioError(f"ffmpeg: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return done.stdout


def start_aac_encoder(sample_rate: int) -> subprocess.Popen[bytes]:
    """Start an AAC encoder: 16-bit little-endian mono samples into its stdin, ADTS frames out of its stdout.

    Args:
        sample_rate: of the samples, in Hz.

    Raises:
        NoFfmpegError: ffmpeg is not installed.
    """
    # Without the second line ffmpeg 5 looks at a second of samples before it encodes any.
    command = [_program(), "-v", "error", "-f", "s16le", "-ar", str(sample_rate), "-ac", "1"]
    command += ["-probesize", "32", "-analyzeduration", "0", "-i", "pipe:0"]
    command += ["-c:a", "aac", "-b:a", "64k", "-flush_packets", "1", "-f", "adts", "pipe:1"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _program() -> str:
    found = shutil.which("ffmpeg")
    if found is None:
        raise NoFfmpegError("ffmpeg is not installed; install it (apt install ffmpeg, brew install ffmpeg)")
    return found
