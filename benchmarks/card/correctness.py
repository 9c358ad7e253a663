"""Parts that compare each path on the device with the CPU in float32, the reference."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from card.bench import (
    DTYPES,
    MOST_BATCH_SECONDS,
    Bench,
    Row,
    compare_codes,
    compare_sounds,
    noise,
    random_codes,
    require,
)
from neucodec_tts import DecodeScheduler, NeuCodec, StreamSettings
from neucodec_tts.codec import acoustic_encoder
from neucodec_tts.codec.acoustic_encoder import AntiAliasedSnake
from neucodec_tts.codec.cuda_graphs import FixedShapeDecoder
from neucodec_tts.codec.ragged import Ragged
from neucodec_tts.codec.relative_attention import _can_merge
from neucodec_tts.metrics.half_precision import decibels, measure_agreement

_EXACT_DB = 80.0
_MOST_DIFFERENT = 1e-3
"""Of codes: the contract of docs/concepts/exactness.md."""


def _most(row: Row) -> float:
    """Codes of a row that may differ; one always may, for it can lie at a boundary."""
    return max(1.0, _MOST_DIFFERENT * float(row["codes"]))


def encoding(bench: Bench) -> list[Row]:
    """Single items and a ragged batch: codes of the device and of the CPU."""
    return _encoding(bench, bench.on_cpu, bench.exact)


def _encoding(bench: Bench, reference: NeuCodec, codec: NeuCodec) -> list[Row]:
    rows: list[Row] = []
    items = [noise(seconds, 10 + i) for i, seconds in enumerate(bench.size.checked_seconds)]
    wanted = reference.encode([*items], 16_000)
    ways: dict[str, Callable[[], list[Tensor]]] = {
        "an item alone": lambda: [codec.encode(items[0], 16_000)],
        "a list": lambda: codec.encode([*items], 16_000),
        "one ragged batch": lambda: codec.encode_batch(items),
    }
    for name, encode in ways.items():
        found = encode()
        row: Row = {"what": name} | compare_codes(reference, wanted[: len(found)], found)
        require(row, rows, row["differ"] <= _most(row), "99.9 % equal codes")
    return rows


def decoding(bench: Bench) -> list[Row]:
    """Single items and a ragged batch: sound of the device and of the CPU."""
    return _decoding(bench, bench.on_cpu, bench.exact)


def _decoding(bench: Bench, reference: NeuCodec, codec: NeuCodec) -> list[Row]:
    rows: list[Row] = []
    sequences = [random_codes(round(50 * s), i) for i, s in enumerate(bench.size.checked_seconds)]
    wanted = reference.decode([*sequences])
    ways: dict[str, Callable[[], list[Tensor]]] = {
        "an item alone": lambda: [codec.decode(sequences[0])],
        "a list": lambda: codec.decode([*sequences]),
        "one ragged batch": lambda: codec.decode_batch(sequences),
    }
    for name, decode in ways.items():
        found = decode()
        snr = compare_sounds(wanted[: len(found)], found)
        require({"what": name, "snr": snr}, rows, snr > _EXACT_DB, f"{_EXACT_DB:.0f} dB")
    return rows


def streaming(bench: Bench) -> list[Row]:
    """A stream, many streams, and many in shapes that are recorded as CUDA graphs, against streams on the CPU."""
    rows: list[Row] = []
    settings = StreamSettings(chunk=25)
    sequences = [random_codes(20 + round(50 * s), 30 + i) for i, s in enumerate(bench.size.checked_seconds)]
    wanted = [_stream(bench.on_cpu, codes) for codes in sequences]
    found = [_stream(bench.exact, codes) for codes in sequences]
    snr = compare_sounds(wanted, found)
    require({"what": "each stream alone", "snr": snr}, rows, snr > _EXACT_DB, f"{_EXACT_DB:.0f} dB")
    fixed = FixedShapeDecoder(
        bench.exact, (15, settings.chunk + settings.lookahead), settings.lookback, (1, 2, 4)
    )
    for name, decode in (("all at once", None), ("all at once, in fixed shapes", fixed)):
        scheduler = DecodeScheduler(bench.exact, settings, decode=decode)
        parts: dict[object, list[Tensor]] = {i: [] for i in range(len(sequences))}
        for step in range(max(map(len, sequences)) // 7 + 1):
            for i, codes in enumerate(sequences):
                scheduler.push(i, codes[7 * step : 7 * step + 7])
            if step == max(map(len, sequences)) // 7:
                for i in range(len(sequences)):
                    scheduler.finish(i)
            while played := scheduler.step():
                for stream, samples in played.items():
                    parts[stream].append(samples)
        snr = compare_sounds(wanted, [torch.cat(part) for part in parts.values()])
        row: Row = {"what": name, "snr": snr}
        if decode is not None:
            row["graphs_in_use"] = fixed.recording
        require(row, rows, snr > _EXACT_DB, f"{_EXACT_DB:.0f} dB")
    return rows


def _stream(codec: NeuCodec, codes: Tensor) -> Tensor:
    with codec.stream(chunk=25) as decoder:
        return torch.cat([*(decoder.push(part) for part in codes.split(7)), decoder.flush()])


def activation(bench: Bench) -> list[Row]:
    """The fused activation in each format against its separate steps in float64 on the CPU."""
    rows: list[Row] = []
    for dtype in bench.size.formats:
        generator = torch.Generator().manual_seed(0)
        x = (2 * torch.randn(3, 48, 5003, generator=generator)).to(DTYPES[dtype])
        lengths = torch.tensor([5003, 4097, 3])
        frequency, magnitude = torch.rand(2, 48, generator=generator) * 2 + 0.1
        fused = None
        if acoustic_encoder._may_be_fused(x.to(bench.device), frequency):
            fused = acoustic_encoder._fused_snake(bench.device, DTYPES[dtype])
        if fused is None:
            wanted_here = bench.device.type == "cuda"
            row: Row = {"what": dtype, "fused": False}
            require(row, rows, not wanted_here, "a kernel that passes its own check; see the warnings")
            continue
        found = fused(
            x.to(bench.device),
            lengths.to(bench.device),
            frequency.to(bench.device),
            magnitude.to(bench.device),
        )
        found = found.cpu().double()
        snr = float("inf")
        for i, n in enumerate(lengths.tolist()):
            wanted = AntiAliasedSnake(48)._in_steps(
                x[i, None, :, :n].double(), Ragged(None, n), frequency.double(), magnitude.double()
            )
            snr = min(snr, decibels(wanted[0], found[i, :, :n]))
        least = {"float32": 110.0, "float16": 60.0, "bfloat16": 42.0}[dtype]
        require({"what": dtype, "fused": True, "snr": snr}, rows, snr > least, f"{least:.0f} dB")
    return rows


def attention(bench: Bench) -> list[Row]:
    """A long recording, whose relative attention is merged from parts, against the CPU."""
    rows: list[Row] = []
    items = [noise(bench.size.long_seconds, 50), noise(bench.size.long_seconds - 3.3, 51)]
    row: Row = {"what": f"{bench.size.long_seconds:g} s and 3.3 s less in one batch"}
    row |= compare_codes(bench.on_cpu, bench.on_cpu.encode([*items], 16_000), bench.exact.encode_batch(items))
    attention: Any = bench.exact.semantic_encoder.encoder.layers[0].self_attn
    row["merged"] = _can_merge(torch.zeros(1, 1, 1, attention.head_size, device=bench.device))
    require(row, rows, row["differ"] <= _most(row), "99.9 % equal codes")
    return rows


def half_precision(bench: Bench) -> list[Row]:
    """How far half precision agrees with float32: random weights, whose codes lie near boundaries more often."""
    rows: list[Row] = []
    items = [noise(seconds, 70 + i) for i, seconds in enumerate(bench.size.checked_seconds)]
    for dtype in bench.within_budget([each for each in bench.size.formats if each != "float32"], rows):
        agreement = measure_agreement(bench.exact, bench.codec(dtype), items)
        row: Row = {
            "what": dtype,
            "codes_equal": agreement.codes,
            "digits_equal": agreement.digits,
            "snr": agreement.snr,
        }
        least = {"float16": 30.0, "bfloat16": 12.0}[dtype]
        require(row, rows, agreement.snr > least, f"{least:.0f} dB")
    return rows


def distilled(bench: Bench) -> list[Row]:
    """DistillNeuCodec: codes of the device and of the CPU."""
    import copy

    reference = bench.distilled_on_cpu
    return _encoding(bench, reference, copy.deepcopy(reference).to(bench.device))


def batches_do_not_matter(bench: Bench) -> list[Row]:
    """The largest batch against the same items in small ones, all on the device."""
    rows: list[Row] = []
    items = [noise(0.4 + 0.05 * (i % 9), 90 + i) for i in range(min(64, 4 * bench.size.batches[-1]))]
    wanted = [bench.exact.encode(item, 16_000) for item in items]
    found = bench.exact.encode([*items], 16_000, max_batch_seconds=MOST_BATCH_SECONDS)
    row: Row = {"what": f"{len(items)} short items"} | compare_codes(bench.exact, wanted, found)
    require(row, rows, row["differ"] <= _most(row), "99.9 % equal codes")
    return rows


class Warnings(logging.Handler):
    """Keeps the library's warnings, such as that of a fast path which is not used."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.messages.append(record.getMessage())
