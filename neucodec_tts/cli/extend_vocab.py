"""``neucodec-tts extend-vocab``: a text model becomes one that can learn to speak."""

from __future__ import annotations

import importlib.util
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neucodec_tts.cli.terminal import Stopwatch, Terminal, command
from neucodec_tts.errors import CheckpointError
from neucodec_tts.files import atomic_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FULL_SIZE_CODECS = ("neuphonic/neucodec", "neuphonic/distill-neucodec")
"""Their codebook is known: 65,536 codes, 4 levels in each of 8 dimensions. Another codec is looked at."""


class TokenFormat(str, Enum):
    """Whose tokens and prompts."""

    neutts = "neutts"
    llasa = "llasa"


class Start(str, Enum):
    """Starting points of the new embeddings."""

    fsq = "fsq"
    mean = "mean"
    random = "random"


class Layout(str, Enum):
    """Layouts of the codes in tokenizer.json."""

    added = "added"
    vocab = "vocab"


class Weights(str, Enum):
    """Floating-point formats of weights."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@command
def extend_vocab(
    terminal: Terminal,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A causal language model: hub id or folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The new model's folder.")],
    token_format: Annotated[
        TokenFormat, typer.Option("--format", help="Whose tokens and prompts to use.")
    ] = (TokenFormat.neutts),
    codec: Annotated[
        str,
        typer.Option("--codec", metavar="CODEC", help="Whose codes it will speak: hub id, folder, or tiny."),
    ] = _FULL_SIZE_CODECS[0],
    language: Annotated[
        str,
        typer.Option(
            "--language", "-l", metavar="CODE", help="Of its phones, as espeak calls it; for neutts."
        ),
    ] = "en-us",
    init: Annotated[
        Start, typer.Option("--init", help="The start of the new embeddings: fsq learns fastest.")
    ] = Start.fsq,
    layout: Annotated[
        Layout,
        typer.Option(
            "--layout", help="added: codes can be written as text, as NeuTTS does; vocab: loads faster."
        ),
    ] = Layout.added,
    pad_to_multiple_of: Annotated[
        int | None, typer.Option("--pad-to-multiple-of", min=1, help="Round the embedding rows up, as to 64.")
    ] = None,
    dtype: Annotated[Weights, typer.Option("--dtype", help="Of the weights: auto keeps it.")] = Weights.auto,
    seed: Annotated[int, typer.Option("--seed", help="Of the new embeddings.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the folder if it exists.")] = False,
) -> None:
    """Add a codec's codes to a language model.

    The result is ready to be trained to speak.

    The folder holds the model with rows for every code, the tokenizer, and speech_config.json, which says which
    codec and prompt format belong to it. Nothing is left behind if it fails.
    """
    _check_free(output, overwrite)
    watch = Stopwatch()
    with watch, terminal.progress("extending the vocabulary"):
        from neucodec_tts.prompts.speech_config import KNOWN_MODELS, SpeechConfig
        from neucodec_tts.tokens.embeddings import embedding_table
        from neucodec_tts.tokens.scheme import scheme_by_name
        from neucodec_tts.tokens.vocabulary import SpeechVocabulary

        codebook_size, levels, codec_id = _codebook(codec)
        tokenizer, network = _load(model, dtype.value)
        old_rows = embedding_table(network).shape[0]
        vocabulary = SpeechVocabulary.extend(
            tokenizer,
            network,
            codebook_size,
            init.value,
            format=token_format.value,
            levels=levels,
            pad_to_multiple_of=pad_to_multiple_of,
            seed=seed,
        )
        rows = embedding_table(network).shape[0]
        template = KNOWN_MODELS[
            "neuphonic/neutts-air" if token_format.value == "neutts" else "HKUSTAudio/Llasa-1B"
        ]
        config = SpeechConfig(
            token_format.value,
            codec=codec,
            codec_id=codec_id,
            token_pattern=scheme_by_name(token_format.value).pattern,
            codebook_size=codebook_size,
            language=language if token_format.value == "neutts" else None,
            context_length=min(2048, getattr(network.config, "max_position_embeddings", None) or 2048),
            sampling=template.sampling,
        )
        # A wrong language or chat template is found now, not after training. But only training and speaking need
        # espeak-ng.
        if not config.needs_phones or importlib.util.find_spec("phonemizer"):
            config.make_format(tokenizer, vocabulary)
        with atomic_folder(output, CheckpointError) as folder:
            network.save_pretrained(folder)
            vocabulary.save_tokenizer(tokenizer, folder, layout.value)
            config.save(folder)
    first, end = vocabulary.id_range or (int(vocabulary.ids.min()), vocabulary.required_rows)
    terminal.result(
        {
            "model": model,
            "folder": output,
            "format": token_format.value,
            "codes": codebook_size,
            "first_id": first,
            "last_id": end - 1,
            "embedding_rows": {"before": old_rows, "after": rows},
            "init": init.value,
            "layout": layout.value,
            "codec": codec,
            "codec_id": codec_id,
            "work_seconds": watch.seconds,
        }
    )
    terminal.say(
        f"extended {model} to {output}: {codebook_size:,} codes at the ids {first} to {end - 1}, "
        f"{rows:,} embedding rows instead of {old_rows:,} ({watch.seconds:.1f} s)"
    )


def _check_free(folder: Path, overwrite: bool) -> None:
    """Refuse to replace anything but, on request, a folder that an earlier run made."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / "speech_config.json").is_file():
        raise CheckpointError(f"{folder} exists and is no folder of this command; give another")
    if not overwrite:
        raise CheckpointError(f"{folder} exists already; give another folder, or --overwrite")


def _codebook(codec: str) -> tuple[int, tuple[int, ...] | None, str | None]:
    """Number of codes, FSQ levels and id of a codec."""
    if codec in _FULL_SIZE_CODECS:
        return 65536, None, None
    from neucodec_tts.codec.neucodec import NeuCodec

    loaded = NeuCodec.from_pretrained(codec)
    return loaded.codebook_size, tuple(loaded.config.quantization_levels), loaded.codec_id


def _load(model: str, dtype: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from neucodec_tts.built_in import speech_model
    from neucodec_tts.speech.loading import load_tokenizer

    logging.disable_progress_bar()  # this command has its own
    # It asks first whether the hub can be reached; transformers alone would try for a minute.
    tokenizer = load_tokenizer(model)
    try:
        network = AutoModelForCausalLM.from_pretrained(speech_model(model), dtype=dtype)
    except (OSError, ValueError, KeyError) as problem:
        raise CheckpointError(
            f"{model} cannot be loaded as a causal language model: {problem}; give a folder or a hub id of one, "
            "as in Qwen/Qwen2.5-0.5B"
        ) from problem
    return tokenizer, network
