"""Codes at a fraction of the rate: codes are left out, and the vectors between those that stay are filled in.

The codebook, the encoder and the decoder stay as they are. What fills in is the decoder's ``Interpolator``.
``TokenInterpolator`` is the network that ``Scicom-AI-Enterprise-Organization/neucodec-44k`` trains for 25 and 12.5
codes a second (``token_interpolator.py``).
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor, nn
from transformers import NeuCodecConfig

from neucodec_tts.codec.batching import run_in_batches, split_items
from neucodec_tts.codec.checkpoints.load import check, read_pickle, read_safetensors
from neucodec_tts.codec.codes import Codes, check_codes
from neucodec_tts.codec.decoder import DecoderLayer, Interpolator
from neucodec_tts.codec.devices import exact_math
from neucodec_tts.codec.frames import Frames
from neucodec_tts.errors import CheckpointError, CodesError

if TYPE_CHECKING:
    from neucodec_tts.audio import Audio
    from neucodec_tts.codec.neucodec import NeuCodec

_HEAD_DIM = 64  # the one size that the rotary embedding of the fork's blocks takes


class TokenInterpolator(nn.Module):
    """Repeats each vector, adds what tells the repetitions apart, and lets a transformer predict the rest.

    Args:
        size: of the vectors, the decoder's ``hidden_size``; a multiple of 64.
        factor: codes that one stands for.
        depth: number of transformer layers.
    """

    def __init__(self, size: int = 1024, factor: int = 2, depth: int = 4) -> None:
        super().__init__()
        if size % _HEAD_DIM or factor < 1 or depth < 1:
            raise CheckpointError(
                f"an interpolator has vectors of a multiple of {_HEAD_DIM} values, a factor and layers, not {size}, "
                f"{factor} and {depth}"
            )
        config = NeuCodecConfig(
            hidden_size=size,
            intermediate_size=4 * size,
            num_attention_heads=size // _HEAD_DIM,
            num_key_value_heads=size // _HEAD_DIM,
            head_dim=_HEAD_DIM,
            attention_bias=False,
            rms_norm_eps=1e-6,
        )
        self.factor = factor
        self.sub_pos_embed = nn.Embedding(factor, size)
        # The fork's blocks are those of upstream's decoder, its rotary embedding by heads included, which cancels.
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(depth))
        self.norm = nn.LayerNorm(size)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str]) -> TokenInterpolator:
        """Load what the fork's ``train_interpolator.py`` saves, or the same tensors in ``.safetensors``.

        Sizes are read off the weights; heads have 64 values.

        Raises:
            CheckpointError: there is no such file, or it holds something else.
        """
        file = Path(path)
        if not file.is_file():
            raise CheckpointError(
                f"there is no file {str(path)!r} (now in {Path.cwd()}); name the weights of an interpolator"
            )
        weights = read_safetensors(file) if file.suffix == ".safetensors" else read_pickle(file)
        found = [re.match(r"transformer\.(\d+)\.", name) for name in weights]
        places = weights.get("sub_pos_embed.weight")
        depth = max((int(match[1]) for match in found if match), default=-1) + 1
        if places is None or places.ndim != 2 or not depth:
            raise CheckpointError(
                f"{file} holds no interpolator, which has sub_pos_embed.weight and transformer.0; name another file"
            )
        factor, size = places.shape
        with torch.device("meta"):
            made = cls(size, factor, depth)
        renamed = _renamed(weights)
        check(made.state_dict(), renamed, str(file))
        made.load_state_dict(renamed, assign=True)
        return made.eval().requires_grad_(False)

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        """(B, L, C) to (B, factor * L, C)."""
        places = self.sub_pos_embed.weight.repeat(x.shape[1], 1)
        x = x.repeat_interleave(self.factor, dim=1) + places
        for layer in self.layers:
            x = layer(x, frames)
        return self.norm(x)


def _renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The fork's weights under our names, queries, keys and values taken apart."""
    names = {
        "att_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
        "att.c_proj": "self_attn.o_proj",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    renamed = {}
    for name, tensor in weights.items():
        if ".rotary_embed." in name:
            continue
        match = re.fullmatch(r"transformer\.(\d+)\.(.+)\.weight", name)
        if match and match[2] == "att.c_attn":
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                renamed[f"layers.{match[1]}.self_attn.{part}_proj.weight"] = rows.clone()
        elif match and match[2] in names:
            renamed[f"layers.{match[1]}.{names[match[2]]}.weight"] = tensor
        else:
            renamed[name] = tensor
    return renamed


class LowRateCodec:
    """A codec that keeps every second or fourth code, and fills in the others before it decodes.

    Its codes are some of those of the codec, and mean the same. They are decoded as a whole, since an interpolator may
    look at all of an item: there are no streams.

    Args:
        codec: encodes and decodes at the full rate.
        interpolator: fills in; on the codec's device.

    Raises:
        CheckpointError: the codec has no decoder of torch, as one made of ONNX files.
    """

    def __init__(self, codec: NeuCodec, interpolator: Interpolator) -> None:
        if not hasattr(codec, "acoustic_decoder"):
            raise CheckpointError(
                "this codec is made of ONNX files; take the checkpoint that they were exported from"
            )
        self.codec, self.interpolator = codec, interpolator

    @classmethod
    def from_pretrained(
        cls, model: str | os.PathLike[str], interpolator: str | os.PathLike[str], **options: Any
    ) -> LowRateCodec:
        """Load a codec and a ``TokenInterpolator``.

        Args:
            model: the codec, as `NeuCodec.from_pretrained` takes it.
            interpolator: a file, as `TokenInterpolator.from_pretrained` takes it.
            options: further arguments of `NeuCodec.from_pretrained`, such as ``decoder``.

        Raises:
            CheckpointError: one of the two cannot be loaded, or the interpolator is for another decoder.
        """
        from neucodec_tts.codec.neucodec import NeuCodec

        filling = TokenInterpolator.from_pretrained(interpolator)
        codec = NeuCodec.from_pretrained(model, **options)
        size, wanted = filling.sub_pos_embed.weight.shape[1], codec.config.hidden_size
        if size != wanted:
            raise CheckpointError(
                f"{interpolator} fills in vectors of {size} values, and the decoder of {model} has {wanted}; take an "
                "interpolator that was trained with it"
            )
        return cls(codec, filling.to(codec.device, codec.dtype))

    @property
    def input_sample_rate(self) -> int:
        """Rate of encoded waveforms, in Hz."""
        return self.codec.input_sample_rate

    @property
    def output_sample_rate(self) -> int:
        """Rate of decoded waveforms, in Hz."""
        return self.codec.output_sample_rate

    @property
    def output_hop_length(self) -> int:
        """Samples that one code is decoded into."""
        return self.interpolator.factor * self.codec.output_hop_length

    @property
    def frame_rate(self) -> float:
        """Codes a second, in Hz."""
        return self.codec.frame_rate / self.interpolator.factor

    @property
    def codebook_size(self) -> int:
        """Number of different codes."""
        return self.codec.codebook_size

    @property
    def codec_id(self) -> str:
        """Name of the codes: that of the codec, with the rate, since the codec alone would play them too fast."""
        return f"{self.codec.codec_id}@{self.frame_rate:g}"

    @overload
    def encode(self, audio: Audio, sample_rate: int | None = None, **options: Any) -> Tensor: ...
    @overload
    def encode(
        self, audio: list[Any] | tuple[Any, ...], sample_rate: int | None = None, **options: Any
    ) -> list[Tensor]: ...
    def encode(self, audio: Any, sample_rate: int | None = None, **options: Any) -> Tensor | list[Tensor]:
        """As `NeuCodec.encode`, of whose codes the first of every ``factor`` stay, LongTensor (frames,)."""
        codes = self.codec.encode(audio, sample_rate, **options)
        factor = self.interpolator.factor
        return [each[::factor] for each in codes] if isinstance(codes, list) else codes[::factor]

    @overload
    def decode(self, codes: Codes, *, max_batch_seconds: float | None = None) -> Tensor: ...
    @overload
    def decode(
        self, codes: list[Any] | tuple[Any, ...], *, max_batch_seconds: float | None = None
    ) -> list[Tensor]: ...
    def decode(
        self, codes: Codes | list[Any] | tuple[Any, ...], *, max_batch_seconds: float | None = None
    ) -> Tensor | list[Tensor]:
        """Codes (frames,), or a list of such sequences, to float32 (output_hop_length * frames,) each, on the CPU.

        Raises:
            CodesError: they are no codes of this codec, or more than the codec computes as a whole.
            DeviceError: there is too little memory for a batch.
        """
        items, many = split_items(codes)
        names = [f"item {i}" if many else "codes" for i in range(len(items))]
        sequences = [
            check_codes(item, self.codebook_size, name) for item, name in zip(items, names, strict=True)
        ]
        for sequence, name in zip(sequences, names, strict=True):
            if sequence.numel() > self.codec.exact_seconds * self.frame_rate:
                raise CodesError(
                    f"{name}: {sequence.numel() / self.frame_rate:.0f} s are more than the "
                    f"{self.codec.exact_seconds:g} s that are computed as a whole; decode it in parts"
                )
        decoded = run_in_batches(
            self._decode_batch, sequences, self.frame_rate, self.codec.device, max_batch_seconds
        )
        return decoded if many else decoded[0]

    def _decode_batch(self, sequences: list[Tensor]) -> list[Tensor]:
        codec = self.codec
        lengths = torch.tensor([codes.numel() for codes in sequences], device=codec.device)
        padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True).to(codec.device)
        with exact_math(codec.device), torch.no_grad():
            vectors = codec.quantizer.lookup(padded)
            audio = codec.acoustic_decoder(vectors, lengths, self.interpolator).cpu()
        samples = [codes.numel() * self.output_hop_length for codes in sequences]
        return [item[:count] for item, count in zip(audio, samples, strict=True)]
