"""``OnnxNetwork``: a codec's exported ONNX files, computed with arrays. Nothing here needs torch."""

from __future__ import annotations

import json
import math
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.codec.codes import check_code_array
from neucodec_tts.codec.onnx.layout import DATA_SUFFIX, DECODER, ENCODER, STREAMING_DECODER
from neucodec_tts.codec.onnx.session import Session
from neucodec_tts.codec.streaming import Decoded, Stream, StreamSettings, Window
from neucodec_tts.errors import CheckpointError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from neucodec_tts.codec.checkpoints.hub import Location
    from neucodec_tts.codec.codes import Codes
    from neucodec_tts.codec.neucodec import NeuCodec

_INPUTS = {
    DECODER: ("codes",),
    STREAMING_DECODER: ("codes", "memory", "settled", "before"),
    ENCODER: ("audio",),
}
EXACT_SECONDS = 60.0
"""Items up to this long are computed as a whole; attention has no blocks here."""
_MARGIN_SECONDS = 5.0
_ONNX_CODEC = "neucodec_tts.codec.onnx.onnx_codec:OnnxCodec"  # by name, since it imports this file


@dataclass(frozen=True)
class OnnxConfig:
    """The part of ``config.json`` that decoding needs. The defaults are NeuCodec's.

    Attributes:
        codec_id: name of the codebook; None where the file does not say.
        quantization_levels: levels of each digit of a code.
        downsampling_ratios: their product is the number of samples that become one code.
        input_sampling_rate: in Hz.
        output_sampling_rate: in Hz.
    """

    codec_id: str | None = None
    quantization_levels: tuple[int, ...] = (4,) * 8
    downsampling_ratios: tuple[int, ...] = (2, 2, 4, 4, 5)
    input_sampling_rate: int = 16_000
    output_sampling_rate: int = 24_000

    @classmethod
    def read(cls, location: Location) -> OnnxConfig:
        """Read it; without a file, as in Neuphonic's repositories, it is NeuCodec's.

        Raises:
            CheckpointError: it is damaged, or describes another model.
        """
        path = location.find("config.json")
        if path is None:
            return cls()
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} is not readable as JSON: {error}") from error
        kind = values.get("model_type") if isinstance(values, Mapping) else type(values).__name__
        if kind not in ("neucodec", "distill_neucodec"):
            raise CheckpointError(
                f"{path} describes a model of type {kind!r}, not 'neucodec' or 'distill_neucodec'"
            )
        try:
            return cls(
                codec_id=None if (codec_id := values.get("codec_id")) is None else str(codec_id),
                quantization_levels=_sizes(values, "quantization_levels", cls.quantization_levels),
                downsampling_ratios=_sizes(values, "downsampling_ratios", cls.downsampling_ratios),
                input_sampling_rate=_size(values.get("input_sampling_rate", cls.input_sampling_rate)),
                output_sampling_rate=_size(values.get("output_sampling_rate", cls.output_sampling_rate)),
            )
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is not a valid configuration of NeuCodec: {error}") from error


def _sizes(values: Mapping[str, Any], name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    found = values.get(name, default)
    if isinstance(found, str) or not found:
        raise ValueError(f"{name} is {found!r}")
    return tuple(_size(each) for each in found)


def _size(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} is no size")
    return value


class OnnxNetwork:
    """Exported ONNX files, an `ArrayCodec`. They are computed on the CPU, and items one by one.

    Items of more than a minute are computed in windows. A file is loaded when it is first needed.

    Args:
        location: of the files.

    Raises:
        CheckpointError: ``config.json`` is damaged.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.config = OnnxConfig.read(location)
        self._sessions: dict[str, Session] = {}
        self._lock = Lock()

    @cached_property
    def codec(self) -> NeuCodec:
        """The whole codec, which takes and gives tensors; asking for it imports torch."""
        codec: NeuCodec = pkgutil.resolve_name(_ONNX_CODEC)(self)
        return codec

    @property
    def device_name(self) -> str:
        """The CPU."""
        return "cpu"

    @property
    def codec_id(self) -> str:
        """Name of the codebook; "unnamed" where the files lie without ``config.json``."""
        return self.config.codec_id or "unnamed"

    @property
    def codebook_size(self) -> int:
        """Number of different codes."""
        return math.prod(self.config.quantization_levels)

    @property
    def frame_rate(self) -> float:
        """Codes a second, in Hz."""
        return self.config.input_sampling_rate / math.prod(self.config.downsampling_ratios)

    @property
    def output_sample_rate(self) -> int:
        """Rate of decoded waveforms, in Hz."""
        return self.config.output_sampling_rate

    @property
    def output_hop_length(self) -> int:
        """Samples that one code is decoded into."""
        return int(self.output_sample_rate / self.frame_rate)

    def check_codes(self, codes: Codes, name: str = "codes") -> NDArray[np.int64]:
        """As `ArrayCodec.check_codes`."""
        return check_code_array(codes, self.codebook_size, name)

    def encode(self, waveform: NDArray[np.float32]) -> NDArray[np.int64]:
        """A waveform (samples,) at the input's rate to its codes, int64 (frames,).

        Raises:
            CheckpointError: there is no encoder, or it is damaged.
        """
        (codes,) = self._session(ENCODER).run(audio=waveform.astype(np.float32, copy=False)[None, None])
        found: NDArray[np.int64] = codes[0, 0].astype(np.int64)
        return found

    def decode(self, sequences: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """As `ArrayCodec.decode`.

        Raises:
            CheckpointError: there is no decoder, or it is damaged.
        """
        longest = int(EXACT_SECONDS * self.frame_rate)
        return [
            self._decode_long(codes) if codes.size > longest else self._decode(codes) for codes in sequences
        ]

    def decode_batch(self, sequences: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """As `ArrayCodec.decode_batch`, one by one."""
        return [self._decode(codes) for codes in sequences]

    def decode_windows(self, windows: list[Window[NDArray[Any]]]) -> list[Decoded[NDArray[Any]]]:
        """As `ArrayCodec.decode_windows`, one by one.

        Raises:
            CheckpointError: there is no streaming decoder, or it is damaged.
        """
        return [self._decode_window(window) for window in windows]

    def _decode(self, codes: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.location.find(STREAMING_DECODER) is not None:  # one file in memory does for both
            audio: NDArray[np.float32] = self._decode_window(Window(codes, 0, codes.size, 0, None)).audio
            return audio
        (audio,) = self._session(DECODER).run(codes=codes.astype(np.int32)[None, None])
        return audio[0, 0].astype(np.float32, copy=False)

    def _decode_long(self, codes: NDArray[np.int64]) -> NDArray[np.float32]:
        margin = int(_MARGIN_SECONDS * self.frame_rate)
        chunk = int(EXACT_SECONDS * self.frame_rate) - margin
        settings = StreamSettings(
            lookback=margin, chunk=chunk, lookahead=margin, overlap=1, first_chunk=chunk, slack=0
        )
        stream: Stream[NDArray[Any]] = Stream(settings, self.output_hop_length)
        stream.push(codes)
        stream.finish()
        parts = []
        while (window := stream.next_window()) is not None:
            parts.append(stream.play(window, self._decode_window(window)))
        return np.concatenate(parts)

    def _decode_window(self, window: Window[NDArray[Any]]) -> Decoded[NDArray[Any]]:
        session = self._session(STREAMING_DECODER)
        memory = window.memory
        if memory is None:
            size = session.number("memory_size") + window.lookback * session.number("memory_per_frame")
            memory = np.zeros(size, np.float32)
        audio, next_memory = session.run(
            codes=window.codes.astype(np.int32)[None, None],
            memory=memory[None],
            settled=np.array([window.settled], np.int32),
            before=np.array([window.start], np.int32),
        )
        return Decoded(audio[0, 0], next_memory[0])

    def _session(self, name: str) -> Session:
        with self._lock:
            if name not in self._sessions:
                path = self.location.find(name)
                if path is None:
                    needs = {ENCODER: "encoding", STREAMING_DECODER: "streaming", DECODER: "decoding"}[name]
                    raise CheckpointError(
                        f"{self.location.name} has no {name}, which {needs} needs; write all files anew: "
                        "neucodec-tts export CODEC -o FOLDER"
                    )
                self.location.find(name + DATA_SUFFIX)  # downloaded beside it, if there is one
                self._sessions[name] = Session(path, _INPUTS[name], self.config.codec_id)
            return self._sessions[name]
