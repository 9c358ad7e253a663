"""``OnnxCodec``: a codec whose network ONNX Runtime computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from neucodec_tts.codec.checkpoints.backend import onnx_config
from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.codec.onnx import network
from neucodec_tts.codec.quantizer import FiniteScalarQuantizer
from neucodec_tts.codec.streaming import Decoded, Window

if TYPE_CHECKING:
    from neucodec_tts.codec.checkpoints.hub import Location


class OnnxCodec(NeuCodec):
    """A codec made of exported ONNX files. It is used as `NeuCodec` is, on the CPU, and cannot be trained.

    Items are computed one by one. Those of more than a minute are computed in windows, as `NeuCodec` does with those
    of more than ten. A file is loaded when it is first needed.

    Args:
        files: of the codec.
    """

    def __init__(self, files: network.OnnxNetwork) -> None:
        nn.Module.__init__(self)
        self.network = files
        self.config = onnx_config(files.location)
        self.quantizer = FiniteScalarQuantizer(self.config)
        del self.quantizer.project_in, self.quantizer.project_out  # the files have them

    @classmethod
    def at(cls, location: Location) -> OnnxCodec:
        """The codec whose files lie there.

        Raises:
            CheckpointError: ``config.json`` is damaged, or describes another model.
        """
        return cls(network.OnnxNetwork(location))

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            raise AttributeError(
                f"{error}: its network lies in ONNX files; load the checkpoint that they were exported from"
            ) from error

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of samples: float32."""
        return torch.float32

    @property
    def exact_seconds(self) -> float:
        """Longest item that is computed as a whole, in seconds; attention has no blocks here."""
        return network.EXACT_SECONDS

    @property
    def codec_id(self) -> str:
        """Name of the codebook, as `NeuCodec` has it; "unnamed" where the files lie without ``config.json``."""
        return self.network.codec_id

    @property
    def min_samples(self) -> int:
        """Fewest samples that can be encoded: a frame, or with the distilled encoder 1."""
        return 1 if isinstance(self.config, DistillNeuCodecConfig) else super().min_samples

    def encoder_fingerprint(self) -> str:
        """That of the checkpoint which was exported, for the codes are the same."""
        return str(getattr(self.config, "encoder_fingerprint", "unnamed"))

    def encode_batch(self, waveforms: list[Tensor]) -> list[Tensor]:
        """As `NeuCodec.encode_batch`.

        Raises:
            CheckpointError: there is no encoder, or it is damaged.
        """
        return [torch.from_numpy(self.network.encode(waveform.float().numpy())) for waveform in waveforms]

    def decode_batch(self, sequences: list[Tensor]) -> list[Tensor]:
        """As `NeuCodec.decode_batch`.

        Raises:
            CheckpointError: the decoder is damaged.
        """
        sounds = self.network.decode_batch([codes.numpy() for codes in sequences])
        return [torch.from_numpy(sound) for sound in sounds]

    def decode_windows(self, windows: list[Window[Tensor]]) -> list[Decoded[Tensor]]:
        """As `NeuCodec.decode_windows`.

        Raises:
            CheckpointError: there is no streaming decoder, or it is damaged.
        """
        arrays = [
            Window(
                each.codes.numpy(),
                each.start,
                each.stop,
                each.lookback,
                None if each.memory is None else each.memory.numpy(),
            )
            for each in windows
        ]
        return [
            Decoded(torch.from_numpy(each.audio), torch.from_numpy(each.memory))
            for each in self.network.decode_windows(arrays)
        ]
