"""What users call on a codec, whichever encoder it has: single items or lists, of any lengths."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
import torch
from torch import Tensor, nn

from neucodec_tts.audio import as_waveform
from neucodec_tts.codec.batching import join_windows, split_windows
from neucodec_tts.codec.lists import run_in_batches, split_items, to_integers
from neucodec_tts.errors import AudioError, CodesError

if TYPE_CHECKING:
    from transformers import NeuCodecConfig

    from neucodec_tts.audio import Audio
    from neucodec_tts.codec.quantizer import FiniteScalarQuantizer
    from neucodec_tts.codec.streaming import Decoded, StreamingDecoder, Window

#: Integers (frames,) of any kind.
Codes: TypeAlias = "Tensor | np.ndarray | Sequence[int]"

EXACT_SECONDS = 600.0
"""Recordings up to this long are computed as a whole, longer ones in overlapping windows of this length."""
_WINDOW_OVERLAP_SECONDS = 10.0


class CodecInterface(nn.Module, ABC):
    """``encode``, ``decode`` and what belongs to them, on top of ``encode_batch``, ``decode_batch`` and
    ``decode_windows``.

    A codec that derives from it makes the two attributes below in its constructor.
    """

    config: NeuCodecConfig
    quantizer: FiniteScalarQuantizer

    @abstractmethod
    def encode_batch(self, waveforms: list[Tensor]) -> list[Tensor]:
        """Waveforms, float32 (samples,) at 16 kHz on the CPU, to their codes, LongTensors (frames,) on the CPU."""

    @abstractmethod
    def decode_batch(self, sequences: list[Tensor]) -> list[Tensor]:
        """Decode checked codes, LongTensors (frames,), in one batch to float32 (480 * frames,) on the CPU."""

    @abstractmethod
    def decode_windows(self, windows: list[Window]) -> list[Decoded]:
        """Decode windows of streams, all of one lookback, in one batch, each going on from its memory."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.quantizer.project_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point format of the weights."""
        return self.quantizer.project_in.weight.dtype

    @property
    def codebook_size(self) -> int:
        """Number of different codes, 65,536 for NeuCodec."""
        return self.quantizer.codebook_size

    @property
    def sample_rate(self) -> int:
        """Of what is encoded, in Hz: 16,000."""
        return int(self.config.input_sampling_rate)

    @property
    def output_sample_rate(self) -> int:
        """Of what is decoded, in Hz: 24,000."""
        return int(self.config.output_sampling_rate)

    @property
    def hop_length(self) -> int:
        """Samples that are encoded into one code: 320."""
        return int(self.config.encoder_hop_length)

    @property
    def output_hop_length(self) -> int:
        """Samples that one code is decoded into: 480."""
        return int(self.config.hop_length)

    @property
    def frame_rate(self) -> float:
        """Codes a second, in Hz: 50."""
        return self.sample_rate / self.hop_length

    @property
    def min_samples(self) -> int:
        """Fewest samples that can be encoded."""
        return self.hop_length

    @overload
    def encode(
        self, audio: Audio, sample_rate: int | None = None, *, max_batch_seconds: float | None = None
    ) -> Tensor: ...
    @overload
    def encode(
        self,
        audio: list[Any] | tuple[Any, ...],
        sample_rate: int | None = None,
        *,
        max_batch_seconds: float | None = None,
    ) -> list[Tensor]: ...
    def encode(
        self,
        audio: Audio | list[Any] | tuple[Any, ...],
        sample_rate: int | None = None,
        *,
        max_batch_seconds: float | None = None,
    ) -> Tensor | list[Tensor]:
        """Speech to codes, fifty a second.

        Args:
            audio: a path, an array or tensor (samples,) or (channels, samples), or a list of these, of any lengths.
                Channels are averaged; other rates than 16 kHz are resampled as upstream does.
            sample_rate: of arrays and tensors, in Hz; files know theirs.
            max_batch_seconds: how much of a list, padding included, is computed at a time (60 on a CPU, 480 on
                a GPU); lower it where memory is short. It never changes the answer.

        Returns:
            Codes, LongTensor (frames,) on the CPU, floor(samples / 320) of them, one more from ``DistillNeuCodec``; a
            list for a list, in its order.
            A recording of more than ten minutes is encoded in windows of ten minutes that overlap by ten seconds:
            the mel bands are then normalised per window and attention ends at its edges, so that codes differ from
            those of the whole, which would take memory and time that grow with the square of the length.

        Raises:
            AudioError: something is not audio, or is shorter than one frame (320 samples, 20 ms).
            DeviceError: there is too little memory for a batch.
        """
        items, many = split_items(audio)
        waveforms = []
        for index, item in enumerate(items):
            try:
                waveforms.append(self._waveform(item, sample_rate))
            except AudioError as error:
                if not many:
                    raise
                raise AudioError(f"item {index}: {error}") from error
        codes = self._encode_waveforms(waveforms, max_batch_seconds)
        return codes if many else codes[0]

    @overload
    def decode(self, codes: Codes, *, max_batch_seconds: float | None = None) -> Tensor: ...
    @overload
    def decode(
        self, codes: list[Any] | tuple[Any, ...], *, max_batch_seconds: float | None = None
    ) -> list[Tensor]: ...
    def decode(
        self, codes: Codes | list[Any] | tuple[Any, ...], *, max_batch_seconds: float | None = None
    ) -> Tensor | list[Tensor]:
        """Codes to speech.

        Args:
            codes: integers (frames,) as a tensor, an array or a list, or a list of such sequences of any lengths.
            max_batch_seconds: how much of a list, padding included, is computed at a time (60 on a CPU, 480 on
                a GPU); lower it where memory is short. It never changes the answer.

        Returns:
            Samples at 24 kHz, float32 (480 * frames,) on the CPU; a list for a list, in its order. More than ten
            minutes are decoded in pieces of ten minutes, cross-faded; attention then sees 5 s on either side of a
            piece, and group norms go by what has been decoded so far.

        Raises:
            CodesError: the codes are not integers, are none, or are not of this codebook.
            DeviceError: there is too little memory for a batch.
        """
        items, many = split_items(codes)
        sequences = [self.check_codes(item, f"item {i}" if many else "codes") for i, item in enumerate(items)]
        decoded = self._decode_sequences(sequences, max_batch_seconds)
        return decoded if many else decoded[0]

    def encode_code(self, audio_or_path: Tensor | str | os.PathLike[str]) -> Tensor:
        """Upstream's call: a tensor (B, 1, T) at 16 kHz, or a path, to codes, LongTensor (B, 1, frames).

        Raises:
            AudioError: the tensor has another shape, or what it holds is not audio.
        """
        if not isinstance(audio_or_path, Tensor):
            codes = [self.encode(audio_or_path)]
        elif audio_or_path.ndim != 3 or audio_or_path.shape[1] != 1:
            raise AudioError(
                f"encode_code takes a tensor (B, 1, T) at 16 kHz, not {tuple(audio_or_path.shape)}"
            )
        else:
            codes = self.encode([wave[0] for wave in audio_or_path], self.sample_rate)
        return torch.stack(codes)[:, None].to(self.device)

    def decode_code(self, fsq_codes: Tensor) -> Tensor:
        """Upstream's call: codes (B, 1, frames) to samples at 24 kHz, float32 (B, 1, 480 * frames).

        Raises:
            CodesError: the codes have another shape, or are not of this codebook.
        """
        if not isinstance(fsq_codes, Tensor) or fsq_codes.ndim != 3 or fsq_codes.shape[1] != 1:
            shape = tuple(fsq_codes.shape) if isinstance(fsq_codes, Tensor) else type(fsq_codes).__name__
            raise CodesError(f"decode_code takes a tensor (B, 1, frames), not {shape}")
        return torch.stack(self.decode([item[0] for item in fsq_codes]))[:, None].to(self.device)

    def stream(
        self,
        *,
        lookback: int = 50,
        chunk: int = 100,
        lookahead: int = 5,
        overlap: int = 1,
        first_chunk: int = 5,
        growth: float = 1.25,
        slack: float = 0.4,
    ) -> StreamingDecoder:
        """A ``StreamingDecoder`` on this codec; its class says what each setting costs."""
        from neucodec_tts.codec.streaming import StreamingDecoder

        return StreamingDecoder(
            self,
            lookback=lookback,
            chunk=chunk,
            lookahead=lookahead,
            overlap=overlap,
            first_chunk=first_chunk,
            growth=growth,
            slack=slack,
        )

    def check_codes(self, codes: Codes, name: str = "codes") -> Tensor:
        """Codes as a LongTensor (frames,) on the CPU.

        Raises:
            CodesError: they are not integers, have another shape, are none, or are not of this codebook.
        """
        try:
            tensor = (
                codes.detach().cpu() if isinstance(codes, Tensor) else torch.from_numpy(to_integers(codes))
            )
        except (TypeError, ValueError) as error:
            raise CodesError(f"{name}: not a sequence of integers ({error})") from error
        if tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.dtype == torch.bool:
            raise CodesError(
                f"{name}: codes are integers, these are {tensor.dtype}; convert them with .long()"
            )
        if tensor.ndim != 1:
            raise CodesError(
                f"{name}: codes are (frames,), these are {tuple(tensor.shape)}; pass a list of sequences, or use "
                "decode_code for (B, 1, frames)"
            )
        if tensor.numel() == 0:
            raise CodesError(f"{name}: there are no codes")
        tensor = tensor.long()
        outside = ((tensor < 0) | (tensor >= self.codebook_size)).nonzero()
        if len(outside):
            index = int(outside[0])
            raise CodesError(
                f"{name}: code {int(tensor[index])} at position {index} is outside this codec's 0 to "
                f"{self.codebook_size - 1}; were they made with another codec?"
            )
        return tensor

    def _waveform(self, audio: Audio, sample_rate: int | None) -> Tensor:
        waveform = as_waveform(audio, sample_rate, target_rate=self.sample_rate)
        if waveform.numel() < self.min_samples:
            name = os.fspath(audio) if isinstance(audio, str | os.PathLike) else "audio"
            raise AudioError(
                f"{name}: {waveform.numel()} samples at {self.sample_rate} Hz are shorter than one frame "
                f"({self.hop_length} samples, {1000 / self.frame_rate:.0f} ms); pad it with silence or leave it out"
            )
        return waveform

    def _encode_waveforms(self, waveforms: list[Tensor], max_batch_seconds: float | None) -> list[Tensor]:
        window = int(EXACT_SECONDS * self.sample_rate)
        overlap = int(_WINDOW_OVERLAP_SECONDS * self.sample_rate)
        pieces: list[Tensor] = []
        counts = []
        for waveform in waveforms:
            windows = list(split_windows(waveform, window, overlap))
            pieces += windows
            counts.append(len(windows))
        results = iter(
            run_in_batches(self.encode_batch, pieces, self.sample_rate, self.device, max_batch_seconds)
        )
        joined = []
        for count in counts:
            codes = [next(results) for _ in range(count)]
            # A codec may have one frame more, for what upstream pads a recording with; only the last window ends so.
            codes[:-1] = [piece[: window // self.hop_length] for piece in codes[:-1]]
            joined.append(join_windows(codes, int(_WINDOW_OVERLAP_SECONDS * self.frame_rate)))
        return joined

    def _decode_sequences(self, sequences: list[Tensor], max_batch_seconds: float | None) -> list[Tensor]:
        longest = int(EXACT_SECONDS * self.frame_rate)
        short = [codes for codes in sequences if codes.numel() <= longest]
        decoded = iter(
            run_in_batches(self.decode_batch, short, self.frame_rate, self.device, max_batch_seconds)
        )
        return [
            next(decoded) if codes.numel() <= longest else self._decode_long(codes) for codes in sequences
        ]

    def _decode_long(self, codes: Tensor) -> Tensor:
        margin = int(_WINDOW_OVERLAP_SECONDS * self.frame_rate / 2)
        chunk = int(EXACT_SECONDS * self.frame_rate) - margin
        with self.stream(
            lookback=margin, chunk=chunk, lookahead=margin, overlap=1, first_chunk=chunk, slack=0
        ) as decoder:
            return torch.cat([decoder.push(codes), decoder.flush()])
