"""``NeuCodec``: the parts put together, and the calls that users make."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
import torch
from torch import Tensor, nn
from transformers import NeuCodecConfig

from neucodec_tts.audio import as_waveform
from neucodec_tts.codec import checkpoint
from neucodec_tts.codec.acoustic_encoder import AcousticEncoder
from neucodec_tts.codec.batching import join_windows, plan_batches, split_windows
from neucodec_tts.codec.decoder import Decoder
from neucodec_tts.codec.devices import exact_convolutions, find_device, find_dtype, out_of_memory
from neucodec_tts.codec.features import pad_waveforms, semantic_features
from neucodec_tts.codec.quantizer import FiniteScalarQuantizer
from neucodec_tts.codec.ragged import Ragged
from neucodec_tts.codec.semantic_encoder import SemanticAdapter, SemanticEncoder, semantic_config
from neucodec_tts.errors import AudioError, CheckpointError, CodesError, DeviceError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from neucodec_tts.audio import Audio
    from neucodec_tts.codec.streaming import StreamingDecoder

#: Integers (frames,) of any kind.
Codes: TypeAlias = "Tensor | np.ndarray | Sequence[int]"

EXACT_SECONDS = 600.0
"""Recordings up to this long are computed as a whole, longer ones in overlapping windows of this length."""
_WINDOW_OVERLAP_SECONDS = 10.0
_BATCH_SECONDS = {"cpu": 60.0, "gpu": 480.0}  # of a list, padding included, computed at a time
_ACOUSTIC_SECONDS = {"cpu": 20.0, "gpu": 160.0}  # of it in the acoustic encoder, which takes the most memory


class NeuCodec(nn.Module):
    """The codec, as a module whose parameters are named as those of ``transformers``' ``NeuCodecModel``.

    ``encode`` and ``decode`` take single items or lists of any lengths, and give each item what it would get alone:
    its codes are those of upstream ``neucodec`` 0.0.6 encoding it alone in float32, its samples those of upstream
    decoding it alone. ``encode_code`` and ``decode_code`` have upstream's signatures.

    A module made by its constructor has random weights; ``from_pretrained`` loads a checkpoint.
    """

    def __init__(self, config: NeuCodecConfig) -> None:
        super().__init__()
        semantic = semantic_config(config)
        width = config.hidden_size + semantic.hidden_size
        if width != config.quantization_dim:
            raise CheckpointError(
                f"quantization_dim is {config.quantization_dim}; it must be hidden_size + semantic hidden_size, {width}"
            )
        if config.hidden_size % 32:
            raise CheckpointError(
                f"hidden_size is {config.hidden_size}; it must be a multiple of the 32 norm groups"
            )
        self.config = config
        self.semantic_encoder = SemanticEncoder(semantic)
        self.semantic_adapter = SemanticAdapter(config)
        self.acoustic_encoder = AcousticEncoder(config)
        self.fc_encoder = nn.Linear(width, width)
        self.quantizer = FiniteScalarQuantizer(config)
        self.acoustic_decoder = Decoder(config)
        self._codec_id: str | None = getattr(config, "codec_id", None)

    # What a checkpoint is

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str] = "tiny",
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        semantic_model: str = checkpoint.SEMANTIC_MODEL,
    ) -> NeuCodec:
        """Load a checkpoint, ready for use (``eval`` mode).

        Args:
            model: a hub id such as ``"neuphonic/neucodec"``, a folder, or ``"tiny"``, the small built-in checkpoint.
                Both the layout of ``transformers`` and upstream's ``pytorch_model.bin`` are read.
            device: where to put it, ``"cpu"`` by default.
            dtype: floating-point format of the weights, ``"float32"`` by default; ``"auto"`` takes the stored one.
                Codes and audio are exact in float32 only.
            revision: branch, tag or commit of a hub repository.
            cache_dir: where downloads are kept, if not where ``huggingface_hub`` keeps them.
            token: hub token; True takes the one you are logged in with.
            local_files_only: never use the network.
            semantic_model: hub id or folder of Wav2Vec2-BERT, which upstream's checkpoint needs when it does not
                hold the semantic encoder itself.

        Raises:
            CheckpointError: there is no such checkpoint, it cannot be downloaded, or it is damaged.
            DeviceError: there is no such device.
        """
        target = find_device(device)
        location = checkpoint.locate(
            model, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only
        )
        config, weights = checkpoint.load(location, semantic_model)
        try:
            with torch.device("meta"):
                codec = cls(config)
        except (ValueError, RuntimeError, ZeroDivisionError) as error:
            raise CheckpointError(
                f"the configuration of {location.name} describes no NeuCodec: {error}"
            ) from error
        checkpoint.check(codec.state_dict(), weights, location.name)
        codec.load_state_dict(weights, assign=True)
        if codec._codec_id is None:
            codec._codec_id = checkpoint.fingerprint(weights)
        wanted = find_dtype(dtype)
        return codec.to(device=target, dtype=wanted).eval().requires_grad_(False)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json``, ``model.safetensors`` and ``preprocessor_config.json`` in ``transformers``' layout.

        ``NeuCodecModel.from_pretrained`` of ``transformers`` reads the folder as well as ours does.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        from safetensors.torch import save_file

        from neucodec_tts.files import atomic_path

        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"cannot make the folder {target}: {error.strerror}") from error
        weights = {key: tensor.detach().cpu().contiguous() for key, tensor in self.state_dict().items()}
        with atomic_path(target / "model.safetensors", CheckpointError) as path:
            save_file(weights, path, metadata={"format": "pt"})
        config = self.config.to_dict()
        config |= {
            "architectures": ["NeuCodecModel"],
            "codec_id": self.codec_id,
            "dtype": str(self.dtype).removeprefix("torch."),
        }
        for name, content in (
            ("preprocessor_config.json", self._preprocessor_config()),
            ("config.json", config),
        ):
            with atomic_path(target / name, CheckpointError) as path:
                path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def _preprocessor_config(self) -> dict[str, Any]:
        """What ``transformers``' ``NeuCodecFeatureExtractor`` must know."""
        return {
            "feature_extractor_type": "NeuCodecFeatureExtractor",
            "feature_size": 80,
            "hop_length": self.hop_length,
            "padding_side": "right",
            "padding_value": 1.0,
            "return_attention_mask": True,
            "sampling_rate": self.sample_rate,
        }

    @property
    def codec_id(self) -> str:
        """Name of this checkpoint's codebook: codes made under one id must be decoded under the same."""
        if self._codec_id is None:
            return checkpoint.fingerprint(
                {"quantizer.project_out.weight": self.quantizer.project_out.weight.detach()}
            )
        return self._codec_id

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.fc_encoder.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point format of the weights."""
        return self.fc_encoder.weight.dtype

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

    # The network

    def encode_latents(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the quantizer gets, differentiable.

        Args:
            waveform: (B, T) at 16 kHz, each item padded as ``features.padded_length`` says, zeros beyond.
            lengths: padded samples of each item, LongTensor (B,).

        Returns:
            Vectors (B, frames, quantization_dim) and each item's number of frames, LongTensor (B,); what lies
            beyond an item's end has no meaning.
        """
        features, frames = semantic_features(waveform, lengths)
        count = features.shape[1]
        semantic_ragged = Ragged.of(frames, count)
        semantic = self.semantic_encoder(features, semantic_ragged).transpose(1, 2)
        semantic = self.semantic_adapter(semantic, semantic_ragged)
        # The semantic branch is a frame shorter: Kaldi's frames lie wholly inside the signal.
        acoustic = self._encode_acoustic(waveform.to(self.dtype), lengths)[..., :count]
        joined = torch.cat([semantic, acoustic], dim=1).transpose(1, 2)
        return self.fc_encoder(joined), frames

    def _encode_acoustic(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        samples = int(self._share(_ACOUSTIC_SECONDS) * self.sample_rate)
        rows = max(1, samples // waveform.shape[-1])
        chunk_frames = samples // self.hop_length
        return torch.cat(
            [
                self.acoustic_encoder.forward_in_chunks(part[:, None], part_lengths, chunk_frames)
                for part, part_lengths in zip(waveform.split(rows), lengths.split(rows), strict=True)
            ]
        )

    def decode_latents(self, quantized: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Vectors (B, frames, quantization_dim) to waveform, float32 (B, frames * 480), differentiable."""
        return self.acoustic_decoder(quantized, lengths)

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, quantize and decode, differentiable through the quantizer: what training needs.

        Args:
            waveform: (B, T) at 16 kHz, padded as for ``encode_latents``.
            lengths: padded samples of each item, LongTensor (B,).

        Returns:
            Waveform (B, frames * 480) at 24 kHz, codes (B, frames), and each item's number of frames (B,).
        """
        latents, frames = self.encode_latents(waveform, lengths)
        quantized, codes = self.quantizer(latents)
        return self.decode_latents(quantized, frames), codes, frames

    # What users call

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
            Codes, LongTensor (frames,) on the CPU, floor(samples / 320) of them; a list for a list, in its order.
            A recording of more than ten minutes is encoded in windows of ten minutes that overlap by ten seconds:
            the mel bands are then normalised per window and attention ends at its edges, so that codes differ from
            those of the whole, which would take memory and time that grow with the square of the length.

        Raises:
            AudioError: something is not audio, or is shorter than one frame (320 samples, 20 ms).
            DeviceError: there is too little memory for a batch.
        """
        items, many = _items(audio)
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
            minutes are decoded in overlapping windows of ten minutes, cross-faded; group norms and attention then
            see a window, not the whole.

        Raises:
            CodesError: the codes are not integers, are none, or are not of this codebook.
            DeviceError: there is too little memory for a batch.
        """
        items, many = _items(codes)
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
        chunk: int = 25,
        lookahead: int = 5,
        overlap: int = 1,
        first_chunk: int = 5,
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
        )

    def check_codes(self, codes: Codes, name: str = "codes") -> Tensor:
        """Codes as a LongTensor (frames,) on the CPU.

        Raises:
            CodesError: they are not integers, have another shape, are none, or are not of this codebook.
        """
        try:
            tensor = codes.detach().cpu() if isinstance(codes, Tensor) else torch.from_numpy(_integers(codes))
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

    # How lists are worked off

    def _waveform(self, audio: Audio, sample_rate: int | None) -> Tensor:
        waveform = as_waveform(audio, sample_rate, target_rate=self.sample_rate)
        if waveform.numel() < self.hop_length:
            name = os.fspath(audio) if isinstance(audio, str | os.PathLike) else "audio"
            raise AudioError(
                f"{name}: {waveform.numel()} samples at {self.sample_rate} Hz are shorter than one frame "
                f"({self.hop_length} samples, {1000 / self.frame_rate:.0f} ms); pad it with silence or leave it out"
            )
        return waveform

    def _encode_waveforms(self, waveforms: list[Tensor], max_batch_seconds: float | None) -> list[Tensor]:
        def run(batch: list[Tensor]) -> list[Tensor]:
            padded, lengths = pad_waveforms(batch, self.hop_length, self.device)
            latents, frames = self.encode_latents(padded, lengths)
            codes = self.quantizer(latents)[1].cpu()
            return [item[:count] for item, count in zip(codes, frames.tolist(), strict=True)]

        window = int(EXACT_SECONDS * self.sample_rate)
        overlap = int(_WINDOW_OVERLAP_SECONDS * self.sample_rate)
        pieces: list[Tensor] = []
        counts = []
        for waveform in waveforms:
            windows = list(split_windows(waveform, window, overlap))
            pieces += windows
            counts.append(len(windows))
        results = iter(self._in_batches(run, pieces, self.sample_rate, max_batch_seconds))
        joined = []
        for count in counts:
            codes = [next(results) for _ in range(count)]
            joined.append(join_windows(codes, int(_WINDOW_OVERLAP_SECONDS * self.frame_rate)))
        return joined

    def _decode_sequences(self, sequences: list[Tensor], max_batch_seconds: float | None) -> list[Tensor]:
        longest = int(EXACT_SECONDS * self.frame_rate)
        short = [codes for codes in sequences if codes.numel() <= longest]
        decoded = iter(self._in_batches(self.decode_batch, short, self.frame_rate, max_batch_seconds))
        return [
            next(decoded) if codes.numel() <= longest else self._decode_long(codes) for codes in sequences
        ]

    def _decode_long(self, codes: Tensor) -> Tensor:
        margin = int(_WINDOW_OVERLAP_SECONDS * self.frame_rate / 2)
        chunk = int(EXACT_SECONDS * self.frame_rate) - 2 * margin
        with self.stream(
            lookback=margin, chunk=chunk, lookahead=margin, overlap=1, first_chunk=chunk
        ) as decoder:
            return torch.cat([decoder.push(codes), decoder.flush()])

    def decode_batch(self, sequences: list[Tensor]) -> list[Tensor]:
        """Decode checked codes, LongTensors (frames,), in one batch to float32 (480 * frames,) on the CPU."""
        lengths = torch.tensor([codes.numel() for codes in sequences])
        padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True).to(self.device)
        with exact_convolutions(), torch.no_grad():
            audio = self.decode_latents(self.quantizer.lookup(padded), lengths.to(self.device)).cpu()
        return [item[: n * self.output_hop_length] for item, n in zip(audio, lengths.tolist(), strict=True)]

    def _share(self, seconds: dict[str, float]) -> float:
        return seconds["cpu" if self.device.type == "cpu" else "gpu"]

    def _in_batches(
        self,
        run: Callable[[list[Tensor]], list[Tensor]],
        items: list[Tensor],
        rate: float,
        max_batch_seconds: float | None,
    ) -> list[Tensor]:
        """``run`` over batches of items of like length; results in the order of the items."""
        seconds = self._share(_BATCH_SECONDS) if max_batch_seconds is None else max_batch_seconds
        results: list[Tensor | None] = [None] * len(items)
        for batch in plan_batches([item.numel() for item in items], int(seconds * rate)):
            try:
                with exact_convolutions(), torch.no_grad():
                    outputs = run([items[i] for i in batch])
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                longest = max(items[i].numel() for i in batch) / rate
                mend = "use a device with more memory, or cut it"
                if len(batch) > 1:
                    mend = f"set max_batch_seconds below {seconds:.0f}"
                raise DeviceError(
                    f"{self.device} has too little memory for a batch of {len(batch)} items of up to "
                    f"{longest:.1f} s; {mend}"
                ) from error
            for index, output in zip(batch, outputs, strict=True):
                results[index] = output.clone()
        return [result for result in results if result is not None]


def _items(value: Any) -> tuple[list[Any], bool]:
    """The items of a list of items, and True; or the one item, which may be a list of numbers, and False."""
    if isinstance(value, list | tuple):
        numbers = [isinstance(item, int | float | np.number) for item in value]
        if not value or not all(numbers):
            return list(value), True
    return [value], False


def _integers(codes: ArrayLike) -> np.ndarray:
    array = np.asarray(codes)
    if array.dtype.kind == "u":  # torch has few unsigned types
        array = array.astype(np.int64)
    return np.ascontiguousarray(array)
