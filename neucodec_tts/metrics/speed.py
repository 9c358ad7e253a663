"""Time a codec beside ``transformers``' ``NeuCodecModel``: same weights, same input, same device.

The two take turns, so that other work on the machine slows both. Absolute times describe the machine, the ratio
describes the code.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

import numpy as np

from neucodec_tts.errors import NeuCodecError
from neucodec_tts.metrics.half_precision import decibels

if TYPE_CHECKING:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import NeuCodecModel

    from neucodec_tts.codec.neucodec import NeuCodec

Work = Literal["encode", "decode", "stream"]


@dataclass(frozen=True)
class Speed:
    """Times of one kind of work, in seconds.

    Attributes:
        work: what was timed. `transformers` cannot stream.
        seconds: length of each item.
        batch: items at a time; 1 for a stream.
        ours: each repeat, the whole batch.
        theirs: the same by ``transformers``; empty where it cannot do it.
        agreement: encode: share of equal codes; decode: SNR of ours against theirs, in dB; None for a stream.
        first_sound: each repeat of a stream, from the first code to the first samples, codes at hand; else empty.
        operations: of matrix products, attention and convolutions for the batch; None for a stream, and where PyTorch
            does not compute them.
        limit: operations a second of a large matrix product, timed between the repeats, the median.
    """

    work: Work
    seconds: float
    batch: int
    ours: list[float]
    theirs: list[float]
    agreement: float | None = None
    first_sound: tuple[float, ...] = ()
    operations: float | None = None
    limit: float | None = None

    @property
    def real_time_factor(self) -> float:
        """Median of ours, in seconds per second of audio."""
        return median(self.ours) / (self.batch * self.seconds)

    @property
    def ratio(self) -> float | None:
        """Their median time over ours: above 1 where ours is faster. None where there is none of theirs."""
        return median(self.theirs) / median(self.ours) if self.theirs else None

    @property
    def share_of_limit(self) -> float | None:
        """Operations a second of ours over those of a matrix product. None where they are not counted."""
        if self.operations is None or self.limit is None:
            return None
        return self.operations / median(self.ours) / self.limit


def random_codec(device: str | None = None) -> NeuCodec:
    """NeuCodec at full size with random weights, float32, which take as long as trained ones.

    Raises:
        DeviceError: there is no such device.
    """
    import torch
    from transformers import NeuCodecConfig

    from neucodec_tts.codec.devices import find_device
    from neucodec_tts.codec.neucodec import NeuCodec

    torch.manual_seed(0)
    return NeuCodec(NeuCodecConfig()).to(find_device(device)).eval().requires_grad_(False)


def measure_speed(
    codec: NeuCodec,
    work: Work,
    *,
    seconds: float = 10.0,
    batch: int = 1,
    repeats: int = 5,
    exact: NeuCodec | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Speed:
    """Time `repeats` runs, after one to warm up; ours and those of ``transformers`` take turns.

    Timed is what a user calls: waveforms in memory to codes in memory, features included; codes to waveforms; codes
    one by one to samples.

    Args:
        codec: what is timed.
        work: what it does.
        seconds: length of each item. All items have one length, the case in which ``transformers`` is right, too.
        batch: items at a time.
        repeats: timed runs of each.
        exact: the codec in float32, whose weights ``transformers`` takes; by default the codec itself.
        advance: called with 1 after each of the `repeats` + 1 rounds.

    Raises:
        NeuCodecError: a number is too small.
    """
    import torch

    if repeats < 1 or batch < 1 or seconds < 0.1:
        raise NeuCodecError(
            f"cannot time {repeats} repeats of {batch} items of {seconds} s; at least 1, 1 and 0.1 are needed"
        )
    generator = np.random.default_rng(0)
    frames = round(seconds * codec.frame_rate)
    sequences = [torch.from_numpy(generator.integers(0, codec.codebook_size, frames)) for _ in range(batch)]
    if work == "stream":
        rounds = []
        for _ in range(repeats + 1):
            rounds.append(_stream(codec, sequences[0]))
            advance(1)
        totals, firsts = zip(*rounds[1:], strict=True)
        return Speed(work, seconds, 1, [*totals], [], None, firsts)
    peer = transformers_model(exact or codec)
    samples = round(seconds * codec.input_sample_rate)
    waveforms = [generator.normal(0.0, 0.1, samples).astype(np.float32) for _ in range(batch)]
    runs: list[Callable[[], torch.Tensor]]
    if work == "encode":
        runs = [lambda: torch.stack(codec.encode([*waveforms], codec.input_sample_rate))]
        if peer is not None:
            runs.append(lambda: encode_with_transformers(peer, waveforms, codec.input_sample_rate))
    else:
        runs = [lambda: torch.stack(codec.decode([*sequences]))]
        if peer is not None:
            runs.append(lambda: decode_with_transformers(peer, sequences))
    with count_operations() as counter:
        outputs = [runs[0]()]
    outputs += [run() for run in runs[1:]]
    advance(1)
    times: list[list[float]] = [[], []]
    limits = []
    for _ in range(repeats):
        for run, taken in zip(runs, times, strict=False):
            start = time.perf_counter()
            run()  # ends with a copy to the CPU, so a GPU has finished
            taken.append(time.perf_counter() - start)
        limits.append(matrix_speed(codec.device, codec.dtype))
        advance(1)
    agreement = _agreement(work, *outputs) if peer is not None else None
    ours, theirs = times
    operations = float(counter.get_total_flops()) or None  # none are seen of ONNX Runtime's
    return Speed(work, seconds, batch, ours, theirs, agreement, operations=operations, limit=median(limits))


def count_operations() -> FlopCounterMode:
    """Count operations of matrix products, attention and convolutions, those of a CPU's own kernels, too."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    own = {}
    for library, name, count in (
        (torch.ops.mkldnn, "_linear_pointwise", _of_linear),
        (torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", _of_attention),
    ):
        kernel = getattr(library, name, None)  # not every build of PyTorch has oneDNN
        if kernel is not None:
            own[kernel] = count
    return FlopCounterMode(display=False, custom_mapping=own)


def _of_linear(x: list[int], weight: list[int], *_: object, **__: object) -> int:
    """Operations of a linear layer, from shapes."""
    return 2 * math.prod(x) * weight[0]


def _of_attention(query: list[int], key: list[int], value: list[int], *_: object, **__: object) -> int:
    """Those of attention, from (B, heads, L, width)."""
    return 2 * math.prod(query[:3]) * key[2] * (query[3] + value[3])


def matrix_speed(device: torch.device, dtype: torch.dtype, size: int = 2048, runs: int = 3) -> float:
    """Operations a second of a product of two square matrices, the best of some runs.

    Float32 is computed without TF32, as the codec does.
    """
    import torch

    from neucodec_tts.codec.devices import exact_math
    from neucodec_tts.codec.onednn import linear

    left, right = torch.randn(2, size, size, device=device).to(dtype)
    best = float("inf")
    with torch.inference_mode(), exact_math(device):
        for _ in range(runs + 1):  # one to warm up
            start = time.perf_counter()
            linear(left, right, None)[:1].cpu()  # a copy to the CPU waits for a GPU
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _stream(codec: NeuCodec, codes: torch.Tensor) -> tuple[float, float]:
    """Seconds until the last and until the first samples of a stream whose codes come one by one."""
    start = time.perf_counter()
    first = 0.0
    with codec.stream() as decoder:
        for code in codes.tolist():
            if decoder.push(code).numel() and not first:
                first = time.perf_counter() - start
        if decoder.flush().numel() and not first:
            first = time.perf_counter() - start
    return time.perf_counter() - start, first


def transformers_model(codec: NeuCodec) -> NeuCodecModel | None:
    """``NeuCodecModel`` that shares the codec's weights in memory; None for a codec that ``transformers`` lacks."""
    import torch
    from transformers import NeuCodecModel

    if codec.architecture != "NeuCodecModel":
        return None
    with torch.device(codec.device):
        peer = NeuCodecModel(codec.config)
    peer.load_state_dict(codec.state_dict(), assign=True)
    model: NeuCodecModel = peer.eval().requires_grad_(False)
    return model


def encode_with_transformers(peer: NeuCodecModel, waveforms: list[np.ndarray], rate: int) -> torch.Tensor:
    """Waveforms (samples,) of one length to codes (B, frames) on the CPU."""
    import torch
    from transformers import NeuCodecFeatureExtractor

    features = NeuCodecFeatureExtractor(sampling_rate=rate)(
        waveforms, sampling_rate=rate, return_tensors="pt", device=str(peer.device)
    ).to(peer.device)
    with torch.inference_mode():
        codes: torch.Tensor = peer.encode(**features).audio_codes[:, 0].cpu()
    return codes


def decode_with_transformers(peer: NeuCodecModel, sequences: list[torch.Tensor]) -> torch.Tensor:
    """Codes (frames,) of one length to samples (B, n) on the CPU."""
    import torch

    with torch.inference_mode():
        audio: torch.Tensor = peer.decode(torch.stack(sequences)[:, None].to(peer.device)).audio_values.cpu()
    return audio.flatten(1)


def _agreement(work: Work, ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours == theirs).double().mean()) if work == "encode" else decibels(theirs, ours)
