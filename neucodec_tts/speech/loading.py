"""The parts of `TextToSpeech`, loaded and checked against each other."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neucodec_tts.built_in import speech_model
from neucodec_tts.codec.checkpoints.hub import HubOptions, locate
from neucodec_tts.codec.devices import default_device
from neucodec_tts.codec.neucodec import NeuCodec
from neucodec_tts.errors import CheckpointError, VocabularyError
from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.speech.engine import Sampling, SpeechTokens
from neucodec_tts.speech.registry import engine_loader
from neucodec_tts.voices import VoiceLibrary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from neucodec_tts.voices import VoiceLibrary


def load(
    model: str,
    *,
    codec: NeuCodec | str | os.PathLike[str] | None,
    engine: str,
    device: str | None,
    dtype: str | None,
    hub: HubOptions,
    voices: str | os.PathLike[str] | VoiceLibrary | None,
    engine_options: dict[str, Any],
) -> dict[str, Any]:
    """Load what `TextToSpeech` consists of; `TextToSpeech.from_pretrained` documents the arguments.

    Returns:
        The arguments of its constructor.
    """
    device = device or str(default_device())
    model = speech_model(model)
    # Cheap things first: what is misspelt is found before gigabytes are read.
    loader = engine_loader(engine)
    config = SpeechConfig.from_pretrained(model, **hub.keywords())
    tokenizer = load_tokenizer(model, hub)
    vocabulary = config.vocabulary(tokenizer)
    prompt_format = config.make_format(tokenizer, vocabulary)
    if not isinstance(codec, NeuCodec):
        of_codec = replace(hub, revision=None)  # the revision is the language model's
        codec = NeuCodec.from_pretrained(
            codec or codec_of(config, model), device=device, **of_codec.keywords()
        )
    if config.codec_id is not None and codec.codec_id != config.codec_id:
        raise VocabularyError(
            f"{model} speaks the codes of the codec {config.codec_id!r}, and {codec.codec_id!r} was loaded; give "
            f"the right one (codec={config.codec!r})"
        )
    tokens = SpeechTokens(vocabulary, tuple(prompt_format.stop_ids))
    return {
        "engine": loader.load(model, tokens, device=device, dtype=dtype, hub=hub, **engine_options),
        "codec": codec,
        "prompt_format": prompt_format,
        "vocabulary": vocabulary,
        "context_length": config.context_length,
        "utterance_frames": config.utterance_frames,
        "sampling": Sampling(**dict(config.sampling)),  # type: ignore[arg-type]
        "voices": load_library(voices),
        "model_voices": VoiceLibrary.of_model(model),
    }


def codec_of(config: SpeechConfig, model: str) -> str:
    """Where the codec of a model lies: one that is named with a leading dot lies relative to the model's folder."""
    folder = Path(speech_model(model)).expanduser()
    if config.codec.startswith(".") and folder.is_dir():
        return str((folder / config.codec).resolve())
    return config.codec


def load_tokenizer(model: str, hub: HubOptions | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    from transformers import AutoTokenizer

    model = speech_model(model)
    # Asked first, because it fails at once where there is no network; transformers would try for 24 s.
    location = locate(model, hub)
    if location.find("tokenizer_config.json") is None and location.find("tokenizer.json") is None:
        raise CheckpointError(f"{model} holds no tokenizer (tokenizer.json); save it beside the model")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(location.folder or location.name), **location.hub.keywords()
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise CheckpointError(f"the tokenizer of {model} cannot be loaded: {error}") from error
    return tokenizer


def load_library(voices: str | os.PathLike[str] | VoiceLibrary | None) -> VoiceLibrary | None:
    """Open a folder of voices; a library is returned as it is."""
    from neucodec_tts.voices import VoiceLibrary

    return VoiceLibrary(voices) if isinstance(voices, (str, os.PathLike)) else voices
