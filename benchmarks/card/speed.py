"""Parts that time the device: matrix products, encoding, decoding, a ragged corpus, and many streams."""

from __future__ import annotations

import heapq
import platform
import subprocess
import time
from collections.abc import Callable, Hashable, Iterator
from functools import cache
from itertools import product

import numpy as np
import torch
from torch import Tensor

from card.bench import DTYPES, MOST_BATCH_SECONDS, Bench, Row, noise, random_codes
from neucodec_tts import DecodeScheduler, NeuCodec, StreamSettings
from neucodec_tts.codec.cuda_graphs import FixedShapeDecoder
from neucodec_tts.codec.devices import exact_math
from neucodec_tts.metrics.speed import (
    count_operations,
    decode_with_transformers,
    encode_with_transformers,
    matrix_speed,
)


def machine(bench: Bench) -> list[Row]:
    """The card, its driver, the versions of packages, and the peak of matrix products, in TFLOP/s."""
    import transformers

    import neucodec_tts

    row: Row = {
        "device": str(bench.device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "neucodec_tts": neucodec_tts.__version__,
        "triton": _version("triton"),
    }
    if bench.device.type == "cuda":
        properties = torch.cuda.get_device_properties(bench.device)
        row |= {
            "card": properties.name,
            "memory": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "driver": _driver(),
        }
    return [row, *({"dtype": dtype, "tflops": _peak(bench, dtype)} for dtype in bench.size.formats)]


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split()[
            0
        ]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def _peak(bench: Bench, dtype: str) -> float:
    return matrix_speed(bench.device, DTYPES[dtype], bench.size.matrix, 5) / 1e12


@cache
def _operations(bench_size: str, codec: NeuCodec, work: str) -> float:
    """Operations of matrix products, attention and convolutions for a second of audio.

    Elementwise work and the activations are not among them.
    """
    with count_operations() as counter:
        if work == "encode":
            codec.encode(noise(4.0, 1), 16_000)
        else:
            codec.decode(random_codes(200, 1))
    return counter.get_total_flops() / 4.0


def encoding(bench: Bench) -> list[Row]:
    """Batches of equal items, waveforms in memory to codes in memory."""

    def ours(codec: NeuCodec, batch: int) -> Callable[[], object]:
        items = [noise(bench.size.seconds, i % 8) for i in range(batch)]
        return lambda: codec.encode([*items], 16_000, max_batch_seconds=MOST_BATCH_SECONDS)

    def theirs(batch: int) -> Callable[[], object]:
        items = [noise(bench.size.seconds, i % 8).numpy() for i in range(batch)]
        return lambda: encode_with_transformers(bench.peer, items, 16_000)

    return _grid(bench, "encode", ours, theirs)


def decoding(bench: Bench) -> list[Row]:
    """Batches of equal items, codes in memory to waveforms in memory."""

    def sequences(batch: int) -> list[Tensor]:
        return [random_codes(round(50 * bench.size.seconds), i) for i in range(batch)]

    def ours(codec: NeuCodec, batch: int) -> Callable[[], object]:
        items = sequences(batch)
        return lambda: codec.decode([*items], max_batch_seconds=MOST_BATCH_SECONDS)

    def theirs(batch: int) -> Callable[[], object]:
        items = sequences(batch)
        return lambda: decode_with_transformers(bench.peer, items)

    return _grid(bench, "decode", ours, theirs)


def _grid(
    bench: Bench,
    work: str,
    ours: Callable[[NeuCodec, int], Callable[[], object]],
    theirs: Callable[[int], Callable[[], object]],
) -> list[Row]:
    """A row for each format and batch: speed, memory, share of the peak, and transformers' in float32."""
    rows: list[Row] = []
    operations = _operations(bench.size.name, bench.exact, work)
    peaks = {dtype: _peak(bench, dtype) for dtype in bench.size.formats}
    # The formats of one batch before the next batch: where time runs out, the largest batches are missing.
    cases = sorted(product(bench.size.formats, bench.size.batches), key=lambda case: case[1])
    beside: dict[int, float | str] = {}
    for dtype, batch in bench.within_budget(cases, rows):
        audio = batch * bench.size.seconds
        row: Row = {"dtype": dtype, "batch": batch}
        try:
            run = ours(bench.codec(dtype), batch)
            seconds = bench.seconds_of(run)
            row |= {
                "times_real_time": audio / seconds,
                "share_of_peak": operations * audio / seconds / (peaks[dtype] * 1e12),
                "memory": bench.peak_memory(run),
            }
            if batch not in beside:
                beside[batch] = _theirs(bench, theirs(batch), audio)
            row["transformers"] = beside[batch]
            if isinstance(beside[batch], float):
                row["ratio"] = row["times_real_time"] / beside[batch]
        except Exception as error:  # too large a batch for the card, say: the others go on
            row["failed"] = _reason(error)
        rows.append(row)
    return rows


def _theirs(bench: Bench, run: Callable[[], object], audio: float) -> float | str:
    """Times real time of transformers in float32, or why it has none."""
    try:
        with exact_math(bench.device):
            return audio / bench.seconds_of(run, 1)
    except Exception as error:
        return _reason(error)


def _reason(error: Exception) -> str:
    if out_of_memory(error):
        torch.cuda.empty_cache()
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]


def out_of_memory(error: BaseException | None) -> bool:
    """True if an error, or one that it came from, says that the card's memory ran out."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__cause__
    return False


def ragged(bench: Bench) -> list[Row]:
    """A corpus of utterances of 1 to 20 s, and transformers, which encodes them one by one."""
    rows: list[Row] = []
    generator = np.random.default_rng(0)
    longest = 2 * bench.size.seconds
    lengths = np.clip(
        generator.lognormal(np.log(0.6 * bench.size.seconds), 0.6, bench.size.corpus), 0.1, longest
    )
    items = [noise(longest, i % 8)[: round(16_000 * length)] for i, length in enumerate(lengths)]
    audio = sum(item.numel() for item in items) / 16_000
    alone = items[: bench.size.corpus_alone]

    def one_by_one() -> None:
        for item in alone:
            encode_with_transformers(bench.peer, [item.numpy()], 16_000)

    theirs = _theirs(bench, one_by_one, sum(item.numel() for item in alone) / 16_000)
    for dtype in bench.within_budget(bench.size.formats, rows):
        codec = bench.codec(dtype)
        seconds = bench.seconds_of(lambda codec=codec: codec.encode([*items], 16_000), 1)  # type: ignore[misc]
        row: Row = {"dtype": dtype, "utterances": len(items), "seconds": audio, "transformers": theirs}
        row["times_real_time"] = audio / seconds
        if isinstance(theirs, float):
            row["ratio"] = row["times_real_time"] / theirs
        rows.append(row)
    return rows


def streams(bench: Bench) -> list[Row]:
    """Streams whose codes come as fast as they are spoken, decoded in batches as the server does."""
    rows: list[Row] = []
    settings = StreamSettings()
    formats = [each for each in ("float32", "float16") if each in bench.size.formats]
    for dtype in formats:
        codec = bench.codec(dtype)
        window = settings.chunk + settings.lookahead
        lengths = [-(-window // part) for part in (8, 4, 2, 1)]
        sizes = (1, 2, 4, 8, 16, 32, 64) if bench.size.name == "full" else (1, 2)
        fixed = FixedShapeDecoder(codec, lengths, settings.lookback, sizes)
        begun = time.perf_counter()
        fixed.warm_up()
        warm_up = time.perf_counter() - begun
        for count in bench.within_budget(bench.size.streams, rows):
            row = _play(bench, codec, fixed, settings, count)
            rows.append({"dtype": dtype, "graphs": fixed.recording, "warm_up": warm_up, **row})
    return rows


def _chunks(settings: StreamSettings, frames: int) -> Iterator[tuple[int, int]]:
    """Codes that a stream needs for each of its windows in turn, and those pushed before."""
    start, pushed = 0, 0
    while start < frames:
        needed = min(settings.needed(start), frames)
        yield pushed, needed
        if needed == frames:
            return
        start, pushed = settings.chunk_end(start), needed


def _play(
    bench: Bench, codec: NeuCodec, fixed: FixedShapeDecoder, settings: StreamSettings, count: int
) -> Row:
    """Let ``count`` streams run; the clock stands still but for decoding and for waiting."""
    frames = round(50 * bench.size.stream_seconds)
    codes = random_codes(frames, count, codec.codebook_size)
    scheduler = DecodeScheduler(codec, settings, max_batch_frames=4096, max_padding=0.5, decode=fixed)
    events: list[tuple[float, int, int, int]] = []
    for stream in range(count):
        begin = 2.0 * stream / count  # they begin within two seconds of each other
        for pushed, needed in _chunks(settings, frames):
            heapq.heappush(events, (begin + needed / 50, stream, pushed, needed))
    clock, steps, delays, busy, played = 0.0, [], [], 0.0, 0
    due: dict[Hashable, float] = {}
    while events or scheduler.ready:
        if bench.left <= 0:
            return {"streams": count, "failed": "its time was up: decoding is slower than real time"}
        if not scheduler.ready:
            clock = max(clock, events[0][0])
        while events and events[0][0] <= clock:
            time_due, stream, pushed, needed = heapq.heappop(events)
            scheduler.push(stream, codes[pushed:needed])
            if needed == frames:
                scheduler.finish(stream)
            due.setdefault(stream, time_due)
        begun = time.perf_counter()
        heard = scheduler.step()
        taken = time.perf_counter() - begun
        clock, busy = clock + taken, busy + taken
        if heard:
            steps.append(taken)
        for heard_stream, samples in heard.items():
            played += samples.numel()
            if heard_stream in due:
                delays.append(clock - due.pop(heard_stream))
    return {
        "streams": count,
        "load": busy / clock,
        "real_time": clock <= 2.0 + bench.size.stream_seconds + 1.0,
        "times_real_time": played / codec.output_sample_rate / busy,
        "batch_ms": {"median": 1e3 * float(np.median(steps)), "p99": 1e3 * float(np.quantile(steps, 0.99))},
        "chunk_delay_ms": {
            "median": 1e3 * float(np.median(delays)),
            "p99": 1e3 * float(np.quantile(delays, 0.99)),
        },
    }


def memory(bench: Bench) -> list[Row]:
    """Bytes of the weights in each format, and of the shapes that streams are decoded in."""
    rows: list[Row] = []
    for dtype in bench.within_budget(bench.size.formats, rows):
        codec = bench.codec(dtype)
        weights = sum(each.numel() * each.element_size() for each in codec.state_dict().values())
        row: Row = {"dtype": dtype, "weights": weights, "of_a_stream": None, "fixed_shapes": None}
        row["of_a_stream"] = 4 * codec.acoustic_decoder.memory_layout(StreamSettings().lookback).size
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
            before = torch.cuda.memory_reserved(bench.device)
            fixed = FixedShapeDecoder(codec, (14, 27, 53, 105), StreamSettings().lookback)
            fixed.warm_up()
            row["fixed_shapes"] = torch.cuda.memory_reserved(bench.device) - before
            del fixed
        rows.append(row)
    return rows


def compiled(bench: Bench) -> list[Row]:
    """Decoding with and without ``torch.compile``, one batch."""
    rows: list[Row] = []
    batch = bench.size.batches[-2]
    codes = [random_codes(round(50 * bench.size.seconds), i) for i in range(batch)]
    for dtype in bench.within_budget([bench.size.formats[0]], rows):
        codec = bench.codec(dtype)

        def run(codec: NeuCodec = codec) -> None:
            codec.decode([*codes], max_batch_seconds=MOST_BATCH_SECONDS)

        plain = bench.seconds_of(run)
        begun = time.perf_counter()
        used = codec.compile_decoder(backend=bench.size.compiler)
        try:
            run()
            row: Row = {
                "dtype": dtype,
                "batch": batch,
                "used": used,
                "compiling": time.perf_counter() - begun,
            }
            audio = batch * bench.size.seconds
            row |= {"plain": audio / plain, "compiled": audio / bench.seconds_of(run)}
        finally:
            codec.compile_decoder(False)
        rows.append(row)
    return rows
