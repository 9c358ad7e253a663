"""Decoding in a few fixed shapes, which a GPU can record once and replay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from neucodec_tts.codec.devices import exact_math
from neucodec_tts.codec.frames import ContinuedFrames
from neucodec_tts.codec.precision import HALVES, check_finite
from neucodec_tts.codec.streaming import Decoded, Window, stack_memories

if TYPE_CHECKING:
    from neucodec_tts.codec.neucodec import NeuCodec

logger = logging.getLogger(__name__)

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


class FixedShapeDecoder:
    """Decodes windows of streams in a few lengths and batch sizes, padded to them.

    A window of a stream is small, and on a GPU launching its few hundred kernels one by one takes longer than they
    run. With fixed shapes they are recorded as a CUDA graph for each, and replayed. On a CPU nothing is gained,
    and nothing recorded. The sound is that of ``NeuCodec.decode_windows``, up to rounding: each graph is compared with
    the kernels one by one before it is used, and left aside with a warning if it differs or cannot be recorded.

    All shapes share their buffers and the memory of the graphs. What stays in use is twice the memories of the largest
    batch (NeuCodec: 64 streams, 630 MB) and what the largest batch takes while it is decoded.

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
        self._buffers: _Buffers | None = None
        self._record: Callable[[Callable[[], None]], Callable[[], None]] | None = None
        if codec.device.type == "cuda":
            pool = torch.cuda.graph_pool_handle()
            self._record = lambda compute: record_graph(compute, codec.device, pool)

    @property
    def recording(self) -> bool:
        """True while shapes are recorded as CUDA graphs: on a GPU, until one does not work."""
        return self._record is not None

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
            if self._buffers is None:
                self._buffers = _Buffers(self.codec, self.batch_sizes[-1], self.frames[-1], self.lookback)
            shape = _Shape(self.codec, size, frames, self.lookback, self._buffers)
            if self._record is not None:
                try:
                    shape.record(self._record)
                except Exception as error:  # whatever a driver can meet on somebody's machine
                    # The others would not fare better, and each attempt takes time.
                    self._record = None
                    logger.warning(
                        "streams are decoded more slowly: CUDA graphs %s",
                        str(error).strip().split("\n")[0] or type(error).__name__,
                    )
            self._shapes[size, frames] = shape
        return self._shapes[size, frames]


class _Buffers:
    """Inputs and outputs of a batch, at places that stay the same. Smaller batches use a part of them.

    Batches of all shapes are decoded one after the other, and their results copied, so that one set serves them all.
    """

    def __init__(self, codec: NeuCodec, size: int, frames: int, lookback: int) -> None:
        self.layout = codec.acoustic_decoder.memory_layout(lookback)
        device, dtype = codec.device, torch.promote_types(codec.dtype, torch.float32)
        self.codes = torch.zeros(size, frames, dtype=torch.long, device=device)
        # The length of each row, its frames that are played, and those before it, (3, size).
        self.counts = torch.full((3, size), frames, dtype=torch.long, device=device)
        self.memories = torch.zeros(size, self.layout.size, dtype=dtype, device=device)
        self.audio = torch.zeros(size, frames * codec.output_hop_length, device=device)
        self.kept = torch.zeros_like(self.memories)


class _Shape:
    """One batch size and length: parts of the buffers, and the graph that reads and writes them."""

    def __init__(self, codec: NeuCodec, size: int, frames: int, lookback: int, buffers: _Buffers) -> None:
        self._codec = codec
        self._lookback = lookback
        self._layout = buffers.layout
        self._codes = buffers.codes[:size, :frames]
        self._counts = buffers.counts[:, :size]
        self._memories = buffers.memories[:size]
        self._audio = buffers.audio[:size, : frames * codec.output_hop_length]
        self._kept = buffers.kept[:size]
        self._run: Callable[[], None] = self._compute

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
        self._run()
        hop = self._codec.output_hop_length
        audio = (
            self._audio[: len(windows)].cpu() if self._audio.is_cuda else self._audio[: len(windows)].clone()
        )
        check_finite(audio, torch.tensor(lengths) * hop, self._codec.dtype)
        return [
            Decoded(audio[row, : length * hop], self._kept[row].clone()) for row, length in enumerate(lengths)
        ]

    @torch.no_grad()
    def record(self, record: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        """Replace the kernels one by one by what ``record`` makes of them, if that does the same.

        Raises:
            RuntimeError: it does something else, or cannot be made.
        """
        replay = record(self._compute)
        size, frames = self._codes.shape
        generator = torch.Generator().manual_seed(0)
        self._codes.copy_(torch.randint(self._codec.codebook_size, self._codes.shape, generator=generator))
        lengths = torch.randint(1, frames + 1, (size,), generator=generator)
        self._counts.copy_(torch.stack([lengths, (lengths + 1) // 2, torch.full_like(lengths, 3)]))
        self._memories.copy_(torch.randn(self._memories.shape, generator=generator).square())
        self._compute()
        expected = self._audio.clone(), self._kept.clone()
        self._audio.zero_()
        self._kept.zero_()
        replay()
        most = 0.05 if self._codec.dtype in HALVES else 1e-3
        for found, wanted in zip((self._audio, self._kept), expected, strict=True):
            if not bool((found - wanted).norm() <= most * wanted.norm()):
                raise RuntimeError("give other results than their kernels one by one")
        self._run = replay

    def _compute(self) -> None:
        """Decode: samples (size, frames * output_hop_length), and the memories after them (size, S)."""
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
            self._audio.copy_(audio)
            self._kept.copy_(frames.memory)


def record_graph(compute: Callable[[], None], device: torch.device, pool: Any) -> Callable[[], None]:
    """Record what a function launches on a GPU as a CUDA graph; calling the result launches all of it at once.

    Args:
        compute: reads and writes tensors that stay where they are.
        device: the GPU.
        pool: memory that graphs share, which are never replayed at the same time.
    """
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # the first runs choose plans of cuFFT and algorithms of cuDNN
                compute()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the GPU meanwhile, to encode a voice, say.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            compute()
    replay: Callable[[], None] = graph.replay
    return replay
