"""Decoding in a few fixed shapes, which a GPU can record once and replay."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neucodec_tts.codec.devices import exact_convolutions
from neucodec_tts.codec.ragged import Ragged

if TYPE_CHECKING:
    from neucodec_tts.codec.model import NeuCodec

logger = logging.getLogger(__name__)

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


class FixedShapeDecoder:
    """Decodes windows of streams in a few lengths and batch sizes, padded to them.

    A window of a stream is small, and on a GPU launching its few hundred kernels one by one takes longer than they
    run. With fixed shapes they are recorded as a CUDA graph for each, and replayed. On a CPU nothing is gained,
    and nothing recorded. The sound is that of ``NeuCodec.decode_batch``, up to rounding.

    Args:
        codec: decodes.
        frames: length of the longest window, or ascending lengths; longer ones are decoded as they are.
        batch_sizes: ascending; larger batches are decoded in parts.
    """

    def __init__(
        self, codec: NeuCodec, frames: int | Sequence[int], batch_sizes: Sequence[int] = BATCH_SIZES
    ) -> None:
        self.codec = codec
        self.frames = (frames,) if isinstance(frames, int) else tuple(frames)
        self.batch_sizes = tuple(batch_sizes)
        self._shapes: dict[tuple[int, int], _Shape] = {}
        self._memory = torch.cuda.graph_pool_handle() if codec.device.type == "cuda" else None

    def warm_up(self) -> None:
        """Make all shapes now, so that no listener waits for it; on a GPU some seconds."""
        for frames in reversed(self.frames):  # the largest first: the others fit into its memory
            for size in reversed(self.batch_sizes):
                self._shape(size, frames)
        logger.info("decoding in batches of %s, of %s frames each", self.batch_sizes, self.frames)

    def __call__(self, sequences: list[Tensor]) -> list[Tensor]:
        """Decode checked codes, LongTensors (frames,), to float32 (480 * frames,) on the CPU."""
        longest = max(codes.numel() for codes in sequences)
        if longest > self.frames[-1]:
            return self.codec.decode_batch(sequences)
        frames = next(frames for frames in self.frames if frames >= longest)
        most = self.batch_sizes[-1]
        decoded: list[Tensor] = []
        for first in range(0, len(sequences), most):
            part = sequences[first : first + most]
            size = next(size for size in self.batch_sizes if size >= len(part))
            decoded += self._shape(size, frames).decode(part, self.codec.output_hop_length)
        return decoded

    def _shape(self, size: int, frames: int) -> _Shape:
        if (size, frames) not in self._shapes:
            self._shapes[size, frames] = _Shape(self.codec, size, frames, self._memory)
        return self._shapes[size, frames]


class _Shape:
    """One batch size and length: buffers that inputs are copied into, and the graph that reads them."""

    def __init__(self, codec: NeuCodec, size: int, frames: int, memory: Any) -> None:
        self._codec = codec
        self._codes = torch.zeros(size, frames, dtype=torch.long, device=codec.device)
        self._lengths = torch.full((size,), frames, dtype=torch.long, device=codec.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._audio = torch.empty(0)  # what the graph writes to
        if memory is not None:
            self._record(memory)

    def decode(self, sequences: list[Tensor], hop: int) -> list[Tensor]:
        lengths = [codes.numel() for codes in sequences]
        size, frames = self._codes.shape
        padded = torch.zeros(size, frames, dtype=torch.long)
        for row, codes in enumerate(sequences):
            padded[row, : codes.numel()] = codes
        # Rows without a window have all frames, so that no statistics are those of nothing.
        self._codes.copy_(padded)
        self._lengths.copy_(torch.tensor(lengths + [frames] * (size - len(lengths))))
        if self._graph is None:
            audio = self._compute()
        else:
            self._graph.replay()
            audio = self._audio
        audio = audio[: len(sequences)].cpu()
        return [row[: length * hop] for row, length in zip(audio, lengths, strict=True)]

    def _compute(self) -> Tensor:
        # Lengths as they are: asking whether all are equal would wait for the GPU, which cannot be recorded.
        ragged = Ragged(self._lengths, self._codes.shape[1])
        with exact_convolutions(), torch.no_grad():
            return self._codec.acoustic_decoder(self._codec.quantizer.lookup(self._codes), ragged)

    def _record(self, memory: Any) -> None:
        with torch.cuda.device(self._codec.device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(
                side
            ):  # plans of cuFFT and algorithms of cuDNN are chosen in the first runs
                for _ in range(3):
                    self._compute()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the GPU meanwhile, to encode a voice, say.
            with torch.cuda.graph(graph, pool=memory, capture_error_mode="thread_local"):
                self._audio = self._compute()
            self._graph = graph
