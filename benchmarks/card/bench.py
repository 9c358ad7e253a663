"""What all parts share: sizes, inputs, codecs on the CPU and on the device, clocks and budgets."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import NeuCodecConfig

from neucodec_tts import DistillNeuCodec, NeuCodec
from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig
from neucodec_tts.metrics.half_precision import decibels, in_precision
from neucodec_tts.metrics.speed import transformers_model

if TYPE_CHECKING:
    from transformers import NeuCodecModel

Row = dict[str, Any]
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
MOST_BATCH_SECONDS = 1e9
"""For a batch that is not divided."""


class Failed(Exception):
    """A result is not what it must be."""


@dataclass(frozen=True)
class Size:
    """How much is computed."""

    name: str
    checked_seconds: tuple[float, ...]
    """Lengths of the items that are compared with the CPU; the first also alone."""
    long_seconds: float
    """Of the recording whose attention is merged from parts: over 20.5 s."""
    seconds: float
    """Of each item that is timed."""
    batches: tuple[int, ...]
    formats: tuple[str, ...]
    corpus: int
    """Utterances of a ragged corpus."""
    corpus_alone: int
    """How many of them transformers encodes one by one."""
    streams: tuple[int, ...]
    stream_seconds: float
    repeats: int
    matrix: int
    """Rows of the matrices whose product is the peak."""
    compiler: str = "inductor"
    """Of ``torch.compile``."""


FULL = Size(
    "full",
    checked_seconds=(8.0, 1.34, 0.5, 6.2),
    long_seconds=30.0,
    seconds=10.0,
    batches=(1, 4, 16, 64, 256),
    formats=("float32", "float16", "bfloat16"),
    corpus=512,
    corpus_alone=24,
    streams=(1, 10, 100, 300, 1000),
    stream_seconds=6.0,
    repeats=3,
    matrix=8192,
)
TOY = Size(
    "toy",
    checked_seconds=(0.7, 0.3),
    long_seconds=21.0,
    seconds=0.5,
    batches=(1, 2),
    formats=("float32", "bfloat16"),
    corpus=4,
    corpus_alone=2,
    streams=(1, 3),
    stream_seconds=0.5,
    repeats=1,
    matrix=64,
    compiler="eager",
)


def _toy_configs() -> tuple[NeuCodecConfig, DistillNeuCodecConfig]:
    decoder: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
    }
    semantic = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}
    ours = NeuCodecConfig(
        encoder_hidden_size=2,
        quantization_dim=96,
        semantic_model_config={"model_type": "wav2vec2-bert", "num_hidden_layers": 1, **semantic},
        **decoder,
    )
    distilled = DistillNeuCodecConfig(
        encoder_hidden_size=32,
        encoder_channels=(4, 6, 8, 10),
        encoder_num_layers=(1, 1),
        encoder_num_attention_heads=2,
        encoder_head_dim=16,
        acoustic_size=24,
        semantic_adapter_size=40,
        quantization_dim=48,
        attention_window=20,
        semantic_model_config={
            "model_type": "hubert",
            "num_hidden_layers": 1,
            "conv_dim": [8] * 7,
            "feat_proj_layer_norm": False,
            "mask_time_prob": 0.0,
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
            **semantic,
        },
        **decoder,
    )
    return ours, distilled


@dataclass
class Bench:
    """One run: a size, a device, and what the parts of a process have made so far."""

    size: Size
    device: torch.device
    clock: Callable[[], float] = time.perf_counter
    _ends: float = field(default=float("inf"), init=False)

    # Budgets

    def begin(self, budget: float) -> None:
        """A part begins, which has so many seconds."""
        self._ends = self.clock() + budget

    @property
    def left(self) -> float:
        """Seconds that the part still has; negative when its time is up."""
        return self._ends - self.clock()

    def within_budget(self, cases: Sequence[Any], rows: list[Row]) -> Iterator[Any]:
        """Yield cases while there is time; those that are left become a row that says so."""
        for index, case in enumerate(cases):
            if self.left <= 0:
                rows.append({"left out, for want of time": [str(each) for each in cases[index:]]})
                return
            yield case

    # Codecs. Weights are random, and such that every level of every digit of a code occurs.

    @cached_property
    def on_cpu(self) -> NeuCodec:
        """NeuCodec in float32 on the CPU: the reference."""
        return self._random(NeuCodec, NeuCodecConfig() if self.size.name == "full" else _toy_configs()[0])

    @cached_property
    def distilled_on_cpu(self) -> NeuCodec:
        """DistillNeuCodec in float32 on the CPU."""
        config = DistillNeuCodecConfig() if self.size.name == "full" else _toy_configs()[1]
        return self._random(DistillNeuCodec, config)

    @cached_property
    def exact(self) -> NeuCodec:
        """The same weights as ``on_cpu``, float32, on the device."""
        return copy.deepcopy(self.on_cpu).to(self.device)

    def codec(self, dtype: str) -> NeuCodec:
        """NeuCodec in a format, on the device; the last one in half precision is kept."""
        if dtype == "float32":
            return self.exact
        if dtype not in self._halves:
            self._halves.clear()
            self._halves[dtype] = in_precision(self.exact, DTYPES[dtype])
        return self._halves[dtype]

    _halves: dict[str, NeuCodec] = field(default_factory=dict, init=False)

    @cached_property
    def peer(self) -> NeuCodecModel:
        """``transformers``' model, which shares the weights of ``exact``."""
        model = transformers_model(self.exact)
        assert model is not None
        return model

    def _random(self, kind: type[NeuCodec], config: NeuCodecConfig) -> NeuCodec:
        torch.manual_seed(0)
        codec = kind(config).eval().requires_grad_(False)
        project = codec.quantizer.project_in
        seen: list[Tensor] = []
        hook = project.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        try:
            codec.encode(noise(2.0, 1), codec.input_sample_rate)
        finally:
            hook.remove()
        # Pulled back through both bounds of the quantizer, its rounding boundaries lie at -0.81, -0.24 and 0.41.
        values = seen[0].flatten(0, -2)
        scale = 0.7 / values.std(dim=0).clamp(min=1e-6)
        project.bias.copy_((project.bias - values.mean(dim=0)) * scale - 0.24)
        project.weight.mul_(scale[:, None])
        return codec

    # Times

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds_of(self, work: Callable[[], object], repeats: int | None = None) -> float:
        """Median time of ``repeats`` runs, after one to warm up; one run alone if the time is nearly up."""
        self._timed(work)
        times = []
        for _ in range(self.size.repeats if repeats is None else repeats):
            times.append(self._timed(work))
            if self.left <= 0:
                break
        return median(times)

    def _timed(self, work: Callable[[], object]) -> float:
        self.synchronize()
        start = time.perf_counter()
        work()
        self.synchronize()
        return time.perf_counter() - start

    def peak_memory(self, work: Callable[[], object]) -> int | None:
        """Most bytes that PyTorch holds on the device while ``work`` runs, weights included; None on a CPU."""
        if self.device.type != "cuda":
            work()
            return None
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        work()
        self.synchronize()
        return torch.cuda.max_memory_allocated(self.device)


@lru_cache(maxsize=64)
def noise(seconds: float, seed: int) -> Tensor:
    """Noise whose loudness and colour change, as speech's do: float32 (samples,) at 16 kHz."""
    generator = np.random.default_rng(seed)
    count = round(seconds * 16_000)
    white = generator.normal(0, 1, count)
    # A moving average of a changing share darkens it.
    dark = np.convolve(white, np.ones(8) / 8**0.5, "same")
    time = np.arange(count) / 16_000
    share = 0.5 + 0.5 * np.sin(2 * np.pi * (1.5 * time + generator.random()))
    loudness = 0.02 + 0.1 * np.abs(np.sin(2 * np.pi * (2.1 * time + generator.random())))
    return torch.from_numpy((loudness * (share * white + (1 - share) * dark)).astype(np.float32))


def random_codes(frames: int, seed: int, codebook_size: int = 65_536) -> Tensor:
    """Codes, LongTensor (frames,)."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, codebook_size, frames))


def compare_codes(codec: NeuCodec, wanted: Sequence[Tensor], found: Sequence[Tensor]) -> Row:
    """How many codes and digits of two sets of sequences differ."""
    for i, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        if ours.shape != theirs.shape:
            raise Failed(f"item {i} has {ours.numel()} codes and not {theirs.numel()}")
    ours, theirs = torch.cat([*found]), torch.cat([*wanted])
    digits = [codec.quantizer.digits(each.to(codec.device)) for each in (ours, theirs)]
    return {
        "codes": theirs.numel(),
        "differ": int((ours != theirs).sum()),
        "digits_equal": float((digits[0] == digits[1]).double().mean()),
        "different_codes_in_all": int(theirs.unique().numel()),
    }


def compare_sounds(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The lowest signal-to-noise ratio of pairs of waveforms, in dB."""
    for i, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        if ours.shape != theirs.shape:
            raise Failed(f"item {i} has {ours.numel()} samples and not {theirs.numel()}")
    return min(decibels(theirs, ours) for ours, theirs in zip(found, wanted, strict=True))


def require(row: Row, rows: list[Row], condition: bool, what: str) -> None:
    """Keep a row, and note what it had to be where it is not."""
    rows.append(row | {"right": condition} | ({} if condition else {"wanted": what}))
