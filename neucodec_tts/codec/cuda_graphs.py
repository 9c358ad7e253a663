"""Decoding in a few fixed shapes, which a GPU can record once and replay."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neucodec_tts.codec.devices import exact_math
from neucodec_tts.codec.frames import ContinuedFrames
from neucodec_tts.codec.streaming import Decoded, Window, stack_memories

if TYPE_CHECKING:
    from neucodec_tts.codec.neucodec import NeuCodec

logger = logging.getLogger(__name__)

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


class FixedShapeDecoder:
    """Decodes windows of streams in a few lengths and batch sizes, padded to them.

    A window of a stream is small, and on a GPU launching its few hundred kernels one by one takes longer than they
    run. With fixed shapes they are recorded as a CUDA graph for each, and replayed. On a CPU nothing is gained,
    and nothing recorded. The sound is that of ``NeuCodec.decode_windows``, up to rounding.

    Args:
        codec: decodes.
        frames: length of the longest window, or ascending lengths; longer ones are decoded as they are.
        lookback: of all windows; those of another are decoded as they are.
        batch_sizes: ascending; larger batches are decoded in parts.
    """

    def __init__(
        self,
        codec: NeuCodec,
        frames: int | Sequence[int],
        lookback: int,
        batch_sizes: Sequence[int] = BATCH_SIZES,
    ) -> None:
        self.codec = codec
        self.lookback = lookback
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

    def __call__(self, windows: list[Window]) -> list[Decoded]:
        """Decode windows of streams, all of one lookback, each going on from its memory."""
        longest = max(window.codes.numel() for window in windows)
        if longest > self.frames[-1] or windows[0].lookback != self.lookback:
            return self.codec.decode_windows(windows)
        frames = next(frames for frames in self.frames if frames >= longest)
        most = self.batch_sizes[-1]
        decoded: list[Decoded] = []
        for first in range(0, len(windows), most):
            part = windows[first : first + most]
            size = next(size for size in self.batch_sizes if size >= len(part))
            decoded += self._shape(size, frames).decode(part)
        return decoded

    def _shape(self, size: int, frames: int) -> _Shape:
        if (size, frames) not in self._shapes:
            self._shapes[size, frames] = _Shape(self.codec, size, frames, self.lookback, self._memory)
        return self._shapes[size, frames]


class _Shape:
    """One batch size and length: buffers that inputs are copied into, and the graph that reads them."""

    def __init__(self, codec: NeuCodec, size: int, frames: int, lookback: int, memory: Any) -> None:
        self._codec = codec
        self._lookback = lookback
        self._codes = torch.zeros(size, frames, dtype=torch.long, device=codec.device)
        # The length of each row, its frames that are played, and those before it, (3, size).
        self._counts = torch.full((3, size), frames, dtype=torch.long, device=codec.device)
        self._layout = codec.acoustic_decoder.memory_layout(lookback)
        dtype = torch.promote_types(codec.dtype, torch.float32)
        self._memories = torch.zeros(size, self._layout.size, dtype=dtype, device=codec.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._results = (torch.empty(0), torch.empty(0))  # the graph's output
        if memory is not None:
            self._record(memory)

    def decode(self, windows: list[Window]) -> list[Decoded]:
        lengths = [window.codes.numel() for window in windows]
        size, frames = self._codes.shape
        padded = torch.zeros(size, frames, dtype=torch.long)
        # Rows without a window have all frames, so that their statistics are defined.
        counts = torch.full((3, size), frames)
        for row, window in enumerate(windows):
            padded[row, : lengths[row]] = window.codes
            counts[:, row] = torch.tensor([lengths[row], window.settled, window.start])
        self._codes.copy_(padded)
        self._counts.copy_(counts)
        memories = stack_memories(windows)
        if memories is None:
            self._memories.zero_()
        else:
            self._memories[: len(windows)] = memories
        if self._graph is None:
            audio, kept = self._compute()
        else:
            self._graph.replay()
            audio, kept = self._results
        audio = audio[: len(windows)].cpu()
        hop = self._codec.output_hop_length
        return [Decoded(audio[row, : length * hop], kept[row].clone()) for row, length in enumerate(lengths)]

    def _compute(self) -> tuple[Tensor, Tensor]:
        """Samples (size, frames * output_hop_length), and the memories after them (size, S)."""
        lengths, settled, before = self._counts
        frames = ContinuedFrames(
            lengths,
            self._codes.shape[1],
            settled=settled,
            before=before,
            layout=self._layout,
            memory=self._memories,
            lookback=self._lookback,
        )
        with exact_math(self._codec.device), torch.no_grad():
            audio = self._codec.acoustic_decoder(self._codec.quantizer.lookup(self._codes), frames)
            return audio, frames.memory

    def _record(self, memory: Any) -> None:
        with torch.cuda.device(self._codec.device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):  # the first runs choose plans of cuFFT and algorithms of cuDNN
                    self._compute()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # Other threads may use the GPU meanwhile, to encode a voice, say.
            with torch.cuda.graph(graph, pool=memory, capture_error_mode="thread_local"):
                self._results = self._compute()
            self._graph = graph
