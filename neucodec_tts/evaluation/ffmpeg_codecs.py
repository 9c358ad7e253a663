"""Opus and Codec 2, which everybody can hear, as anchors; ffmpeg runs them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from neucodec_tts.audio.ffmpeg import run_ffmpeg
from neucodec_tts.errors import CheckpointError

_CODEC2_MODES = ("3200", "2400", "1600", "1400", "1300", "1200", "700", "700B", "700C")
_CODEC2_HEADER = 7  # bytes of a .c2 file before its frames


class _FfmpegCodec:
    """A codec of ffmpeg: samples and files through its standard input and output."""

    frame_rate: float | None = None
    codebooks: tuple[int, ...] = ()
    parameters: int | None = None
    output: tuple[str, ...]
    input: tuple[str, ...]

    def __init__(self, sample_rate: int) -> None:
        self.input_sample_rate = self.output_sample_rate = sample_rate
        self._raw = ("-f", "f32le", "-ar", str(sample_rate), "-ac", "1")
        # A moment of silence tells whether this ffmpeg has the codec, before anything is read.
        self.encode(torch.zeros(sample_rate // 5))

    def encode(self, waveform: Tensor) -> Tensor:
        """Float32 (samples,) to the bytes of a file, uint8 (n,)."""
        samples = np.ascontiguousarray(waveform.numpy(), "<f4").tobytes()
        data = run_ffmpeg([*self._raw, "-i", "pipe:0", *self.output, "pipe:1"], samples)
        return torch.frombuffer(bytearray(data), dtype=torch.uint8)

    def decode(self, codes: Tensor) -> Tensor:
        """The bytes of a file, uint8 (n,), to float32 (samples,)."""
        data = run_ffmpeg([*self.input, "-i", "pipe:0", *self._raw, "pipe:1"], codes.numpy().tobytes())
        return torch.frombuffer(bytearray(data), dtype=torch.float32)

    def bits(self, codes: Tensor) -> float:
        """Bits of the sound in a file, without its container."""
        raise NotImplementedError


class Opus(_FfmpegCodec):
    """Opus (RFC 6716), the speech mode of libopus at 48 kHz.

    Args:
        bit_rate: to aim at, as in ``"6k"``.

    Raises:
        CheckpointError: it is no bit rate of Opus.
        AudioError: there is no ffmpeg, or one without libopus.
    """

    input = ("-f", "ogg")

    def __init__(self, bit_rate: str) -> None:
        number = bit_rate.removesuffix("k")
        if not number.isdigit() or not bit_rate.endswith("k") or not 6 <= int(number) <= 256:
            raise CheckpointError(
                f"opus@{bit_rate}: the setting is a bit rate from 6k to 256k, as in opus@6k"
            )
        self.output = ("-c:a", "libopus", "-b:a", bit_rate, "-application", "voip", "-f", "ogg")
        super().__init__(48_000)

    def bits(self, codes: Tensor) -> float:
        """Bits of the packets of sound, without Ogg's pages."""
        data, at, packets, total = codes.numpy().tobytes(), 0, 0, 0
        while at + 27 <= len(data):
            segments = data[at + 26]
            sizes = data[at + 27 : at + 27 + segments]
            for size in sizes:
                total += size if packets >= 2 else 0  # the first two packets are headers
                packets += size < 255
            at += 27 + segments + sum(sizes)
        return 8.0 * total


class Codec2(_FfmpegCodec):
    """Codec 2, a vocoder for radio at 8 kHz.

    Args:
        mode: its bits a second, as in ``"1200"``.

    Raises:
        CheckpointError: it has no such mode.
        AudioError: there is no ffmpeg, or one without libcodec2.
    """

    input = ("-f", "codec2")

    def __init__(self, mode: str) -> None:
        if mode not in _CODEC2_MODES:
            raise CheckpointError(f"codec2@{mode}: the setting is one of {', '.join(_CODEC2_MODES)}")
        self.output = ("-c:a", "libcodec2", "-mode", mode, "-f", "codec2")
        super().__init__(8_000)

    def bits(self, codes: Tensor) -> float:
        """Bits of the frames, without the file's header."""
        return 8.0 * max(0, codes.numel() - _CODEC2_HEADER)
