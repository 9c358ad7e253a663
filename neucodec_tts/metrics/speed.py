"""How fast the codec is beside ``transformers``' ``NeuCodecModel``: the same weights, input and device, in one run.

The two are timed in turn, once each per repeat, so that whatever else the machine does meets both; the figures are
medians. Absolute times say something about the machine, the ratio about the code.
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

if TYPE_CHECKING:
    import torch
    from transformers import NeuCodecModel

    from neucodec_tts.codec.neucodec import NeuCodec

Direction = Literal["encode", "decode"]


@dataclass(frozen=True)
class SpeedComparison:
    """Times of both, and whether their answers agree."""

    direction: Direction
    seconds: float
    """Length of each item."""
    batch: int
    size: str
    device: str
    threads: int
    """PyTorch's, on a CPU."""
    transformers_version: str
    ours: list[float]
    """Seconds of each repeat, the whole batch."""
    theirs: list[float]
    agreement: float
    """encode: share of equal codes; decode: SNR in dB of ours against theirs."""

    @property
    def ours_median(self) -> float:
        """Seconds."""
        return median(self.ours)

    @property
    def theirs_median(self) -> float:
        """Seconds."""
        return median(self.theirs)

    @property
    def ratio(self) -> float:
        """Their time over ours: above 1 where ours is faster."""
        return self.theirs_median / self.ours_median


def compare_speed(
    direction: Direction,
    *,
    seconds: float = 10.0,
    batch: int = 1,
    size: Literal["full", "tiny"] = "full",
    repeats: int = 5,
    device: str | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> SpeedComparison:
    """Time `repeats` runs of ours and of ``transformers``, taking turns, after one run of each to warm up.

    What is timed is what a user calls: from waveforms in memory to codes in memory, features included, or the
    other way round. Weights are float32. Size "full" is NeuCodec's own configuration with random weights, which take
    as long as trained ones; "tiny" is the built-in checkpoint.

    Args:
        direction: what to time.
        seconds: length of each item; items are of one length, the case in which ``transformers`` is right, too.
        batch: number of items.
        size: which model.
        repeats: timed runs of each.
        device: ``"cpu"`` by default.
        advance: is called with 1 after each run, warm-up included: 2 * (`repeats` + 1) times.

    Raises:
        NeuCodecError: the numbers make no sense, or there is no such device or checkpoint.
    """
    import torch
    import transformers

    if repeats < 1 or batch < 1 or seconds < 0.1:
        raise NeuCodecError(
            f"cannot time {repeats} repeats of {batch} items of {seconds} s; at least 1, 1 and 0.1 are needed"
        )
    codec = codec_of_size(size, device)
    peer = _transformers_model(codec)
    generator = np.random.default_rng(0)
    waveforms = [
        generator.normal(0.0, 0.1, round(seconds * codec.sample_rate)).astype(np.float32)
        for _ in range(batch)
    ]
    frames = round(seconds * codec.frame_rate)
    sequences = [torch.from_numpy(generator.integers(0, codec.codebook_size, frames)) for _ in range(batch)]
    runs: tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor]]
    if direction == "encode":
        runs = (
            lambda: torch.stack(codec.encode(list(waveforms), codec.sample_rate)),
            lambda: _encode_with_transformers(peer, waveforms, codec.sample_rate),
        )
    else:
        runs = (
            lambda: torch.stack(codec.decode(list(sequences))),
            lambda: _decode_with_transformers(peer, sequences),
        )
    outputs = []
    for run in runs:
        outputs.append(run())
        advance(1)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, taken in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()  # ends with a copy to the CPU, so a GPU has finished
            taken.append(time.perf_counter() - start)
            advance(1)
    return SpeedComparison(
        direction=direction,
        seconds=seconds,
        batch=batch,
        size=size,
        device=str(codec.device),
        threads=torch.get_num_threads(),
        transformers_version=transformers.__version__,
        ours=times[0],
        theirs=times[1],
        agreement=_agreement(direction, *outputs),
    )


def codec_of_size(size: str, device: str | None) -> NeuCodec:
    """The built-in codec for "tiny", NeuCodec's own configuration with random weights for "full".

    Raises:
        DeviceError: there is no such device.
    """
    import torch
    from transformers import NeuCodecConfig

    from neucodec_tts.codec.devices import find_device
    from neucodec_tts.codec.neucodec import NeuCodec

    if size == "tiny":
        return NeuCodec.from_pretrained("tiny", device=device)
    torch.manual_seed(0)
    return NeuCodec(NeuCodecConfig()).to(find_device(device)).eval().requires_grad_(False)


def _transformers_model(codec: NeuCodec) -> NeuCodecModel:
    """``NeuCodecModel`` that shares the codec's weights in memory."""
    import torch
    from transformers import NeuCodecModel

    with torch.device(codec.device):
        peer = NeuCodecModel(codec.config)
    peer.load_state_dict(codec.state_dict(), assign=True)
    model: NeuCodecModel = peer.eval().requires_grad_(False)
    return model


def _encode_with_transformers(peer: NeuCodecModel, waveforms: list[np.ndarray], rate: int) -> torch.Tensor:
    import torch
    from transformers import NeuCodecFeatureExtractor

    features = NeuCodecFeatureExtractor(sampling_rate=rate)(
        waveforms, sampling_rate=rate, return_tensors="pt", device=str(peer.device)
    ).to(peer.device)
    with torch.inference_mode():
        codes: torch.Tensor = peer.encode(**features).audio_codes[:, 0].cpu()
    return codes


def _decode_with_transformers(peer: NeuCodecModel, sequences: list[torch.Tensor]) -> torch.Tensor:
    import torch

    with torch.inference_mode():
        audio: torch.Tensor = peer.decode(torch.stack(sequences)[:, None].to(peer.device)).audio_values.cpu()
    return audio.flatten(1)


def _agreement(direction: Direction, ours: torch.Tensor, theirs: torch.Tensor) -> float:
    if direction == "encode":
        return float((ours == theirs).double().mean())
    noise = float((ours - theirs).double().pow(2).sum())
    return float("inf") if noise == 0 else 10 * math.log10(theirs.double().pow(2).sum().item() / noise)
