"""Codecs that take and give NumPy's arrays, which is all that speech needs. One of ONNX files does without torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from neucodec_tts.codec.checkpoints.backend import ONNX_RUNTIME, check_onnx_options, find_backend
from neucodec_tts.codec.checkpoints.hub import HubOptions, locate
from neucodec_tts.codec.onnx.network import OnnxNetwork
from neucodec_tts.codec.streaming import Decoded, Window

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from neucodec_tts.codec.codes import Codes
    from neucodec_tts.codec.neucodec import NeuCodec


class ArrayCodec(Protocol):
    """The part of a codec that decodes, with arrays."""

    @property
    def codec(self) -> NeuCodec:
        """The whole codec, which takes and gives tensors; asking for it imports torch."""
        ...

    @property
    def device_name(self) -> str:
        """Where it computes, as in "cpu" or "cuda:0"."""
        ...

    @property
    def codec_id(self) -> str:
        """Name of the codebook."""
        ...

    @property
    def codebook_size(self) -> int:
        """Number of different codes."""
        ...

    @property
    def frame_rate(self) -> float:
        """Codes a second, in Hz."""
        ...

    @property
    def output_sample_rate(self) -> int:
        """Rate of decoded waveforms, in Hz."""
        ...

    @property
    def output_hop_length(self) -> int:
        """Samples that one code is decoded into."""
        ...

    def check_codes(self, codes: Codes, name: str = "codes") -> NDArray[np.int64]:
        """Codes as int64 (frames,).

        Raises:
            CodesError: they are none of this codec.
        """
        ...

    def decode(self, sequences: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Decode sequences of checked codes (frames,) of any lengths; returns float32 (hop * frames,) of each."""
        ...

    def decode_batch(self, sequences: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """The same for a few short ones, in one batch."""
        ...

    def decode_windows(self, windows: list[Window[Any]]) -> list[Decoded[Any]]:
        """Decode windows of streams with codes int64 (frames,), all of one lookback, in one batch."""
        ...


class TensorCodec:
    """A `NeuCodec` as an `ArrayCodec`.

    Args:
        codec: takes and gives tensors.
    """

    def __init__(self, codec: NeuCodec) -> None:
        self.codec = codec

    @property
    def device_name(self) -> str:
        """The device of the weights."""
        return str(self.codec.device)

    @property
    def codec_id(self) -> str:
        """As `NeuCodec` has it."""
        return self.codec.codec_id

    @property
    def codebook_size(self) -> int:
        """As `NeuCodec` has it."""
        return self.codec.codebook_size

    @property
    def frame_rate(self) -> float:
        """As `NeuCodec` has it."""
        return self.codec.frame_rate

    @property
    def output_sample_rate(self) -> int:
        """As `NeuCodec` has it."""
        return self.codec.output_sample_rate

    @property
    def output_hop_length(self) -> int:
        """As `NeuCodec` has it."""
        return self.codec.output_hop_length

    def check_codes(self, codes: Codes, name: str = "codes") -> NDArray[np.int64]:
        """As `ArrayCodec.check_codes`."""
        return self.codec.check_codes(codes, name).numpy()

    def decode(self, sequences: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """As `ArrayCodec.decode`."""
        import torch

        return [each.numpy() for each in self.codec.decode([torch.from_numpy(codes) for codes in sequences])]

    def decode_batch(self, sequences: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """As `ArrayCodec.decode_batch`."""
        import torch

        sounds = self.codec.decode_batch([torch.from_numpy(codes) for codes in sequences])
        return [each.numpy() for each in sounds]

    def decode_windows(self, windows: list[Window[Any]]) -> list[Decoded[Any]]:
        """As `ArrayCodec.decode_windows`; the memories stay tensors."""
        import torch

        tensors = [
            Window(torch.from_numpy(each.codes), each.start, each.stop, each.lookback, each.memory)
            for each in windows
        ]
        return [Decoded(each.audio.numpy(), each.memory) for each in self.codec.decode_windows(tensors)]


def as_array_codec(codec: NeuCodec | ArrayCodec) -> ArrayCodec:
    """A codec with arrays, whichever it is."""
    return codec if isinstance(codec, (TensorCodec, OnnxNetwork)) else TensorCodec(cast("NeuCodec", codec))


def load_array_codec(
    model: str | os.PathLike[str],
    *,
    device: str | None = None,
    backend: str | None = None,
    decoder: str | os.PathLike[str] | None = None,
    dtype: str | None = None,
    hub: HubOptions | None = None,
) -> ArrayCodec:
    """Load a codec; arguments and errors as for `NeuCodec.from_pretrained`. For ONNX files torch is not imported."""
    hub = hub or HubOptions()
    location = locate(model, hub)
    if find_backend(location, backend) == ONNX_RUNTIME:
        check_onnx_options(location, device, decoder, dtype)
        return OnnxNetwork(location)
    from neucodec_tts.codec.neucodec import NeuCodec

    return TensorCodec(
        NeuCodec.from_pretrained(
            model, device=device, dtype=dtype, backend=backend, decoder=decoder, **hub.keywords()
        )
    )
