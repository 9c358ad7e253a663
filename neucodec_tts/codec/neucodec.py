"""``NeuCodec``: 16 kHz speech to codes at 50 Hz, and codes to 24 kHz speech, or another rate of its decoder."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import NeuCodecConfig

from neucodec_tts.audio import as_waveform
from neucodec_tts.codec.acoustic_encoder import AcousticEncoder
from neucodec_tts.codec.batching import run_in_batches, split_items
from neucodec_tts.codec.chunks import join_windows, split_windows
from neucodec_tts.codec.codes import Codes, check_codes
from neucodec_tts.codec.compiled import compile_decoder
from neucodec_tts.codec.decoder import Decoder
from neucodec_tts.codec.devices import exact_math, share_of
from neucodec_tts.codec.features import pad_waveforms, padded_length, semantic_features
from neucodec_tts.codec.frames import ContinuedFrames, Frames
from neucodec_tts.codec.onednn import compute_with_onednn, drop_packed_weights, packed_weights
from neucodec_tts.codec.precision import check_finite
from neucodec_tts.codec.pretrained import PretrainedCodec
from neucodec_tts.codec.quantizer import FiniteScalarQuantizer
from neucodec_tts.codec.ragged import Ragged
from neucodec_tts.codec.semantic_encoder import SemanticAdapter, SemanticEncoder, semantic_config
from neucodec_tts.codec.streaming import Decoded, StreamingDecoder, StreamSettings, Window, stack_memories
from neucodec_tts.errors import AudioError, CheckpointError, CodesError

if TYPE_CHECKING:
    from neucodec_tts.audio import Audio

EXACT_SECONDS = 600.0
"""Recordings up to this long are computed as a whole, longer ones in overlapping windows of this length."""
_WINDOW_OVERLAP_SECONDS = 10.0
# Length of a batch in the acoustic encoder, which takes the most memory.
_ACOUSTIC_SECONDS = {"cpu": 20.0, "gpu": 160.0}
_QUANTIZED_AT_ONCE = 2_048  # frames of each item


class NeuCodec(PretrainedCodec):
    """The codec, as a module whose parameters are named as those of ``transformers``' ``NeuCodecModel``.

    ``encode`` and ``decode`` take single items or lists of any lengths, and give each item what it would get alone:
    its codes are those of upstream ``neucodec`` 0.0.6 encoding it alone in float32, its samples those of upstream
    decoding it alone. ``encode_code`` and ``decode_code`` have upstream's signatures.

    A module made by its constructor has random weights; ``from_pretrained`` loads a checkpoint.
    """

    def __init__(self, config: NeuCodecConfig) -> None:
        super().__init__()
        if config.hidden_size % 32:
            raise CheckpointError(
                f"hidden_size is {config.hidden_size}; it must be a multiple of the 32 norm groups"
            )
        self.config = config
        self._make_encoder(config)
        self.quantizer = FiniteScalarQuantizer(config)
        self.acoustic_decoder = Decoder(config)
        compute_with_onednn(self)
        self._codec_id: str | None = getattr(config, "codec_id", None)

    def _make_encoder(self, config: NeuCodecConfig) -> None:
        semantic = semantic_config(config)
        width = config.hidden_size + semantic.hidden_size
        if width != config.quantization_dim:
            raise CheckpointError(
                f"quantization_dim is {config.quantization_dim}; it must be hidden_size + semantic hidden_size, {width}"
            )
        self.semantic_encoder = SemanticEncoder(semantic)
        self.semantic_adapter = SemanticAdapter(semantic.hidden_size, semantic.hidden_size)
        self.acoustic_encoder = AcousticEncoder(config)
        self.fc_encoder = nn.Linear(width, width)

    # Sizes. The cached ones are of the configuration, whose attributes take transformers some microseconds each.

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.quantizer.project_in.weight.device

    @property
    def codebook_size(self) -> int:
        """Number of different codes, 65,536 for NeuCodec."""
        return self.quantizer.codebook_size

    @cached_property
    def input_sample_rate(self) -> int:
        """Rate of encoded waveforms, in Hz: 16,000."""
        return int(self.config.input_sampling_rate)

    @cached_property
    def output_sample_rate(self) -> int:
        """Rate of decoded waveforms, in Hz: 24,000, or 44,100 or 48,000 with decoders of these rates."""
        return int(self.config.output_sampling_rate)

    @cached_property
    def input_hop_length(self) -> int:
        """Samples that are encoded into one code: 320."""
        return int(self.config.encoder_hop_length)

    @cached_property
    def output_hop_length(self) -> int:
        """Samples that one code is decoded into: 480 at 24 kHz, 882 at 44.1 kHz, 960 at 48 kHz."""
        return int(self.config.hop_length)

    @property
    def sample_rate(self) -> int:
        """Upstream's name of ``output_sample_rate``."""
        return self.output_sample_rate

    @property
    def hop_length(self) -> int:
        """Upstream's name of ``output_hop_length``."""
        return self.output_hop_length

    @property
    def frame_rate(self) -> float:
        """Codes a second, in Hz: 50."""
        return self.input_sample_rate / self.input_hop_length

    @property
    def min_samples(self) -> int:
        """Fewest samples that can be encoded."""
        return self.input_hop_length

    @property
    def exact_seconds(self) -> float:
        """Longest item that is computed as a whole, in seconds: 600."""
        return EXACT_SECONDS

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NeuCodec:
        self._placed = True  # by ``to``, ``cuda`` and their like
        applied = super()._apply(fn, recurse)
        drop_packed_weights(self, stale=True)
        return applied

    # Encoding and decoding

    @overload
    def encode(
        self,
        audio: Audio,
        sample_rate: int | None = None,
        *,
        channels_first: bool | None = None,
        max_batch_seconds: float | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Tensor: ...
    @overload
    def encode(
        self,
        audio: list[Any] | tuple[Any, ...],
        sample_rate: int | None = None,
        *,
        channels_first: bool | None = None,
        max_batch_seconds: float | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> list[Tensor]: ...
    def encode(
        self,
        audio: Audio | list[Any] | tuple[Any, ...],
        sample_rate: int | None = None,
        *,
        channels_first: bool | None = None,
        max_batch_seconds: float | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Tensor | list[Tensor]:
        """Speech to codes, fifty a second.

        Args:
            audio: a recording, as `neucodec_tts.audio.as_waveform` takes it (a path, bytes, an open file, a row of
                datasets, an array or tensor), or a list of these, of any lengths. Channels are mixed; other rates than
                16 kHz are resampled as upstream does.
            sample_rate: of arrays and tensors, in Hz; the rest knows its own.
            channels_first: True for arrays (channels, samples), False for (samples, channels). An array of two rows
                and more is refused without it, since they may be recordings.
            max_batch_seconds: length of a batch, padding included (60 on a CPU, 480 on a GPU by default); lower it
                where memory is short. It never changes the answer.
            on_progress: is called with the seconds of audio that have been encoded since the last call, from time to
                time.

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
                waveforms.append(self._waveform(item, sample_rate, channels_first))
            except AudioError as error:
                if not many:
                    raise
                raise AudioError(f"item {index}: {error}") from error
        codes = self._encode_waveforms(waveforms, max_batch_seconds, on_progress)
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
            max_batch_seconds: length of a batch, padding included (60 on a CPU, 480 on a GPU by default); lower it
                where memory is short. It never changes the answer.

        Returns:
            Samples at ``output_sample_rate``, float32 (output_hop_length * frames,) on the CPU; a list for a list, in
            its order. More than ten minutes are decoded in pieces of ten minutes, cross-faded; attention then sees 5 s
            on either side of a piece, and group norms go by what has been decoded so far.

        Raises:
            CodesError: the codes are not integers, are none, or are not of this codebook.
            DeviceError: there is too little memory for a batch.
        """
        items, many = split_items(codes)
        sequences = [self.check_codes(item, f"item {i}" if many else "codes") for i, item in enumerate(items)]
        decoded = self._decode_sequences(sequences, max_batch_seconds)
        return decoded if many else decoded[0]

    def encode_code(self, audio_or_path: Tensor | str | os.PathLike[str]) -> Tensor:
        """Upstream's call: a tensor (B, 1, T) at 16 kHz, or a path, to codes, int32 (B, 1, frames).

        They lie where upstream's would: on the device that the codec was moved to or loaded on by name, else on the
        CPU, even where the codec computes on a GPU.

        Raises:
            AudioError: the tensor has another shape, or what it holds is not audio.
        """
        if not isinstance(audio_or_path, Tensor):
            codes = [self.encode(audio_or_path)]
        else:
            codes = self.encode([wave[0] for wave in _batch(audio_or_path)], self.input_sample_rate)
        return torch.stack(codes)[:, None].to(self._answer_device, torch.int32)

    def decode_code(self, fsq_codes: Tensor) -> Tensor:
        """Upstream's call: codes (B, 1, frames) to samples, float32 (B, 1, output_hop_length * frames).

        They lie where those of ``encode_code`` do.

        Raises:
            CodesError: the codes have another shape, or are not of this codebook.
        """
        if (
            not isinstance(fsq_codes, Tensor)
            or fsq_codes.ndim != 3
            or fsq_codes.shape[1] != 1
            or not len(fsq_codes)
        ):
            shape = tuple(fsq_codes.shape) if isinstance(fsq_codes, Tensor) else type(fsq_codes).__name__
            raise CodesError(f"decode_code takes a tensor (B, 1, frames), not {shape}")
        return torch.stack(self.decode([item[0] for item in fsq_codes]))[:, None].to(self._answer_device)

    @property
    def _answer_device(self) -> torch.device:
        return self.device if self._placed else torch.device("cpu")

    def _prepare_audio(self, audio_or_path: Tensor | str | os.PathLike[str]) -> Tensor:
        """Upstream's: a tensor or a path, as for ``encode_code``, to what is encoded, float32 (B, 1, T).

        It is padded with zeros to the next frame, and by a whole frame where it ends with one.
        """
        if not isinstance(audio_or_path, Tensor):
            waves = as_waveform(audio_or_path, target_rate=self.input_sample_rate)[None, None]
        else:
            waves = _batch(audio_or_path)
        return F.pad(waves, (0, padded_length(waves.shape[-1], self.input_hop_length) - waves.shape[-1]))

    def stream(
        self,
        *,
        lookback: int = 50,
        chunk: int = 50,
        lookahead: int = 5,
        overlap: int = 1,
        first_chunk: int = 5,
        growth: float = 1.25,
        slack: float = 0.4,
    ) -> StreamingDecoder:
        """A ``StreamingDecoder`` on this codec; ``StreamSettings`` explains the settings.

        Raises:
            ValueError: a setting is out of range.
        """
        settings = StreamSettings(lookback, chunk, lookahead, overlap, first_chunk, growth, slack)
        return StreamingDecoder(self, settings)

    def compile_decoder(
        self, compiled: bool = True, *, backend: str | Callable[..., Any] = "inductor"
    ) -> bool:
        """Compile the decoder with ``torch.compile``, or undo that.

        The first batches then take a minute, and later ones less time on a GPU. The sound stays the same up to
        rounding; it is compared on a small input, and where it differs, or the compiler fails, nothing changes but for
        a warning.

        Args:
            compiled: False undoes it.
            backend: of ``torch.compile``.

        Returns:
            True if the decoder is compiled now.
        """
        return compile_decoder(self, compiled, backend)

    def check_codes(self, codes: Codes, name: str = "codes") -> Tensor:
        """Codes as a LongTensor (frames,) on the CPU; ``name`` is what an error calls them.

        Raises:
            CodesError: they are not integers, have another shape, are none, or are not of this codebook.
        """
        return check_codes(codes, self.codebook_size, name)

    # The network

    def encode_latents(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The input of the quantizer, differentiable.

        Args:
            waveform: (B, T) at 16 kHz, each item padded as ``features.padded_length`` says, zeros beyond.
            lengths: padded samples of each item, LongTensor (B,).

        Returns:
            Vectors (B, frames, quantization_dim) and each item's number of frames, LongTensor (B,); what lies
            beyond an item's end has no meaning.
        """
        joined, frames = self._encode_branches(waveform, lengths)
        return self.fc_encoder(joined), frames

    def _encode_branches(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The input of ``fc_encoder``, (B, frames, its width), and the numbers of frames; arguments as above."""
        features, frames = semantic_features(waveform, lengths, getattr(self.config, "semantic_margin", 0))
        count = features.shape[1]
        semantic_ragged = Ragged.of(frames, count)
        semantic = self.semantic_encoder(features, semantic_ragged).transpose(1, 2)
        semantic = self.semantic_adapter(semantic, semantic_ragged)
        # The semantic branch is a frame shorter: Kaldi's frames lie wholly inside the signal.
        acoustic = self._encode_acoustic(waveform, lengths)[..., :count]
        return torch.cat([semantic, acoustic], dim=1).transpose(1, 2), frames

    def _encode_acoustic(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        samples = int(share_of(_ACOUSTIC_SECONDS, self.device) * self.input_sample_rate)
        rows = max(1, samples // waveform.shape[-1])
        chunk_frames = samples // self.input_hop_length
        return torch.cat(
            [
                self.acoustic_encoder.forward_in_chunks(part[:, None], part_lengths, chunk_frames)
                for part, part_lengths in zip(waveform.split(rows), lengths.split(rows), strict=True)
            ]
        )

    def decode_latents(self, quantized: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Vectors (B, frames, quantization_dim) to waveform, float32 (B, frames * hop), differentiable."""
        # Made here, because a compiled decoder cannot ask for lengths.
        return self.acoustic_decoder(quantized, Frames.of(lengths, quantized.shape[1]))

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, quantize and decode, differentiable through the quantizer, for training.

        Args:
            waveform: (B, T) at 16 kHz, padded as for ``encode_latents``.
            lengths: padded samples of each item, LongTensor (B,).

        Returns:
            Waveform (B, frames * output_hop_length), codes (B, frames), and each item's number of frames (B,).
        """
        latents, frames = self.encode_latents(waveform, lengths)
        quantized, codes = self.quantizer(latents)
        return self.decode_latents(quantized, frames), codes, frames

    def encode_batch(self, waveforms: list[Tensor]) -> list[Tensor]:
        """Waveforms, float32 (samples,) at 16 kHz on the CPU, to their codes, LongTensors (frames,) on the CPU."""
        return self._encode_padded(self._pad(waveforms))

    def _pad(self, waveforms: list[Tensor]) -> tuple[Tensor, Tensor]:
        return pad_waveforms(waveforms, self.input_hop_length, self.device)

    def _encode_padded(self, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
        padded, lengths = batch
        with exact_math(self.device), torch.no_grad():
            joined, frames = self._encode_branches(padded, lengths)
            parts = []
            for start in range(0, joined.shape[1], _QUANTIZED_AT_ONCE):
                latents = self.fc_encoder(joined[:, start : start + _QUANTIZED_AT_ONCE])
                check_finite(latents, frames - start, self.dtype)
                parts.append(self.quantizer.codes(latents))
            codes = torch.cat(parts, dim=1).cpu()
        return [item[:count] for item, count in zip(codes, frames.tolist(), strict=True)]

    def decode_batch(self, sequences: list[Tensor]) -> list[Tensor]:
        """Decode checked codes, LongTensors (frames,), in one batch to float32 (hop * frames,) on the CPU."""
        lengths = torch.tensor([codes.numel() for codes in sequences])
        padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True).to(self.device)
        with exact_math(self.device), torch.no_grad():
            audio = self.decode_latents(self.quantizer.lookup(padded), lengths.to(self.device)).cpu()
        check_finite(audio, lengths * self.output_hop_length, self.dtype)
        return [item[: n * self.output_hop_length] for item, n in zip(audio, lengths.tolist(), strict=True)]

    def decode_windows(self, windows: list[Window]) -> list[Decoded]:
        """Decode windows of streams, all of one lookback, in one batch, each going on from its memory.

        On a CPU the first short windows make a second copy of the decoder's weights, with which they take less time.
        """
        lengths = torch.tensor([window.codes.numel() for window in windows])
        padded = nn.utils.rnn.pad_sequence([window.codes for window in windows], batch_first=True)
        frames = ContinuedFrames(
            lengths.to(self.device),
            padded.shape[1],
            settled=torch.tensor([window.settled for window in windows], device=self.device),
            before=torch.tensor([window.start for window in windows], device=self.device),
            layout=self.acoustic_decoder.memory_layout(windows[0].lookback),
            memory=stack_memories(windows),
            lookback=windows[0].lookback,
        )
        packed = packed_weights(self.acoustic_decoder, padded.numel())
        with exact_math(self.device), torch.no_grad(), packed:
            audio = self.acoustic_decoder(self.quantizer.lookup(padded.to(self.device)), frames).cpu()
        check_finite(audio, lengths * self.output_hop_length, self.dtype)
        memory = frames.memory
        samples = (lengths * self.output_hop_length).tolist()
        return [
            # A copy, so that a stream that waits does not hold the memory of a whole batch.
            Decoded(audio[i, : samples[i]], memory[i].clone())
            for i in range(len(windows))
        ]

    # Batches and windows

    def _waveform(self, audio: Audio, sample_rate: int | None, channels_first: bool | None) -> Tensor:
        waveform = as_waveform(
            audio, sample_rate, target_rate=self.input_sample_rate, channels_first=channels_first
        )
        if waveform.numel() < self.min_samples:
            name = os.fspath(audio) if isinstance(audio, str | os.PathLike) else "audio"
            raise AudioError(
                f"{name}: {waveform.numel()} samples at {self.input_sample_rate} Hz are shorter than one frame "
                f"({self.input_hop_length} samples, {1000 / self.frame_rate:.0f} ms); pad it with silence or leave it "
                "out"
            )
        return waveform

    def _encode_waveforms(
        self,
        waveforms: list[Tensor],
        max_batch_seconds: float | None,
        on_progress: Callable[[float], None] | None,
    ) -> list[Tensor]:
        window = int(self.exact_seconds * self.input_sample_rate)
        overlap = int(_WINDOW_OVERLAP_SECONDS * self.input_sample_rate)
        pieces: list[Tensor] = []
        counts = []
        for waveform in waveforms:
            windows = list(split_windows(waveform, window, overlap))
            pieces += windows
            counts.append(len(windows))
        on_gpu = self.device.type == "cuda"
        results = iter(
            run_in_batches(
                self._encode_padded if on_gpu else self.encode_batch,
                pieces,
                self.input_sample_rate,
                self.device,
                max_batch_seconds,
                on_progress,
                # The CPU pads and copies a batch while the GPU computes the one before.
                self._pad if on_gpu else None,
            )
        )
        joined = []
        for count in counts:
            codes = [next(results) for _ in range(count)]
            # A codec may have one frame more, for what upstream pads a recording with; only the last window ends so.
            codes[:-1] = [piece[: window // self.input_hop_length] for piece in codes[:-1]]
            joined.append(join_windows(codes, int(_WINDOW_OVERLAP_SECONDS * self.frame_rate)))
        return joined

    def _decode_sequences(self, sequences: list[Tensor], max_batch_seconds: float | None) -> list[Tensor]:
        longest = int(self.exact_seconds * self.frame_rate)
        short = [codes for codes in sequences if codes.numel() <= longest]
        decoded = iter(
            run_in_batches(self.decode_batch, short, self.frame_rate, self.device, max_batch_seconds)
        )
        return [
            next(decoded) if codes.numel() <= longest else self._decode_long(codes) for codes in sequences
        ]

    def _decode_long(self, codes: Tensor) -> Tensor:
        margin = int(_WINDOW_OVERLAP_SECONDS * self.frame_rate / 2)
        chunk = int(self.exact_seconds * self.frame_rate) - margin
        with self.stream(
            lookback=margin, chunk=chunk, lookahead=margin, overlap=1, first_chunk=chunk, slack=0
        ) as decoder:
            return torch.cat([decoder.push(codes), decoder.flush()])


def _batch(waves: Tensor) -> Tensor:
    """Waveforms as upstream takes them, (B, 1, T).

    Raises:
        AudioError: they have another shape.
    """
    if waves.ndim != 3 or waves.shape[1] != 1 or not len(waves):
        raise AudioError(f"upstream's calls take a tensor (B, 1, T) at 16 kHz, not {tuple(waves.shape)}")
    return waves
