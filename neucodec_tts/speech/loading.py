"""Load a language model's description of itself, and the codec that belongs to it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from neucodec_tts.built_in import speech_model
from neucodec_tts.codec.arrays import ArrayCodec, as_array_codec, load_array_codec
from neucodec_tts.codec.checkpoints.hub import GGUF, HubOptions, find_gguf, locate
from neucodec_tts.errors import CheckpointError, VocabularyError
from neucodec_tts.prompts import SpeechConfig
from neucodec_tts.speech.engine import Sampling, SpeechTokens
from neucodec_tts.tokens.gguf import TOKENIZER_JSON, GGUFFile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from neucodec_tts.codec.neucodec import NeuCodec
    from neucodec_tts.prompts import PromptFormat
    from neucodec_tts.tokens import SpeechVocabulary


@dataclass(frozen=True)
class SpeechModel:
    """A language model without its weights: its prompts, its tokens and its codec.

    Attributes:
        name: folder, hub id or GGUF file.
        hub: how a repository of the hub is reached.
        config: the model's ``speech_config.json``.
        vocabulary: maps codes to token ids.
        prompt_format: builds prompts.
    """

    name: str
    hub: HubOptions
    config: SpeechConfig
    vocabulary: SpeechVocabulary
    prompt_format: PromptFormat

    @classmethod
    def load(cls, model: str, hub: HubOptions | None = None, tokenizer: str | None = None) -> SpeechModel:
        """Read the description of a model.

        Args:
            model: a folder, a hub id, a GGUF file, or ``"tiny"``.
            hub: how a repository of the hub is reached.
            tokenizer: folder or hub id of its tokenizer, if that lies elsewhere.

        Raises:
            CheckpointError: the model or its tokenizer is missing or damaged, or it is none that speaks.
            VocabularyError: it has no code tokens.
            PromptError: its prompt format needs something that is not installed.
        """
        hub, model = hub or HubOptions(), speech_model(model)
        gguf = find_gguf(model, hub)
        if gguf is None:
            config = SpeechConfig.from_pretrained(model, **hub.keywords())
            loaded = load_tokenizer(tokenizer or model, hub)
        else:
            file = GGUFFile.read(gguf)
            config = SpeechConfig.from_gguf(file, model)
            loaded = _tokenizer_of(file, tokenizer, config.token_pattern, hub)
            model = str(gguf)
        vocabulary = config.vocabulary(loaded)
        return cls(model, hub, config, vocabulary, config.make_format(loaded, vocabulary))

    @property
    def is_gguf(self) -> bool:
        """True for a file that llama.cpp runs."""
        return self.name.endswith(GGUF)

    @property
    def folder(self) -> Path | None:
        """The model's folder on this machine; None for a repository of the hub that is no GGUF file."""
        path = Path(self.name).expanduser()
        path = path.parent if self.is_gguf else path
        return path if path.is_dir() else None

    @property
    def tokens(self) -> SpeechTokens:
        """The tokens of speech."""
        return SpeechTokens(self.vocabulary, tuple(self.prompt_format.stop_ids))

    @property
    def sampling(self) -> Sampling:
        """The model's own settings for drawing tokens."""
        return Sampling(**dict(self.config.sampling))  # type: ignore[arg-type]

    def load_codec(
        self,
        codec: NeuCodec | str | os.PathLike[str] | None = None,
        device: str | None = None,
        backend: str | None = None,
        decoder: str | os.PathLike[str] | None = None,
    ) -> NeuCodec:
        """Load the codec to a device; arguments and errors as for `load_decoder`."""
        return self.load_decoder(codec, device, backend, decoder).codec

    def load_decoder(
        self,
        codec: NeuCodec | str | os.PathLike[str] | None = None,
        device: str | None = None,
        backend: str | None = None,
        decoder: str | os.PathLike[str] | None = None,
    ) -> ArrayCodec:
        """Load the codec to a device, as speech needs it. One of ONNX files is loaded without torch.

        Args:
            codec: the codec, its folder or its hub id, if it is not the one that the model names.
            device: a GPU if there is one by default. A codec that you give stays where it is.
            backend: what computes it, as for `NeuCodec.from_pretrained`.
            decoder: hub id or folder of another decoder of its codes. A codec that you give keeps its own.

        Raises:
            CheckpointError: the codec or the decoder is missing or damaged, or has no files for the backend.
            VocabularyError: it is not the codec whose codes the model speaks.
            DeviceError: there is no such device.
        """
        if codec is None or isinstance(codec, (str, os.PathLike)):
            hub = replace(self.hub, revision=None)  # the revision is the language model's
            loaded = load_array_codec(
                codec or self._codec_name(), device=device, backend=backend, decoder=decoder, hub=hub
            )
        else:
            loaded = as_array_codec(codec)
        if self.config.codec_id not in (None, loaded.codec_id):
            raise VocabularyError(
                f"{self.name} speaks the codes of the codec {self.config.codec_id!r}, and {loaded.codec_id!r} was "
                f"loaded; give the right one (codec={self.config.codec!r})"
            )
        return loaded

    def _codec_name(self) -> str:
        """The name of the codec; with a leading dot it is a path relative to the model's folder."""
        if self.config.codec.startswith(".") and self.folder is not None:
            return str((self.folder / self.config.codec).resolve())
        return self.config.codec


def _tokenizer_of(
    file: GGUFFile, elsewhere: str | None, code_pattern: str, hub: HubOptions
) -> PreTrainedTokenizerBase:
    """The tokenizer of a GGUF file: in it where it is whole, else beside it, else rebuilt from llama.cpp's tables.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    folder = file.path.parent
    if elsewhere is None and TOKENIZER_JSON not in file.metadata and (folder / "tokenizer.json").is_file():
        elsewhere = str(folder)
    if elsewhere is not None:
        return load_tokenizer(elsewhere, hub)
    return file.tokenizer(code_pattern)


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
