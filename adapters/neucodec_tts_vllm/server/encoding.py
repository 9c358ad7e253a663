"""Encode samples to bytes of an audio format, all at once or as they come."""

from __future__ import annotations

import asyncio
import contextlib
import io
import queue
import struct
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from neucodec_tts.audio import opus_rate
from neucodec_tts.audio.ffmpeg import NoFfmpegError, start_aac_encoder
from neucodec_tts.audio.resampling import ResamplingStream
from neucodec_tts_vllm.server.errors import ApiError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEDIA_TYPES = {
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "codes": "application/octet-stream",
}
_SOUNDFILE = {"flac": ("FLAC", "PCM_16"), "mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS")}
_SET_OGG_PAGE_LATENCY_MS = 0x1302  # SFC_SET_OGG_PAGE_LATENCY_MS of sndfile.h
_OGG_PAGE_MILLISECONDS = 60.0
_AAC_START = 4096  # samples from which on ffmpeg 5 gives a first frame; later ones need 2,048
_AAC_START_SECONDS = 5.0
_UNKNOWN_LENGTH = 0xFFFFFFFF


class Encoder(Protocol):
    """Takes samples, gives bytes; `close` frees its resources, finished or not."""

    def push(self, samples: NDArray[np.float32]) -> bytes:
        """Add samples, float32 (n,); returns the bytes that are ready, perhaps none."""
        ...

    def finish(self) -> bytes:
        """Return the rest of the bytes."""
        ...

    def close(self) -> None:
        """Give up."""
        ...


def make_encoder(format: str, sample_rate: int) -> Encoder:
    """Return an encoder for one response.

    Raises:
        ApiError: the format needs a program that is not installed.
    """
    if format in ("wav", "pcm"):
        return _PcmEncoder(sample_rate, header=format == "wav")
    if format == "aac":
        return _AacEncoder(sample_rate)
    return _FileEncoder(format, sample_rate)


async def encoded(
    sounds: AsyncGenerator[NDArray[np.float32], None], format: str, sample_rate: int
) -> AsyncGenerator[bytes, None]:
    """Encode sound as it comes; yields bytes, never none. Compression runs in a thread, never in the event loop.

    Raises:
        ApiError: the format needs a program that is not installed.
    """
    cheap = format in ("pcm", "wav")
    encoder = await asyncio.to_thread(make_encoder, format, sample_rate)
    try:
        async with aclosing(sounds) as running:
            async for sound in running:
                data = encoder.push(sound) if cheap else await asyncio.to_thread(encoder.push, sound)
                if data:
                    yield data
        if data := await asyncio.to_thread(encoder.finish):
            yield data
    finally:
        encoder.close()


def encode(samples: NDArray[np.float32], format: str, sample_rate: int) -> bytes:
    """Encode a whole response."""
    if format == "wav":  # here its length is known
        data = pcm16(samples)
        return _wav_header(sample_rate, len(data)) + data
    encoder = make_encoder(format, sample_rate)
    try:
        if isinstance(encoder, _FileEncoder):  # whose header then knows its length, too
            return encoder.whole(samples)
        return encoder.push(samples) + encoder.finish()
    finally:
        encoder.close()


def pcm16(samples: NDArray[np.float32]) -> bytes:
    """Convert samples to signed 16-bit little-endian integers."""
    return (np.clip(samples, -1.0, 1.0) * 32767).round().astype("<i2").tobytes()


def codes16(codes: Sequence[int]) -> bytes:
    """Convert codes to unsigned 16-bit little-endian integers."""
    return np.asarray(codes, "<u2").tobytes()


def _wav_header(sample_rate: int, length: int) -> bytes:
    total = min(length + 36, _UNKNOWN_LENGTH)
    return struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", total, b"WAVE", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16
    ) + struct.pack("<4sI", b"data", length)


class _PcmEncoder:
    def __init__(self, sample_rate: int, header: bool) -> None:
        # Nobody knows yet how long it gets; players and libsndfile take the largest number for that.
        self._head = _wav_header(sample_rate, _UNKNOWN_LENGTH) if header else b""

    def push(self, samples: NDArray[np.float32]) -> bytes:
        head, self._head = self._head, b""
        return head + pcm16(samples)

    def finish(self) -> bytes:
        head, self._head = self._head, b""
        return head

    def close(self) -> None:
        pass


class _FileEncoder:
    """Sends the bytes that libsndfile writes into memory.

    A client may hang up while a thread is encoding: then `close` waits for it, because libsndfile's encoders abort the
    whole process when a file is closed under their hands.
    """

    def __init__(self, format: str, sample_rate: int) -> None:
        import soundfile

        container, subtype = _SOUNDFILE[format]
        self._lock = threading.Lock()
        self._memory = io.BytesIO()
        self._sent = 0
        rate = opus_rate(sample_rate) if format == "opus" else sample_rate
        self._resampling = None if rate == sample_rate else ResamplingStream(sample_rate, rate)
        self._file = soundfile.SoundFile(self._memory, "w", rate, 1, subtype=subtype, format=container)
        self._begun = False

    def push(self, samples: NDArray[np.float32]) -> bytes:
        with self._lock:
            if not self._file.closed:
                if not self._begun:
                    self._begun = True
                    self._shorten_pages()
                self._write(self._at_its_rate(samples))
            return self._new()

    def finish(self) -> bytes:
        # At its end it goes back and writes lengths into the header, which has been sent: players do without.
        with self._lock:
            if not self._file.closed:
                self._write(self._at_its_rate(None))
            self._file.close()
            return self._new()

    def whole(self, samples: NDArray[np.float32]) -> bytes:
        """Everything at once, with the lengths in its header."""
        with self._lock:
            self._write(self._at_its_rate(samples))
            self._write(self._at_its_rate(None))
            self._file.close()
            return self._memory.getvalue()

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def _at_its_rate(self, samples: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """The samples at the file's rate, as far as they are settled; None asks for the rest."""
        if self._resampling is None:
            return np.zeros(0, np.float32) if samples is None else samples
        if samples is None:
            return self._resampling.flush().numpy()
        return self._resampling.push(torch.from_numpy(samples)).numpy()

    def _shorten_pages(self) -> None:
        """Let Ogg's pages come soon: libsndfile gives out one a second otherwise, and soundfile cannot tell it."""
        import soundfile

        if self._file.format == "OGG":
            latency = soundfile._ffi.new("double *", _OGG_PAGE_MILLISECONDS)
            soundfile._snd.sf_command(self._file._file, _SET_OGG_PAGE_LATENCY_MS, latency, 8)

    def _write(self, samples: NDArray[np.float32]) -> None:
        step = 50_000  # its Vorbis and Opus encoders want no more at a time
        for start in range(0, samples.size, step):
            self._file.write(np.clip(samples[start : start + step], -1.0, 1.0))

    def _new(self) -> bytes:
        whole = self._memory.getbuffer()
        new = bytes(whole[self._sent :])
        self._sent += len(new)
        return new


class _AacEncoder:
    """ADTS frames, from ffmpeg."""

    def __init__(self, sample_rate: int) -> None:
        try:
            self._process = start_aac_encoder(sample_rate)
        except NoFfmpegError as problem:
            raise ApiError(
                400,
                "aac needs ffmpeg, which this server does not have; ask for opus or mp3",
                "response_format",
            ) from problem
        self._read: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._pushed = 0  # samples, until the first frame has come
        self._reader = threading.Thread(target=self._drain, name="speech-aac", daemon=True)
        self._reader.start()

    def _drain(self) -> None:
        assert self._process.stdout is not None
        while data := self._process.stdout.read1(65536):  # type: ignore[attr-defined]
            self._read.put(data)

    def push(self, samples: NDArray[np.float32]) -> bytes:
        assert self._process.stdin is not None
        self._process.stdin.write(pcm16(samples))
        self._process.stdin.flush()
        first = b""
        if (
            self._pushed < _AAC_START
        ):  # ffmpeg has just been started: a first chunk must not wait for the second
            self._pushed += samples.size
            if self._pushed >= _AAC_START:
                with contextlib.suppress(queue.Empty):
                    first = self._read.get(timeout=_AAC_START_SECONDS)
        return first + self._ready()

    def finish(self) -> bytes:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reader.join()
        self._process.wait()
        return self._ready()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what it had buffered has nowhere to go
                    pipe.close()

    def _ready(self) -> bytes:
        parts = []
        while not self._read.empty():
            parts.append(self._read.get())
        return b"".join(parts)
