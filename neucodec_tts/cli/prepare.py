"""``neucodec-tts prepare``: a corpus becomes a data set of codes and training tokens."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.terminal import (
    PROGRESS_AFTER_SECONDS,
    DebugOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    QuietOption,
    Terminal,
    codec_name,
    load_codec,
    real_time,
    reporting,
)

if TYPE_CHECKING:
    from neucodec_tts.dataset import Prepared, PrepareSettings, Progress, Source, TokenSettings

_REDRAW_SECONDS = 0.25
_NOTE_SECONDS = 60.0  # between lines where there is no terminal to draw a bar on


class Kind(str, Enum):
    """What a corpus can be."""

    folder = "folder"
    ljspeech = "ljspeech"
    librispeech = "librispeech"
    kaldi = "kaldi"
    manifest = "manifest"
    parquet = "parquet"
    webdataset = "webdataset"
    huggingface = "huggingface"
    lhotse = "lhotse"


class Rule(str, Enum):
    """Which utterances are kept for their text."""

    any = "any"
    speakable = "speakable"
    neutts = "neutts"


class Format(str, Enum):
    """Prompts of training examples."""

    neutts = "neutts"
    neutts_text = "neutts-text"
    llasa = "llasa"


def _column(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        f"--{what}-column",
        metavar="NAME",
        help=f"Of the manifest, with the {what}.",
        rich_help_panel="Corpus",
    )
    return option


def prepare(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="The corpus: a folder (plain, LJSpeech, LibriSpeech, Kaldi), a manifest (.jsonl, .csv, .tsv, "
            ".parquet, Lhotse's cuts), .tar shards, or the id of a data set on the Hugging Face hub.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="The data set's folder.", show_default=False),
    ] = None,
    model: ModelOption = None,
    device: DeviceOption = None,
    min_seconds: Annotated[
        float, typer.Option("--min-seconds", min=0, help="Leave out what is shorter.")
    ] = 0.5,
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", min=0, help="Leave out what is longer; 0 keeps everything.")
    ] = 30.0,
    text_rule: Annotated[
        Rule | None,
        typer.Option(
            "--text-rule",
            help="Leave out for the text: any, nothing; speakable, what has no letter or digit; neutts, as NeuTTS' "
            "fine-tuning script (digits, acronyms, currency signs, no punctuation at the end). With --tokens the "
            "default is speakable, else any.",
            show_default=False,
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            "--tokens",
            metavar="MODEL",
            help="Add training examples for this language model: hub id or folder.",
        ),
    ] = None,
    token_format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="Of the training examples; what the model's speech_config.json says by default.",
            show_default=False,
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", metavar="CODE", help="Of the phones, as espeak calls it."),
    ] = None,
    tokens_only: Annotated[
        bool,
        typer.Option(
            "--tokens-only", help="Add training examples to the data set in --out; SOURCE is not needed."
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=0, help="Reader processes; one a core but one by default.", show_default=False
        ),
    ] = None,
    shard_items: Annotated[
        int, typer.Option("--shard-items", min=1, help="Utterances a shard; what a killed run loses.")
    ] = 1000,
    batch_seconds: Annotated[
        float | None,
        typer.Option(
            "--batch-seconds",
            min=1,
            help="Audio encoded at a time, padding included; 60 on a CPU, 480 on a GPU.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", help="local, or ray: encoders on all machines of a Ray cluster.")
    ] = "local",
    num_gpus: Annotated[
        float | None,
        typer.Option(
            "--num-gpus",
            min=0,
            help="GPUs of each encoder of --engine ray; one, or none if the cluster has none, by default.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            min=1,
            help="Encoders of --engine ray; as many as fit the cluster by default.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Of the corpus, if it is not found out.", show_default=False)
    ] = None,
    audio_root: Annotated[
        Path | None,
        typer.Option("--audio-root", metavar="DIR", help="What paths in the manifest are relative to."),
    ] = None,
    audio_column: Annotated[str | None, _column("audio")] = None,
    text_column: Annotated[str | None, _column("text")] = None,
    id_column: Annotated[str | None, _column("id")] = None,
    speaker_column: Annotated[str | None, _column("speaker")] = None,
    config: Annotated[str | None, typer.Option("--config", help="Of a data set of the hub.")] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Of a data set of the hub; train by default.", show_default=False),
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Of a data set of the hub.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Turn a corpus into a data set to train on: Parquet shards of codes, and of a model's training examples.

    Killed at any moment and run again, it goes on where it was; run on what is finished, it does nothing. Recordings
    that cannot be used do not stop it: rejects.parquet says which, and why.
    """
    if out is None:
        raise typer.BadParameter("name the data set's folder", param_hint="--out")
    if tokens_only and tokens is None:
        raise typer.BadParameter(
            "--tokens-only needs --tokens MODEL, the model to make training examples for"
        )
    if source is None and not tokens_only:
        raise typer.BadParameter("name the corpus", param_hint="SOURCE")
    if (token_format or language) and tokens is None:
        raise typer.BadParameter(
            "--format and --language say how --tokens are made, and there is no --tokens"
        )
    if engine == "local" and (num_gpus is not None or concurrency is not None):
        raise typer.BadParameter("--num-gpus and --concurrency are for --engine ray")
    with reporting(as_json, quiet, debug) as terminal:
        from neucodec_tts.dataset import Columns, PrepareSettings, TokenSettings, open_source
        from neucodec_tts.dataset.packages import parquet

        parquet()  # whether it is installed should be known before anything is loaded
        for_model = None
        if tokens is not None:
            for_model = TokenSettings(tokens, token_format.value if token_format else None, language)
        if tokens_only and for_model is not None:
            _add_tokens(terminal, out, for_model)
            return
        settings = PrepareSettings(
            min_seconds,
            max_seconds or None,
            text_rule.value if text_rule else None,
            shard_items,
            batch_seconds,
        )
        corpus = open_source(
            source or "",
            kind.value if kind else None,
            columns=Columns(audio_column, text_column, id_column, speaker_column),
            audio_root=audio_root,
            config=config,
            split=split,
            revision=revision,
        )
        if engine == "local":
            prepared = _prepare(terminal, corpus, out, model, device, settings, for_model, workers)
        else:
            from neucodec_tts.dataset.engines import prepare_engine

            prepare_elsewhere = prepare_engine(engine)
            # What an engine itself says, as Ray does of dead workers, is no result.
            with redirect_stdout(sys.stderr), _showing(terminal) as on_progress:
                prepared = prepare_elsewhere(
                    corpus,
                    out,
                    codec_name(terminal, model),
                    settings,
                    tokens=for_model,
                    device=device,
                    workers=workers,
                    num_gpus=num_gpus,
                    concurrency=concurrency,
                    on_progress=on_progress,
                )
        _report(terminal, corpus, prepared)
        if prepared.manifest.rows == 0:
            terminal.error(f"nothing was kept of {corpus.name}: {_counted(prepared.manifest.rejects)}")
            raise typer.Exit(1)


def _prepare(
    terminal: Terminal,
    corpus: Source,
    out: Path,
    model: str | None,
    device: str | None,
    settings: PrepareSettings,
    tokens: TokenSettings | None,
    workers: int | None,
) -> Prepared:
    from neucodec_tts.dataset import prepare as prepare_dataset

    # oneDNN keeps what it has compiled for the last 1,024 shapes, some 200 MB, and batches of ragged lengths hardly
    # ever have a shape again. It looks at this when it is used first.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
    codec = load_codec(terminal, model, device)
    with _showing(terminal) as on_progress:
        return prepare_dataset(
            corpus, out, codec, settings, tokens=tokens, workers=workers, on_progress=on_progress
        )


def _add_tokens(terminal: Terminal, out: Path, tokens: TokenSettings) -> None:
    from neucodec_tts.dataset import tokenize

    start = time.perf_counter()
    with terminal.progress("making training examples") as advance:
        done = tokenize(out, tokens, lambda number, total: advance(1))
    manifest = done.manifest
    seconds = time.perf_counter() - start
    terminal.result(
        {
            "out": out,
            "rows": manifest.rows,
            "untokenized": done.untokenized,
            "shards": len(manifest.shards),
            "shards_before": done.shards_before,
            "tokens": manifest.tokens,
            "seconds": seconds,
        }
    )
    if done.shards_before == len(manifest.shards):
        terminal.say(f"{out} has these training examples already: nothing to do")
        return
    terminal.say(
        f"added training examples for {tokens.model} to {out}: {manifest.rows - done.untokenized} of {manifest.rows} "
        f"utterances in {len(manifest.shards)} shards ({seconds:.2f} s)"
    )
    if done.untokenized:
        terminal.say(
            f"{done.untokenized} have none, as they have no text that could be spoken: their tokens are null"
        )


def _report(terminal: Terminal, corpus: Source, prepared: Prepared) -> None:
    manifest, progress = prepared.manifest, prepared.progress
    rejected = sum(manifest.rejects.values())
    seconds = progress.seconds
    waits = {
        "reading": progress.reader_waits / max(seconds, 1e-9),
        "encoding": progress.encoder_waits / max(seconds, 1e-9),
        "writing": progress.writer_waits / max(seconds, 1e-9),
    }
    terminal.result(
        {
            "source": corpus.name,
            "kind": corpus.kind,
            "out": prepared.folder,
            "nothing_to_do": prepared.was_complete,
            "rows": manifest.rows,
            "hours": manifest.hours,
            "frames": manifest.frames,
            "shards": len(manifest.shards),
            "shards_before": prepared.shards_before,
            "rejected": rejected,
            "rejects": manifest.rejects,
            "content": manifest.content,
            "codec_id": manifest.codec["codec_id"],
            "settings": manifest.settings,
            "tokens": manifest.tokens,
            "run": {
                "seconds": seconds,
                "audio_seconds": progress.audio_seconds,
                "padding": progress.padding,
                "stage_seconds": {
                    "reading": progress.read_seconds,
                    "encoding": progress.encode_seconds,
                    "writing": progress.write_seconds,
                },
                "waits": waits,
            },
        }
    )
    where = (
        f"{prepared.folder}: {_hours(manifest.hours)} of speech, {manifest.rows} utterances in "
        f"{len(manifest.shards)} shards"
    )
    if prepared.was_complete:
        terminal.say(f"nothing to do: {where}")
        return
    again = f", {prepared.shards_before} shards were there already" if prepared.shards_before else ""
    terminal.say(f"prepared {where} ({real_time(seconds, progress.audio_seconds)}{again})")
    if rejected:
        terminal.say(
            f"left out {rejected}: {_counted(manifest.rejects)}; {prepared.folder / 'rejects.parquet'} says which"
        )
    terminal.say(
        f"reading took {progress.read_seconds:.1f} s over all processes and waited {waits['reading']:.0%} of the time, "
        f"encoding {progress.encode_seconds:.1f} s ({waits['encoding']:.0%}), writing {progress.write_seconds:.1f} s "
        f"({waits['writing']:.0%}); {progress.padding:.1%} of encoded frames were padding"
    )


@contextmanager
def _showing(terminal: Terminal) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line a minute elsewhere; yields what is to be called with the progress."""
    start = time.perf_counter()
    shown = start + PROGRESS_AFTER_SECONDS
    if terminal.quiet or not sys.stderr.isatty():

        def note(progress: Progress) -> None:
            nonlocal shown
            now = time.perf_counter()
            if now >= max(shown, start + _NOTE_SECONDS):
                shown = now + _NOTE_SECONDS
                terminal.note(
                    f"{progress.items_done} of {progress.items_total} utterances, {_status(progress)}"
                )

        yield note
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = [
        TextColumn("preparing"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    ]
    bar = Bar(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
    task = bar.add_task("")

    def draw(progress: Progress) -> None:
        nonlocal shown
        now = time.perf_counter()
        if now < shown:
            return
        bar.start()
        shown = now + _REDRAW_SECONDS
        bar.update(
            task,
            total=progress.items_total,
            completed=progress.items_done,
            description=_status(progress),
            refresh=True,
        )

    try:
        yield draw
    finally:
        bar.stop()


def _status(progress: Progress) -> str:
    """How far it is: hours, speed, where time goes, what is left."""
    seconds = max(progress.seconds, 1e-9)
    left = progress.remaining_seconds
    parts = [
        f"{_hours(progress.audio_seconds / 3600)} done",
        f"{progress.audio_seconds / seconds:.3g}x real time",
        f"waits: reading {progress.reader_waits / seconds:.0%}, encoding {progress.encoder_waits / seconds:.0%}, "
        f"writing {progress.writer_waits / seconds:.0%}",
    ]
    if left is not None:
        parts.append(f"{_clock(left)} left")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}"


def _hours(hours: float) -> str:
    return f"{hours:.2f} h" if hours >= 0.1 else f"{hours * 3600:.1f} s"


def _counted(rejects: object) -> str:
    assert isinstance(rejects, dict)
    return ", ".join(
        f"{reason} {count}" for reason, count in sorted(rejects.items(), key=lambda each: -each[1])
    )
