"""``NeuCodec``: the parts put together, and its checkpoints; ``CodecInterface`` has the calls that users make."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers import NeuCodecConfig

from neucodec_tts.codec.acoustic_encoder import AcousticEncoder
from neucodec_tts.codec.checkpoints import load as checkpoint
from neucodec_tts.codec.checkpoints.hub import HubOptions, locate
from neucodec_tts.codec.decoder import Decoder
from neucodec_tts.codec.devices import exact_convolutions, find_device, find_dtype
from neucodec_tts.codec.features import pad_waveforms, semantic_features
from neucodec_tts.codec.frames import ContinuedFrames
from neucodec_tts.codec.interface import CodecInterface
from neucodec_tts.codec.lists import share_of
from neucodec_tts.codec.quantizer import FiniteScalarQuantizer
from neucodec_tts.codec.ragged import Ragged
from neucodec_tts.codec.semantic_encoder import SemanticAdapter, SemanticEncoder, semantic_config
from neucodec_tts.codec.streaming import Decoded, Window, stack_memories
from neucodec_tts.errors import CheckpointError

# Of a batch in the acoustic encoder, which takes the most memory.
_ACOUSTIC_SECONDS = {"cpu": 20.0, "gpu": 160.0}
_Codec = TypeVar("_Codec", bound="NeuCodec")


class NeuCodec(CodecInterface):
    """The codec, as a module whose parameters are named as those of ``transformers``' ``NeuCodecModel``.

    ``encode`` and ``decode`` take single items or lists of any lengths, and give each item what it would get alone:
    its codes are those of upstream ``neucodec`` 0.0.6 encoding it alone in float32, its samples those of upstream
    decoding it alone. ``encode_code`` and ``decode_code`` have upstream's signatures.

    A module made by its constructor has random weights; ``from_pretrained`` loads a checkpoint.
    """

    architecture = "NeuCodecModel"
    """What ``config.json`` calls the class."""

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

    # What a checkpoint is

    @classmethod
    def from_pretrained(
        cls: type[_Codec],
        model: str | os.PathLike[str] = "tiny",
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        semantic_model: str | None = None,
    ) -> _Codec:
        """Load a checkpoint, ready for use (``eval`` mode).

        Args:
            model: a hub id such as ``"neuphonic/neucodec"``, a folder, or ``"tiny"``, the small built-in checkpoint.
                Both the layout of ``transformers`` and upstream's ``pytorch_model.bin`` are read. From
                ``"neuphonic/distill-neucodec"`` and its like comes a ``DistillNeuCodec``, which is a ``NeuCodec``.
                X-Codec 2, whose codes Llasa speaks, is read in the layout of ``transformers``
                (``"HKUSTAudio/xcodec2-hf"``).
            device: where to put it, ``"cpu"`` by default.
            dtype: floating-point format of the weights, ``"float32"`` by default; ``"auto"`` takes the stored one.
                Codes and audio are exact in float32 only.
            revision: branch, tag or commit of a hub repository.
            cache_dir: where downloads are kept, if not where ``huggingface_hub`` keeps them.
            token: hub token; True takes the one you are logged in with.
            local_files_only: never use the network.
            semantic_model: hub id or folder of the semantic encoder, which upstream's checkpoint needs when it does
                not hold it itself; where upstream takes it from by default (``facebook/w2v-bert-2.0``, or
                ``ntu-spml/distilhubert`` for the distilled codec).

        Raises:
            CheckpointError: there is no such checkpoint, it cannot be downloaded, or it is damaged.
            DeviceError: there is no such device.
        """
        target = find_device(device)
        location = locate(model, HubOptions(revision, cache_dir, token, local_files_only))
        config, weights = checkpoint.load(location, semantic_model)
        codec_class = cls._class_for(config, location.name)
        try:
            with torch.device("meta"):
                codec = codec_class(config)
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

    @classmethod
    def _class_for(cls: type[_Codec], config: NeuCodecConfig, name: str) -> type[_Codec]:
        """What a checkpoint of ``config`` becomes: ``cls``, or the distilled codec where users asked for any."""
        from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig
        from neucodec_tts.codec.distilled.distill_neucodec import DistillNeuCodec

        found = DistillNeuCodec if isinstance(config, DistillNeuCodecConfig) else NeuCodec
        if issubclass(cls, DistillNeuCodec) == (found is DistillNeuCodec):
            return cls
        if issubclass(found, cls):
            return cast("type[_Codec]", found)
        raise CheckpointError(
            f"{name} holds a {found.__name__}, not a {cls.__name__}; load it with {found.__name__}.from_pretrained"
        )

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json``, ``model.safetensors`` and ``preprocessor_config.json`` in ``transformers``' layout.

        ``NeuCodecModel.from_pretrained`` of ``transformers``, which has no distilled codec, reads the folder as well
        as ours does.

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
            "architectures": [self.architecture],
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
        features, frames = semantic_features(waveform, lengths, getattr(self.config, "semantic_margin", 0))
        count = features.shape[1]
        semantic_ragged = Ragged.of(frames, count)
        semantic = self.semantic_encoder(features, semantic_ragged).transpose(1, 2)
        semantic = self.semantic_adapter(semantic, semantic_ragged)
        # The semantic branch is a frame shorter: Kaldi's frames lie wholly inside the signal.
        acoustic = self._encode_acoustic(waveform.to(self.dtype), lengths)[..., :count]
        joined = torch.cat([semantic, acoustic], dim=1).transpose(1, 2)
        return self.fc_encoder(joined), frames

    def _encode_acoustic(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        samples = int(share_of(_ACOUSTIC_SECONDS, self.device) * self.sample_rate)
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

    def encode_batch(self, waveforms: list[Tensor]) -> list[Tensor]:
        """Waveforms, float32 (samples,) at 16 kHz on the CPU, to their codes, LongTensors (frames,) on the CPU."""
        padded, lengths = pad_waveforms(waveforms, self.hop_length, self.device)
        with exact_convolutions(), torch.no_grad():
            latents, frames = self.encode_latents(padded, lengths)
            codes = self.quantizer(latents)[1].cpu()
        return [item[:count] for item, count in zip(codes, frames.tolist(), strict=True)]

    def decode_batch(self, sequences: list[Tensor]) -> list[Tensor]:
        """Decode checked codes, LongTensors (frames,), in one batch to float32 (480 * frames,) on the CPU."""
        lengths = torch.tensor([codes.numel() for codes in sequences])
        padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True).to(self.device)
        with exact_convolutions(), torch.no_grad():
            audio = self.decode_latents(self.quantizer.lookup(padded), lengths.to(self.device)).cpu()
        return [item[: n * self.output_hop_length] for item, n in zip(audio, lengths.tolist(), strict=True)]

    def decode_windows(self, windows: list[Window]) -> list[Decoded]:
        """Decode windows of streams, all of one lookback, in one batch, each going on from its memory."""
        lengths = torch.tensor([window.codes.numel() for window in windows])
        padded = nn.utils.rnn.pad_sequence([window.codes for window in windows], batch_first=True)
        frames = ContinuedFrames(
            lengths.to(self.device),
            padded.shape[1],
            settled=torch.tensor([window.settled for window in windows], device=self.device),
            before=torch.tensor([window.start for window in windows], device=self.device),
            memory=stack_memories(windows),
            lookback=windows[0].lookback,
        )
        with exact_convolutions(), torch.no_grad():
            audio = self.acoustic_decoder(self.quantizer.lookup(padded.to(self.device)), frames).cpu()
        memory = frames.memory
        samples = (lengths * self.output_hop_length).tolist()
        return [
            # Of its own, so that a stream that waits does not hold the memory of a whole batch.
            Decoded(audio[i, : samples[i]], memory[i].clone())
            for i in range(len(windows))
        ]
