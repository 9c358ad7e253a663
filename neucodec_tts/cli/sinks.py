"""Outlets of speech, standard output and the loudspeaker; and standard input."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from neucodec_tts.cli.terminal import Terminal
from neucodec_tts.errors import AudioError, EngineError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from neucodec_tts.speech import SpeechResult

logger = logging.getLogger(__name__)

STANDARD = Path("-")
"""The name of standard input and output."""

Sink = Callable[["Iterable[NDArray[np.float32]]", int, Terminal], float]
"""Takes sound as it comes and its sample rate; returns how many seconds there were."""


def stdout_sink() -> Sink:
    """Raw samples to standard output, each chunk as soon as it is there."""

    def write(chunks: Iterable[NDArray[np.float32]], sample_rate: int, terminal: Terminal) -> float:
        terminal.note(
            f"raw samples: signed 16 bit little-endian, mono, {sample_rate} Hz (aplay -f S16_LE -r {sample_rate})"
        )
        samples = 0
        for chunk in chunks:
            try:
                sys.stdout.buffer.write(_pcm16(chunk))
                sys.stdout.buffer.flush()
            except OSError as problem:
                raise _not_written(problem) from problem
            samples += chunk.size
        return samples / sample_rate

    return write


def check_stdout(terminal: Terminal) -> None:
    """Check that a WAV file can go to standard output.

    Raises:
        typer.BadParameter: it is a terminal, or ``--json`` wants it, too.
    """
    if terminal.json:
        raise typer.BadParameter("--json and -o - both want standard output; name a file")
    if sys.stdout.isatty():
        raise typer.BadParameter("-o - writes a WAV to standard output, which is a terminal; pipe it")


def write_stdout(samples: NDArray[np.float32] | torch.Tensor, sample_rate: int) -> None:
    """Write a WAV file to standard output.

    Raises:
        AudioError: the samples cannot be written, or nobody reads them any more.
    """
    from neucodec_tts.audio import write_audio

    with tempfile.TemporaryDirectory(prefix="neucodec-tts-") as folder:
        file = Path(folder) / "standard output.wav"
        write_audio(file, samples, sample_rate)
        try:
            sys.stdout.buffer.write(file.read_bytes())
            sys.stdout.buffer.flush()
        except OSError as problem:
            raise _not_written(problem) from problem


def read_stdin() -> bytes:
    """Read a recording from standard input.

    Raises:
        AudioError: it is a terminal.
    """
    if sys.stdin.isatty():
        raise AudioError("- is standard input, which is a terminal; pipe a recording into it")
    return sys.stdin.buffer.read()


def loudspeaker_sink() -> Sink:
    """The default loudspeaker, by way of the package sounddevice.

    Raises:
        EngineError: it is not installed.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as problem:  # OSError: it is there, but PortAudio is not
        raise EngineError(
            f"playing needs sounddevice, which does not import here ({problem}): pip install sounddevice; or write to "
            "a file (-o), or pipe --stream into a player"
        ) from problem

    def sound(chunks: Iterable[NDArray[np.float32]], sample_rate: int, terminal: Terminal) -> float:
        samples = 0
        try:
            with sounddevice.OutputStream(samplerate=sample_rate, channels=1, dtype="float32") as device:
                for chunk in chunks:
                    device.write(chunk[:, None])
                    samples += chunk.size
        except sounddevice.PortAudioError as problem:
            raise AudioError(
                f"the loudspeaker cannot be used: {problem}; write to a file instead (-o)"
            ) from problem
        return samples / sample_rate

    return sound


def play_speech(terminal: Terminal, spoken: Iterable[SpeechResult], required: bool = False) -> None:
    """Play speech where sounddevice is installed and there is a loudspeaker.

    Raises:
        AudioError, EngineError: it cannot be played, and it is required.
    """
    try:
        sink = loudspeaker_sink()
        for each in spoken:
            sink([each.samples], each.sample_rate, terminal)
    except (AudioError, EngineError) as problem:
        if required:
            raise
        logger.debug("not played: %s", problem)


def _not_written(problem: OSError) -> AudioError:
    # Python flushes standard output once more at its end, which must not fail, too.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(problem, BrokenPipeError):
        return AudioError("whoever was reading the stream has gone away")
    return AudioError(f"standard output cannot be written ({problem.strerror}); send it elsewhere")


def _pcm16(samples: NDArray[np.float32]) -> bytes:
    import numpy as np

    return (np.clip(samples, -1.0, 1.0) * 32767).round().astype("<i2").tobytes()
