"""``neucodec-tts prepare``: a corpus becomes a data set of codes and training tokens."""

from __future__ import annotations

import os
import sys
import time
from contextlib import redirect_stdout
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.options import BackendOption, CodecOption, DeviceOption, DtypeOption, Precision
from neucodec_tts.cli.prepare_report import counted, report_prepared, showing_progress
from neucodec_tts.cli.terminal import Terminal, command, default_codec, load_codec

if TYPE_CHECKING:
    from neucodec_tts.dataset import TokenSettings
    from neucodec_tts.dataset.places import Place


class Kind(str, Enum):
    """Kinds of corpora."""

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
    """Rules for the texts that are kept."""

    any = "any"
    speakable = "speakable"
    neutts = "neutts"


class Format(str, Enum):
    """Prompt formats of training tokens."""

    neutts = "neutts"
    neutts_text = "neutts-text"
    llasa = "llasa"


def _column(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        f"--{what}-column",
        metavar="NAME",
        help=f"Column of the table with the {what}.",
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
            ".list, .parquet, Lhotse's cuts), .tar shards, or the id of a data set on the Hugging Face hub. Also a URL "
            "of these (s3://, gs://, hf://) and, with --split SECONDS, one recording.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="DIR", help="The data set's folder, or its URL, as s3://bucket/folder."
        ),
    ],
    codec_name: CodecOption = None,
    device: DeviceOption = None,
    backend: BackendOption = None,
    dtype: DtypeOption = Precision.float32,
    min_seconds: Annotated[
        float, typer.Option("--min-seconds", min=0, help="Leave out shorter recordings.")
    ] = 0.5,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--max-seconds",
            min=0,
            help="Leave out longer recordings; 0 keeps all. The default is 30, or what --split says if that is more.",
            show_default=False,
        ),
    ] = None,
    text_rule: Annotated[
        Rule | None,
        typer.Option(
            "--text-rule",
            help="Texts to keep. any: all. speakable: those with a letter or digit (the default with --model). neutts: "
            "those that NeuTTS' fine-tuning script keeps, without digits, acronyms and currency signs, with "
            "punctuation at the end.",
            show_default=False,
        ),
    ] = None,
    without_text: Annotated[
        bool,
        typer.Option("--without-text", help="Go on with a corpus that has no texts, as for a codec."),
    ] = False,
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
            help="Prompt format of the training tokens. The default is the model's own.",
            show_default=False,
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            "--language",
            "-l",
            metavar="CODE",
            help="Language of the phones, as espeak names it. The default is the model's own.",
            show_default=False,
        ),
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
            "--workers",
            min=0,
            help="Reader processes. The default is one a core, less one.",
            show_default=False,
        ),
    ] = None,
    shard_items: Annotated[
        int,
        typer.Option("--shard-items", min=1, help="Utterances in a shard. A killed run loses its last one."),
    ] = 1000,
    batch_seconds: Annotated[
        float | None,
        typer.Option(
            "--batch-seconds",
            min=1,
            help="Seconds of audio encoded at a time, padding included. The default is 60 on a CPU, 480 on a GPU.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option("--engine", metavar="NAME", help="local, or ray for the machines of a Ray cluster.")
    ] = "local",
    num_gpus: Annotated[
        float | None,
        typer.Option(
            "--num-gpus",
            min=0,
            help="With --engine ray: GPUs of each encoder. The default is one where the cluster has any.",
            show_default=False,
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            min=1,
            help="With --engine ray: number of encoders. The default is as many as fit.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option("--kind", help="Kind of the corpus. The default is to find out.", show_default=False),
    ] = None,
    audio_root: Annotated[
        str | None,
        typer.Option(
            "--audio-root",
            metavar="DIR",
            help="The folder, or its URL, that paths in the table are relative to.",
            show_default=False,
        ),
    ] = None,
    audio_column: Annotated[str | None, _column("audio")] = None,
    text_column: Annotated[str | None, _column("text")] = None,
    id_column: Annotated[str | None, _column("id")] = None,
    speaker_column: Annotated[str | None, _column("speaker")] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", metavar="NAME", help="Configuration of a data set of the hub.", show_default=False
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="SECONDS|NAME",
            help="SECONDS: cut the recordings of a folder, or SOURCE itself, into pieces of at most that length, at "
            "the times of the transcript beside each (.srt, .vtt, .lrc, .TextGrid, whisper's .json), or in its pauses. "
            "NAME: split of a data set of the hub; train by default.",
            show_default=False,
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(
            "--revision", metavar="NAME", help="Revision of a data set of the hub.", show_default=False
        ),
    ] = None,
) -> None:
    """Turn a corpus into a data set to train on.

    The data set holds Parquet shards of codes and, with --model, of training tokens.

    A run that was killed goes on when the command is given again. Recordings that cannot be used are left out;
    rejects.parquet names them and the reasons.
    """
    if tokens_only and model is None:
        raise typer.BadParameter("--tokens-only needs --model, the language model to make tokens for")
    if source is None and not tokens_only:
        raise typer.BadParameter("name the corpus", param_hint="SOURCE")
    if (token_format or language) and model is None:
        raise typer.BadParameter("--format and --language are for training tokens; name the --model")
    if engine == "local" and (num_gpus is not None or concurrency is not None):
        raise typer.BadParameter("--num-gpus and --concurrency are for --engine ray")
    from neucodec_tts.dataset import Columns, PrepareSettings, TokenSettings, open_source
    from neucodec_tts.dataset import prepare as prepare_dataset
    from neucodec_tts.dataset.engines import prepare_engine
    from neucodec_tts.dataset.packages import parquet

    parquet()  # whether it is installed should be known before anything is loaded
    for_model = None
    if model is not None:
        for_model = TokenSettings(model, token_format.value if token_format else None, language)
    if tokens_only and for_model is not None:
        _add_tokens(terminal, out, for_model)
        return
    seconds = _seconds(split)
    if seconds is not None and max_seconds and max_seconds < seconds:
        raise typer.BadParameter(f"--max-seconds {max_seconds:g} would leave out pieces of --split {split}")
    longest = max(30.0, seconds or 0.0) if max_seconds is None else max_seconds or None
    settings = PrepareSettings(
        min_seconds,
        longest,
        text_rule.value if text_rule else None,
        shard_items,
        batch_seconds,
        without_text,
    )
    corpus = open_source(
        source or "",
        kind.value if kind else None,
        columns=Columns(audio_column, text_column, id_column, speaker_column),
        audio_root=audio_root,
        split_seconds=seconds,
        config=config,
        split=split if seconds is None else None,
        revision=revision,
    )
    if engine != "local" and dtype is not Precision.float32:
        raise typer.BadParameter(f"--dtype {dtype.value} is for --engine local; {engine} encodes in float32")
    if engine == "local":
        # oneDNN keeps what it has compiled for the last 1,024 shapes, some 200 MB, and batches of ragged lengths hardly
        # ever have a shape again. It looks at this when it is used first.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
        codec = load_codec(terminal, codec_name, device, backend=backend, dtype=dtype)
        device = str(codec.device)
        with showing_progress(terminal) as on_progress:
            prepared = prepare_dataset(
                corpus, out, codec, settings, tokens=for_model, workers=workers, on_progress=on_progress
            )
    else:
        # An engine's own messages, as Ray's of dead workers, are no result.
        with redirect_stdout(sys.stderr), showing_progress(terminal) as on_progress:
            prepared = prepare_engine(engine)(
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
    report_prepared(terminal, corpus, prepared, device)
    if prepared.manifest.rows == 0:
        terminal.error(
            f"nothing was kept of {corpus.name}: {counted(prepared.manifest.rejects)}{_first(prepared.folder)}"
        )
        raise typer.Exit(1)


def _seconds(split: str | None) -> float | None:
    """What --split says, if it is a number: names of splits are none."""
    try:
        return None if split is None else float(split)
    except ValueError:
        return None


def _add_tokens(terminal: Terminal, out: str, tokens: TokenSettings) -> None:
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


def _first(folder: Place) -> str:
    """Why the first of the recordings that were left out was; empty if there is none."""
    from pyarrow import BufferReader
    from pyarrow.parquet import read_table

    from neucodec_tts.dataset.places import read_bytes

    details = read_table(BufferReader(read_bytes(folder / "rejects.parquet")), columns=["detail"])
    return "" if not details.num_rows else f"; the first: {details['detail'][0].as_py()}"
