"""Training tokens of a data set: the rows of a language model's training, beside the codes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from neucodec_tts.dataset.shards import Row
from neucodec_tts.errors import CheckpointError, DatasetError, PromptError
from neucodec_tts.prompts.speech_config import FORMATS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from neucodec_tts.prompts.formats import PromptFormat
    from neucodec_tts.prompts.speech_config import SpeechConfig

CHAT_DATE = "26 Jul 2024"
"""The date that Llama's chat templates write into every prompt: the one in Llama 3.2's template itself. With today's, a
run that goes past midnight would have rows of two kinds."""


@dataclass(frozen=True)
class TokenSettings:
    """The language model that examples are made for, and their form.

    Attributes:
        model: hub id, folder, or ``"tiny"``; only its tokenizer is needed.
        prompt_format: one of `speech_config.FORMATS`; None takes that of the model's ``speech_config.json``.
        language: of the phones, as espeak calls it; None takes that of the model, or en-us.
        tokenizer: fingerprint of the tokenizer and the prompts' form; filled in by `resolved`.
    """

    model: str
    prompt_format: str | None = None
    language: str | None = None
    tokenizer: str = ""

    def resolved(self, codebook_size: int | None = None) -> TokenSettings:
        """Return them with everything filled in from the model.

        Args:
            codebook_size: of the codec; the model must have tokens for it.

        Raises:
            NeuCodecError: the model cannot be had, says nothing of its format, lacks the tokens, or phones cannot
                be made.
        """
        tokenizer, config = self._load()
        settings = replace(
            self,
            prompt_format=config.prompt_format,
            language=config.language if config.needs_phones else None,
            tokenizer=_fingerprint(tokenizer, config),
        )
        vocabulary = config.vocabulary(tokenizer)
        if codebook_size is not None and vocabulary.codebook_size < codebook_size:
            raise DatasetError(
                f"{self.model} has tokens for {vocabulary.codebook_size} codes, and the codec has {codebook_size}; "
                "take the model's own codec, or extend the model for this one (neucodec-tts extend-vocab --codec)"
            )
        return settings

    def make_format(self) -> PromptFormat:
        """Build the prompt format.

        Raises:
            NeuCodecError: as `resolved`.
            DatasetError: the model's tokenizer is no longer the one these settings were resolved with.
        """
        tokenizer, config = self._load()
        if self.tokenizer and _fingerprint(tokenizer, config) != self.tokenizer:
            raise DatasetError(
                f"the tokenizer or the prompts of {self.model} have changed since this run was begun; prepare anew"
            )
        if config.prompt_format == "llasa":
            from neucodec_tts.prompts.formats import LlasaFormat

            vocabulary = config.vocabulary(tokenizer)
            return LlasaFormat(tokenizer, vocabulary, config.text_join, config.text_tokens, date=CHAT_DATE)
        return config.make_format(tokenizer)

    def to_dict(self) -> dict[str, Any]:
        """JSON values for the manifest."""
        return asdict(self)

    @property
    def digest(self) -> str:
        """A name for tokens made with these settings."""
        values = {name: value for name, value in asdict(self).items() if name != "model"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TokenSettings:
        """Make them from the values in a manifest."""
        return cls(**values)

    def _load(self) -> tuple[PreTrainedTokenizerBase, SpeechConfig]:
        from neucodec_tts.speech.loading import load_tokenizer

        return load_tokenizer(self.model), self._config()

    def _config(self) -> SpeechConfig:
        from neucodec_tts.prompts.speech_config import SpeechConfig
        from neucodec_tts.tokens.scheme import scheme_by_name

        wanted, config = self.prompt_format, None
        if wanted is not None and wanted not in FORMATS:
            raise DatasetError(f"unknown prompt format {wanted!r}; known are {', '.join(FORMATS)}")
        try:
            config = SpeechConfig.from_pretrained(self.model)
        except (CheckpointError, PromptError) as problem:
            if wanted is None:
                raise DatasetError(
                    f"{problem}; or say what its prompts look like (--format neutts or --format llasa)"
                ) from problem
        if config is not None and wanted in (None, config.prompt_format):
            if self.language is None:
                return config
            # Lexicons are of one language; another has espeak's phones.
            return replace(
                config, language=self.language, lexicon=config.lexicon and self.language == config.language
            )
        assert wanted is not None
        if wanted == "custom":
            raise DatasetError(
                f"{self.model} has no template for the format 'custom' in its speech_config.json; write one there"
            )
        pattern = scheme_by_name("llasa" if wanted == "llasa" else "neutts").pattern
        return SpeechConfig(wanted, token_pattern=pattern, language=self.language or "en-us")


def add_tokens(rows: Sequence[Row], prompt_format: PromptFormat) -> tuple[list[Row], int]:
    """Give rows their training examples.

    Returns:
        The rows, and the number of those that have none: without text, or with a text that makes no prompt.
    """
    done = [_with_tokens(row, prompt_format) for row in rows]
    return done, sum(row.input_ids is None for row in done)


def _with_tokens(row: Row, prompt_format: PromptFormat) -> Row:
    if row.text is None:
        return replace(row, input_ids=None, labels=None)
    try:
        example = prompt_format.training_example(row.text, row.codes)
    except PromptError:
        return replace(row, input_ids=None, labels=None)
    return replace(row, input_ids=example.input_ids, labels=example.labels)


def _fingerprint(tokenizer: PreTrainedTokenizerBase, config: SpeechConfig) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    said = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    said += str(tokenizer.chat_template)
    said += repr((config.token_pattern, config.template, config.text_join, config.text_tokens))
    said += "lexicon" if config.lexicon else ""
    return hashlib.sha256(said.encode()).hexdigest()[:16]
