"""``OnnxCodec``: a codec whose network ONNX Runtime computes."""

from __future__ import annotations

from threading import Lock

import numpy as np
import torch
from torch import Tensor, nn
from transformers import NeuCodecConfig

from neucodec_tts.codec.checkpoints.hub import Location
from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.codec.onnx.layout import DATA_SUFFIX, DECODER, ENCODER, STREAMING_DECODER
from neucodec_tts.codec.onnx.session import Session
from neucodec_tts.codec.quantizer import FiniteScalarQuantizer
from neucodec_tts.codec.streaming import Decoded, Window
from neucodec_tts.errors import CheckpointError

_INPUTS = {
    DECODER: ("codes",),
    STREAMING_DECODER: ("codes", "memory", "settled", "before"),
    ENCODER: ("audio",),
}
_EXACT_SECONDS = 60.0


class OnnxCodec(NeuCodec):
    """A codec made of exported ONNX files. It is used as `NeuCodec` is, on the CPU, and cannot be trained.

    Items are computed one by one. Those of more than a minute are computed in windows, as `NeuCodec` does with those
    of more than ten. A file is loaded when it is first needed.

    Args:
        config: of the codec.
        location: of the files.
    """

    def __init__(self, config: NeuCodecConfig, location: Location) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.quantizer = FiniteScalarQuantizer(config)
        del self.quantizer.project_in, self.quantizer.project_out  # the files have them
        self._codec_id = getattr(config, "codec_id", None)
        self._location = location
        self._sessions: dict[str, Session] = {}
        self._lock = Lock()

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
        return _EXACT_SECONDS

    @property
    def codec_id(self) -> str:
        """Name of the codebook, as `NeuCodec` has it; "unnamed" where the files lie without ``config.json``."""
        return self._codec_id or "unnamed"

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
        session = self._session(ENCODER)
        codes = [session.run(audio=waveform.float().numpy()[None, None])[0] for waveform in waveforms]
        return [torch.from_numpy(each[0, 0].astype(np.int64)) for each in codes]

    def decode_batch(self, sequences: list[Tensor]) -> list[Tensor]:
        """As `NeuCodec.decode_batch`.

        Raises:
            CheckpointError: the decoder is damaged.
        """
        if self._location.find(STREAMING_DECODER) is not None:  # one file in memory does for both
            windows = [Window(codes, 0, codes.numel(), 0, None) for codes in sequences]
            return [decoded.audio for decoded in self.decode_windows(windows)]
        session = self._session(DECODER)
        audio = [session.run(codes=codes.to(torch.int32).numpy()[None, None])[0] for codes in sequences]
        return [torch.from_numpy(each[0, 0].astype(np.float32, copy=False)) for each in audio]

    def decode_windows(self, windows: list[Window]) -> list[Decoded]:
        """As `NeuCodec.decode_windows`.

        Raises:
            CheckpointError: there is no streaming decoder, or it is damaged.
        """
        return [self._decode_window(window) for window in windows]

    def _decode_window(self, window: Window) -> Decoded:
        session = self._session(STREAMING_DECODER)
        if window.memory is None:
            size, per_frame = (int(session.metadata[f"memory_{name}"]) for name in ("size", "per_frame"))
            memory = np.zeros(size + window.lookback * per_frame, np.float32)
        else:
            memory = window.memory.numpy()
        audio, next_memory = session.run(
            codes=window.codes.to(torch.int32).numpy()[None, None],
            memory=memory[None],
            settled=np.array([window.settled], np.int32),
            before=np.array([window.start], np.int32),
        )
        return Decoded(torch.from_numpy(audio[0, 0]), torch.from_numpy(next_memory[0]))

    def _session(self, name: str) -> Session:
        with self._lock:
            if name not in self._sessions:
                path = self._location.find(name)
                if path is None:
                    needs = {ENCODER: "encoding", STREAMING_DECODER: "streaming", DECODER: "decoding"}[name]
                    raise CheckpointError(
                        f"{self._location.name} has no {name}, which {needs} needs; write all files anew: "
                        "neucodec-tts export CODEC -o FOLDER"
                    )
                self._location.find(name + DATA_SUFFIX)  # downloaded beside it, if there is one
                self._sessions[name] = Session(path, _INPUTS[name], self._codec_id)
            return self._sessions[name]
