"""``neucodec-tts prepare``: a corpus becomes a data set of codes and training tokens."""

from __future__ import annotations

import os
import sys
import time
from contextlib import redirect_stdout
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.options import CodecOption, DeviceOption
from neucodec_tts.cli.prepare_report import counted, report_prepared, showing_progress
from neucodec_tts.cli.terminal import Terminal, command, default_codec, load_codec

if TYPE_CHECKING:
    from neucodec_tts.dataset import Prepared, PrepareSettings, Source, TokenSettings


class Kind(str, Enum):
    """What a corpus can be."""

    folder = "folder"
    ljspeech = "ljspeech"
    librispeech = "librispeech"
    kaldi = "kaldi"
    table = "table"
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
        help=f"Of the table, with the {what}.",
        rich_help_panel="Corpus",
    )
    return option


@command
def prepare(
    terminal: Terminal,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="The corpus: a folder (plain, LJSpeech, LibriSpeech, Kaldi), a table (.jsonl, .csv, .tsv, "
            ".parquet, Lhotse's cuts), .tar shards, or the id of a data set on the Hugging Face hub.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The data set's folder.", show_default=False),
    ] = None,
    codec_name: CodecOption = None,
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
            "fine-tuning script (digits, acronyms, currency signs, no punctuation at the end). With --model the "
            "default is speakable, else any.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Add training tokens for this language model: a hub id, a folder, or tiny.",
            show_default=False,
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
            "--tokens-only",
            help="Add the training tokens to the data set that is in --output already, without SOURCE.",
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
        typer.Option("--audio-root", metavar="DIR", help="What paths in the table are relative to."),
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
) -> None:
    """Turn a corpus into a data set to train on: Parquet shards of codes, and of a model's training examples.

    Killed at any moment and run again, it goes on where it was; run on what is finished, it does nothing. Recordings
    that cannot be used do not stop it: rejects.parquet says which, and why.
    """
    if out is None:
        raise typer.BadParameter("name the data set's folder", param_hint="--output")
    if tokens_only and model is None:
        raise typer.BadParameter("--tokens-only needs --model, the language model to make tokens for")
    if source is None and not tokens_only:
        raise typer.BadParameter("name the corpus", param_hint="SOURCE")
    if (token_format or language) and model is None:
        raise typer.BadParameter("--format and --language are for training tokens; name the --model")
    if engine == "local" and (num_gpus is not None or concurrency is not None):
        raise typer.BadParameter("--num-gpus and --concurrency are for --engine ray")
    from neucodec_tts.dataset import Columns, PrepareSettings, TokenSettings, open_source
    from neucodec_tts.dataset.packages import parquet

    parquet()  # whether it is installed should be known before anything is loaded
    for_model = None
    if model is not None:
        for_model = TokenSettings(model, token_format.value if token_format else None, language)
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
        prepared, found = _prepare(terminal, corpus, out, codec_name, device, settings, for_model, workers)
    else:
        from neucodec_tts.dataset.engines import prepare_engine

        found = device
        prepare_elsewhere = prepare_engine(engine)
        # What an engine itself says, as Ray does of dead workers, is no result.
        with redirect_stdout(sys.stderr), showing_progress(terminal) as on_progress:
            prepared = prepare_elsewhere(
                corpus,
                out,
                default_codec(terminal, codec_name),
                settings,
                tokens=for_model,
                device=device,
                workers=workers,
                num_gpus=num_gpus,
                concurrency=concurrency,
                on_progress=on_progress,
            )
    report_prepared(terminal, corpus, prepared, found)
    if prepared.manifest.rows == 0:
        terminal.error(f"nothing was kept of {corpus.name}: {counted(prepared.manifest.rejects)}")
        raise typer.Exit(1)


def _prepare(
    terminal: Terminal,
    corpus: Source,
    out: Path,
    codec_name: str | None,
    device: str | None,
    settings: PrepareSettings,
    tokens: TokenSettings | None,
    workers: int | None,
) -> tuple[Prepared, object]:
    from neucodec_tts.dataset import prepare as prepare_dataset

    # oneDNN keeps what it has compiled for the last 1,024 shapes, some 200 MB, and batches of ragged lengths hardly
    # ever have a shape again. It looks at this when it is used first.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
    codec = load_codec(terminal, codec_name, device)
    with showing_progress(terminal) as on_progress:
        prepared = prepare_dataset(
            corpus, out, codec, settings, tokens=tokens, workers=workers, on_progress=on_progress
        )
    return prepared, codec.device


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
