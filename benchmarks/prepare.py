"""Time `prepare` beside the codec alone, and measure its padding and its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from neucodec_tts.cli.environment import set_threads
from neucodec_tts.cli.options import CodecOption, DeviceOption
from neucodec_tts.cli.terminal import Terminal, command, load_codec
from neucodec_tts.dataset.manifest import DatasetManifest
from neucodec_tts.dataset.preparation import preparing
from neucodec_tts.dataset.progress import Progress
from neucodec_tts.dataset.reader_pool import ReaderPool
from neucodec_tts.dataset.settings import CodecInfo, PrepareSettings
from neucodec_tts.dataset.units import run_units
from neucodec_tts.errors import DatasetError

if TYPE_CHECKING:
    from neucodec_tts.codec.neucodec import NeuCodec


@dataclass(frozen=True)
class PrepareSpeed:
    """Throughput of `prepare` beside that of the codec alone."""

    utterances: int
    audio_seconds: float
    """Of the corpus."""
    batch_seconds: float
    item_seconds: float
    """Length of the equal items that the codec alone was timed with: the mean of the corpus."""
    batch: int
    """Their number."""
    workers: int
    encode: list[float]
    """Seconds a second of audio, the codec alone, one for each repeat."""
    prepare: list[float]
    """Seconds a second of audio, reading and writing included."""
    encode_processor: list[float]
    """Seconds of processor time a second of audio, the codec alone."""
    prepare_processor: list[float]
    """The same for `prepare`, with that of the reader processes: what a machine that is busy with other
    things disturbs less."""
    padding: float
    """Share of padding among the encoded frames."""
    encoder_waits: float
    """Share of the time in which nothing could be encoded, because nothing had been read."""

    @property
    def ratio(self) -> float:
        """Throughput of `prepare` over that of the codec alone: the median of the repeats', whose two took turns."""
        return median(alone / whole for alone, whole in zip(self.encode, self.prepare, strict=True))

    @property
    def processor_ratio(self) -> float:
        """The same of processor time."""
        pairs = zip(self.encode_processor, self.prepare_processor, strict=True)
        return median(alone / whole for alone, whole in pairs)


def librispeech_like_lengths(count: int, seed: int = 0) -> np.ndarray:
    """Lengths in seconds, float64 (count,), that are distributed somewhat like those of LibriSpeech's training sets.

    Two thirds lie between 12 and 16.5 s, most of them near 15 s, where its segments were cut; the rest anywhere
    from 1.4 s. The mean is 12 s.
    """
    generator = np.random.default_rng(seed)
    cut = generator.triangular(12.0, 15.0, 16.5, count)
    whole = generator.uniform(1.4, 12.0, count)
    return np.where(generator.random(count) < 2 / 3, cut, whole)


def write_corpus(folder: Path, lengths: np.ndarray, speech: np.ndarray, rate: int) -> None:
    """Write FLAC files of these lengths, cut from one recording, which is repeated where it is too short.

    Args:
        folder: where to.
        lengths: in seconds, (count,).
        speech: (samples,).
        rate: in Hz.
    """
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    for number, seconds in enumerate(lengths):
        samples = np.resize(np.roll(speech, -number * 997), round(seconds * rate))
        soundfile.write(folder / f"{number:06d}.flac", samples, rate)


def measure_prepare(
    codec: NeuCodec,
    speech: np.ndarray,
    rate: int,
    *,
    utterances: int = 200,
    batch_seconds: float | None = None,
    repeats: int = 3,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> PrepareSpeed:
    """Prepare a corpus of ragged lengths, and time the codec alone on equal ones, taking turns.

    It times everything from listing the corpus to the finished manifest, but for starting the reader processes.

    Args:
        codec: what encodes.
        speech: (samples,), a recording to cut utterances from.
        rate: of it, in Hz.
        utterances: how many.
        batch_seconds: see `PrepareSettings`.
        repeats: of each, after one of the codec alone to warm up.
        workers: see `prepare`.
        advance: is called with 1 after each of 2 * `repeats` timings.

    Raises:
        DatasetError: the numbers make no sense.
    """
    if utterances < 1 or repeats < 1:
        raise DatasetError(
            f"cannot time {repeats} repeats of {utterances} utterances; at least 1 of each is needed"
        )
    settings = PrepareSettings(batch_seconds=batch_seconds, without_text=True).resolved(CodecInfo.of(codec))
    assert settings.batch_seconds is not None
    lengths = librispeech_like_lengths(utterances)
    mean = float(lengths.mean())
    batch = max(1, int(settings.batch_seconds / mean))
    item = np.resize(speech, round(mean * rate)).astype(np.float32)
    rounds = max(1, round(float(lengths.sum()) / (batch * mean)))
    codec.encode([item] * batch, rate, max_batch_seconds=settings.batch_seconds)
    alone: list[float] = []
    whole: list[float] = []
    alone_processor: list[float] = []
    whole_processor: list[float] = []
    padding = waits = 0.0
    with tempfile.TemporaryDirectory(prefix="neucodec-tts-") as name, ReaderPool(workers) as reader:
        folder = Path(name)
        write_corpus(folder / "corpus", lengths, speech, rate)
        write_corpus(folder / "warm", lengths[:1], speech, rate)
        _prepare(
            folder / "warm", folder / "warmed", codec, settings, reader
        )  # the reader processes are there now
        for number in range(repeats):
            start, processor = time.perf_counter(), time.process_time()
            for _ in range(rounds):
                codec.encode([item] * batch, rate, max_batch_seconds=settings.batch_seconds)
            alone.append((time.perf_counter() - start) / (rounds * batch * mean))
            alone_processor.append((time.process_time() - processor) / (rounds * batch * mean))
            advance(1)
            start, processor, read = time.perf_counter(), time.process_time(), reader.processor_seconds
            manifest, progress = _prepare(folder / "corpus", folder / f"out{number}", codec, settings, reader)
            seconds = time.perf_counter() - start
            whole.append(seconds / manifest.seconds)
            used = time.process_time() - processor + reader.processor_seconds - read
            whole_processor.append(used / manifest.seconds)
            padding, waits = progress.padding, progress.encoder_waits / seconds
            advance(1)
    return PrepareSpeed(
        utterances=utterances,
        audio_seconds=float(lengths.sum()),
        batch_seconds=settings.batch_seconds,
        item_seconds=mean,
        batch=batch,
        workers=reader.workers,
        encode=alone,
        prepare=whole,
        encode_processor=alone_processor,
        prepare_processor=whole_processor,
        padding=padding,
        encoder_waits=waits,
    )


def _prepare(
    source: Path, out: Path, codec: NeuCodec, settings: PrepareSettings, reader: ReaderPool
) -> tuple[DatasetManifest, Progress]:
    """Do what `prepare` does, with reader processes that run already."""
    with preparing(source, out, CodecInfo.of(codec), settings) as preparation:
        for _ in run_units(preparation.recipe, preparation.pending, codec, reader, preparation.progress):
            pass
        return preparation.finish().manifest, preparation.progress


def peak_memory(
    speech: np.ndarray,
    rate: int,
    utterances: int,
    *,
    codec: str = "tiny",
    batch_seconds: float = 8.0,
    scale: float = 0.1,
) -> int:
    """Run ``neucodec-tts prepare`` in a process of its own; the most memory that process has had, in bytes.

    Args:
        speech: (samples,), a recording to cut utterances from.
        rate: of it, in Hz.
        utterances: how many.
        codec: its name.
        batch_seconds: see `PrepareSettings`.
        scale: of the lengths: memory does not depend on how long the whole takes.

    Raises:
        DatasetError: it failed, or this system cannot say.
    """
    try:
        import resource  # noqa: F401 - whether there is any
    except ImportError as problem:
        raise DatasetError("this system does not say how much memory a process has had") from problem
    with tempfile.TemporaryDirectory(prefix="neucodec-tts-") as folder:
        write_corpus(Path(folder) / "corpus", librispeech_like_lengths(utterances) * scale, speech, rate)
        command = [
            sys.executable,
            "-m",
            "neucodec_tts",
            "prepare",
            f"{folder}/corpus",
            "--out",
            f"{folder}/out",
        ]
        command += [
            "--codec",
            codec,
            "--batch-seconds",
            str(batch_seconds),
            "--min-seconds",
            "0.1",
            "--json",
            "--quiet",
        ]
        # A process in between, which has no other children, so that theirs is the memory it is told of.
        measured = (
            "import json, resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
            "print(json.dumps([done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))"
        )
        done = subprocess.run([sys.executable, "-c", measured, *command], capture_output=True, text=True)
        code, peak = json.loads(done.stdout) if done.stdout else (done.returncode, 0)
        if code != 0:
            raise DatasetError(f"preparing {utterances} utterances failed: {done.stderr.strip()[-500:]}")
        return int(peak) * (1 if sys.platform == "darwin" else 1024)


@command
def main(
    terminal: Terminal,
    utterances: Annotated[int, typer.Option(min=1, help="Of the corpus that is made for it.")] = 200,
    batch_seconds: Annotated[
        float | None,
        typer.Option("--batch-seconds", min=1, help="As of prepare.", show_default=False),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each.")] = 3,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="As of prepare.", show_default=False)
    ] = None,
    memory: Annotated[
        bool,
        typer.Option("--memory", help="Compare the peak memory for 200 and for 2,000 short utterances, too."),
    ] = False,
    codec_name: CodecOption = None,
    device: DeviceOption = None,
) -> None:
    """Prepare a corpus of lengths like LibriSpeech's, beside the codec alone on equal lengths in memory."""
    codec = load_codec(terminal, codec_name, device)
    from neucodec_tts.audio import load_audio

    with as_file(files("neucodec_tts") / "assets" / "demo.flac") as shipped:
        speech, rate = load_audio(shipped)
    with terminal.progress("preparing", 2 * repeats) as advance:
        found = measure_prepare(
            codec,
            speech,
            rate,
            utterances=utterances,
            batch_seconds=batch_seconds,
            repeats=repeats,
            workers=workers,
            advance=advance,
        )
    peaks: dict[str, int] = {}
    if memory:
        with terminal.progress("measuring memory", 2) as advance:
            for count in (200, 2000):
                peaks[str(count)] = peak_memory(speech, rate, count, codec=codec_name or "tiny")
                advance(1)
    terminal.result(
        asdict(found)
        | {
            "ratio": found.ratio,
            "processor_ratio": found.processor_ratio,
            "peak_memory": peaks,
            "codec_id": codec.codec_id,
            "cpu_count": os.cpu_count(),
        }
    )
    terminal.say(
        f"{found.utterances} utterances, {found.audio_seconds:.0f} s, batches of {found.batch_seconds:g} s, "
        f"{found.workers} reader processes, {codec.device}, median of {repeats} runs each, taking turns"
    )
    for name, times in (
        (f"codec alone, {found.batch} x {found.item_seconds:.1f} s", found.encode),
        ("prepare", found.prepare),
    ):
        terminal.say(
            f"  {name:<28}{1 / median(times):8.1f} times real time  "
            f"({1 / max(times):.1f} to {1 / min(times):.1f})"
        )
    terminal.say(f"  {'prepare / codec alone':<28}{found.ratio:8.1%}")
    terminal.say(f"  {'... in processor time':<28}{found.processor_ratio:8.1%}")
    terminal.say(f"  {'padding of encoded frames':<28}{found.padding:8.1%}")
    terminal.say(f"  {'encoder waited':<28}{found.encoder_waits:8.1%} of the time")
    if peaks:
        small, large = peaks["200"], peaks["2000"]
        terminal.say(
            f"  {'peak memory':<28}{small / 2**20:8.0f} MiB for 200 utterances, {large / 2**20:.0f} MiB for 2,000 "
            f"({large / small - 1:+.1%})"
        )


if __name__ == "__main__":
    set_threads()
    typer.run(main)
