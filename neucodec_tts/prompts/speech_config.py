"""``speech_config.json``: the description of a speech language model in its folder."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neucodec_tts.built_in import speech_model
from neucodec_tts.codec.checkpoints.hub import HubOptions, find_gguf, locate
from neucodec_tts.errors import CheckpointError, PromptError
from neucodec_tts.files import atomic_path
from neucodec_tts.prompts.custom import AUDAR, SCICOM, CustomFormat, PromptTemplate
from neucodec_tts.prompts.formats import LlasaFormat, NeuTTSFormat, PromptFormat
from neucodec_tts.prompts.lexicon import LANGUAGE, LexiconPhonemizer
from neucodec_tts.prompts.phonemes import (
    NEUTTS_ESPEAK_VERSION,
    EspeakMissingError,
    Phonemizer,
    TextToPhones,
    nearest_language,
)
from neucodec_tts.text import TextReader
from neucodec_tts.tokens.gguf import SPEECH_CONFIG, GGUFFile
from neucodec_tts.tokens.scheme import SCHEMES, check_pattern

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from neucodec_tts.tokens import SpeechVocabulary

FILENAME = "speech_config.json"
FORMATS = ("neutts", "neutts-text", "llasa", "custom")
"""Prompt formats: NeuTTS with phones, NeuTTS with text (NeuTTS-2E), Llasa, and a template of one's own."""
SAMPLING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "min_frames",
    "max_frames",
    "repetition_frames",
)
"""Entries of `SpeechConfig.sampling`."""


@dataclass(frozen=True)
class SpeechConfig:
    """The description of a language model that speaks.

    Attributes:
        prompt_format: one of `FORMATS`.
        codec: hub id or folder of the codec whose codes the model speaks.
        codec_id: id of that codec (``NeuCodec.codec_id``), if it is known; voices of another are then refused.
        token_pattern: name of a code's token.
        codebook_size: number of codes; None finds it from the tokenizer.
        language: espeak's name of the language the model speaks, for formats with phones.
        context_length: longest sequence the model was trained with, prompt and speech together, in tokens.
        utterance_frames: shortest and longest speech that the model was trained to give in one go, in codes: sentences
            that would be shorter go with a neighbour, longer ones are cut at clauses. None means 1.2 and 20 s.
        sampling: the model's own defaults: any of `SAMPLING`.
        template: of the format ``"custom"``.
        text_join: stands between the transcript of the voice and the text in the format ``"llasa"``.
        text_tokens: names of tokens that text may contain; every other name of a token is read as plain text.
        espeak_version: of the espeak-ng that made the phones the model was trained with, if it is known.
        default_voice: name of the voice among the model's own (folder ``voices``) that speaks where none is asked for;
            None leaves the voice to the model.
        normalize: True for a model that was trained with written forms (money, dates, units ...) in words.
        lexicon: True for a model of American English that was trained with the phones of ``LexiconPhonemizer``: they
            are read even where espeak-ng is installed.

    Raises:
        PromptError: a value is wrong, or an entry does not go with the format.
    """

    prompt_format: str = "neutts"
    codec: str = "neuphonic/neucodec"
    codec_id: str | None = None
    token_pattern: str = "<|speech_{}|>"
    codebook_size: int | None = None
    language: str | None = None
    context_length: int = 2048
    utterance_frames: tuple[int, int] | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)
    template: PromptTemplate | None = None
    text_join: str = ""
    text_tokens: tuple[str, ...] = ()
    espeak_version: str | None = None
    default_voice: str | None = None
    normalize: bool = False
    lexicon: bool = False

    def __post_init__(self) -> None:
        if self.prompt_format not in FORMATS:
            raise PromptError(f"unknown prompt format {self.prompt_format!r}; known are {', '.join(FORMATS)}")
        if (self.template is not None) != (self.prompt_format == "custom"):
            raise PromptError(
                "the prompt format 'custom' needs a template, and no other has one; this is "
                f"{self.prompt_format!r} {'with' if self.template else 'without'} a template"
            )
        check_pattern(self.token_pattern)
        if self.needs_phones and not self.language:
            raise PromptError(
                f"the prompt format {self.prompt_format!r} reads phones and needs a language, as in 'en-us'"
            )
        for name in ("context_length", "codebook_size"):
            count = getattr(self, name)
            if count is None and name == "codebook_size":
                continue
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise PromptError(f"{name} is {count!r}; it must be a whole number of at least 1")
        if self.utterance_frames is not None:
            object.__setattr__(self, "utterance_frames", _frames(self.utterance_frames))
        for name, value in self.sampling.items():
            if name not in SAMPLING:
                raise PromptError(f"unknown sampling default {name!r}; known are {', '.join(SAMPLING)}")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise PromptError(f"the sampling default {name} is {value!r}; it must be a number")
        for name in ("normalize", "lexicon"):
            if not isinstance(getattr(self, name), bool):
                raise PromptError(f"{name} is {getattr(self, name)!r}; it must be true or false")
        if self.lexicon and (self.template is None or not self.needs_phones or self.language != LANGUAGE):
            raise PromptError(
                f"lexicon is true, and goes with a template that reads phones and the language {LANGUAGE!r} alone"
            )
        if isinstance(self.text_tokens, str):
            raise PromptError("text_tokens must be a list of names, as in ['<|LAUGHING|>']")
        object.__setattr__(self, "text_tokens", tuple(self.text_tokens))

    @property
    def needs_phones(self) -> bool:
        """True where the prompt holds phones, False where it holds the text itself."""
        return self.prompt_format == "neutts" or (self.template is not None and self.template.phones)

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> SpeechConfig:
        """Find the configuration of a model.

        Args:
            model: ``"tiny"``, a folder, a hub id, or a GGUF file. A folder's own file comes first; models in
                `KNOWN_MODELS` need none and nothing is asked of the network for them; any other hub repository must
                hold one. A GGUF file may hold it in its metadata.
            revision: branch, tag or commit of a hub repository.
            cache_dir: folder of downloads.
            token: hub token.
            local_files_only: never use the network.

        Raises:
            CheckpointError: there is no such model, it has no such file, or the file is damaged.
            PromptError: a value in the file is wrong.
        """
        name, hub = speech_model(model), HubOptions(revision, cache_dir, token, local_files_only)
        if not Path(name).expanduser().exists():
            known = known_model(name)
            if known is not None:
                return known
        gguf = find_gguf(name, hub)
        if gguf is not None:
            return cls.from_gguf(GGUFFile.read(gguf))
        path = locate(name, hub).find(FILENAME)
        if path is None:
            near = difflib.get_close_matches(name.lower(), [known.lower() for known in KNOWN_MODELS], n=2)
            raise CheckpointError(
                f"{name} has no {FILENAME}, so its codec and prompt format are unknown; "
                + (f"did you mean {' or '.join(near)}? otherwise " if near else "")
                + "write one with SpeechConfig(...).save(folder), or copy that of a known model: "
                f"SpeechConfig.from_pretrained({next(iter(KNOWN_MODELS))!r}).save(folder)"
            )
        return cls.read(path)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> SpeechConfig:
        """Read a file.

        Raises:
            CheckpointError: it is missing, or no JSON object.
            PromptError: a value in it is unknown or wrong.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise CheckpointError(f"{path} cannot be read as JSON: {problem}") from problem
        if not isinstance(values, dict):
            raise CheckpointError(f'{path} must hold a JSON object, as in {{"prompt_format": "neutts", ...}}')
        try:
            return cls.from_dict(values)
        except PromptError as problem:
            raise PromptError(f"{path}: {problem}") from problem

    @classmethod
    def from_gguf(cls, file: GGUFFile, name: str = "") -> SpeechConfig:
        """Find the configuration of a GGUF file: in its metadata, beside it, or by the name of a known model.

        Args:
            file: the model.
            name: the model as it was asked for; a hub id may be known.

        Raises:
            CheckpointError: nothing says how the model speaks.
            PromptError: a value is wrong.
        """
        stored = file.metadata.get(SPEECH_CONFIG)
        beside = file.path.with_name(FILENAME)
        if stored is None and beside.is_file():
            return cls.read(beside)
        if stored is None:
            titles = (file.metadata.get(f"general.{key}", "") for key in ("name", "basename"))
            known = known_model(name) or _known_title(*titles, file.path.stem)
            if known is not None:
                return known
            raise CheckpointError(
                f"{file.path} does not say how the model speaks: {SPEECH_CONFIG} is not among its metadata, and it is "
                f"none of the known models; write {FILENAME} beside it, as in "
                f"SpeechConfig.from_pretrained({next(iter(KNOWN_MODELS))!r}).save(folder)"
            )
        try:
            return cls.from_dict(json.loads(stored))
        except (PromptError, ValueError, TypeError, AttributeError) as problem:
            raise PromptError(f"{file.path}, {SPEECH_CONFIG}: {problem}") from problem

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SpeechConfig:
        """Make one from the entries of a JSON file.

        Raises:
            PromptError: an entry is unknown, missing or wrong.
        """
        names = [entry.name for entry in fields(cls)]
        for name in values:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
                raise PromptError(f"unknown entry {name!r}; {hint}")
        if "prompt_format" not in values:
            raise PromptError(f"prompt_format is missing; it is one of {', '.join(FORMATS)}")
        template = values.get("template")
        if template is not None and not isinstance(template, Mapping):
            raise PromptError("the template must be an object with the entries prompt and stop")
        built = PromptTemplate.from_dict(template) if template is not None else None
        try:
            return cls(**{**values, "template": built})
        except (TypeError, AttributeError) as problem:
            raise PromptError(f"an entry has a value of the wrong kind: {problem}") from problem

    def to_dict(self) -> dict[str, Any]:
        """Return the entries of a JSON file: all that differ from the defaults, and those that a reader looks for."""
        values = {**asdict(self), "text_tokens": list(self.text_tokens), "sampling": dict(self.sampling)}
        values["template"] = self.template.to_dict() if self.template else None
        always = ("prompt_format", "codec", "token_pattern", "codebook_size", "context_length")
        return {
            name: value
            for name, value in values.items()
            if name in always or value not in (None, "", [], {}, False)
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``speech_config.json`` into a folder, and return its path.

        Raises:
            CheckpointError: the folder is missing or not writable.
        """
        path = Path(folder) / FILENAME
        with atomic_path(path, CheckpointError) as temporary:
            temporary.write_text(
                json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        return path

    def vocabulary(self, tokenizer: PreTrainedTokenizerBase) -> SpeechVocabulary:
        """Find the codes in the model's tokenizer.

        Raises:
            VocabularyError: some or all are missing, or there are more.
        """
        from neucodec_tts.tokens import SpeechVocabulary

        return SpeechVocabulary.from_tokenizer(tokenizer, self.token_pattern, self.codebook_size)

    def make_format(
        self, tokenizer: PreTrainedTokenizerBase, vocabulary: SpeechVocabulary | None = None
    ) -> PromptFormat:
        """Build the prompt format.

        Args:
            tokenizer: of the model.
            vocabulary: its codes, if they have been found already.

        Raises:
            VocabularyError: the tokenizer lacks codes or control tokens.
            PromptError: the format reads phones, and espeak-ng is not installed or lacks the language.
        """
        vocabulary = vocabulary or self.vocabulary(tokenizer)
        if self.prompt_format == "llasa":
            return LlasaFormat(tokenizer, vocabulary, self.text_join, self.text_tokens)
        phonemizer = self._phonemizer() if self.needs_phones else None
        if self.template is not None:
            return CustomFormat(tokenizer, vocabulary, self.template, phonemizer, self.text_tokens)
        return NeuTTSFormat(tokenizer, vocabulary, phonemizer, self.text_tokens)

    def _phonemizer(self) -> TextToPhones | None:
        """Build what turns text into phones.

        Without espeak-ng a model of American English reads those of lexicons. NeuTTS' prompts are id for id or refused.
        """
        if not self.language:
            return None
        if self.lexicon:
            return LexiconPhonemizer()
        try:
            phonemizer = Phonemizer(self.language)
        except EspeakMissingError:
            if self.template is None or self.language != LANGUAGE:
                raise
            return LexiconPhonemizer()
        phonemizer.compare_version(self.espeak_version)
        return phonemizer

    def make_reader(self) -> TextReader:
        """Build the reader of texts for the model."""
        return TextReader(self.language, _phones_in if self.needs_phones else None, self.normalize)


def _phones_in(text: str, language: str) -> str:
    """Return the phones of a text in another language than the model's.

    Raises:
        PromptError: espeak-ng has no such language.
    """
    return Phonemizer(nearest_language(language))(text)


def _frames(values: Any) -> tuple[int, int]:
    """Return shortest and longest, checked."""
    whole = isinstance(values, (list, tuple)) and len(values) == 2 and all(type(x) is int for x in values)
    if not whole or not 0 <= values[0] < values[1]:
        raise PromptError(
            f"utterance_frames is {values!r}; it must be two whole numbers, shortest and longest, as in [0, 250]"
        )
    return values[0], values[1]


# The sampling of neutts 1.4.1: NeuTTS.infer and NeuTTS._infer_torch.
_NEUTTS_SAMPLING = {"temperature": 1.0, "top_k": 50, "min_frames": 50}
# Of Llasa's model cards; transformers' own default of top_k applies there.
_LLASA_SAMPLING = {"temperature": 0.8, "top_p": 1.0, "top_k": 50}


def _neutts(language: str) -> SpeechConfig:
    return SpeechConfig(
        "neutts",
        codebook_size=65536,
        language=language,
        sampling=_NEUTTS_SAMPLING,
        espeak_version=NEUTTS_ESPEAK_VERSION,
    )


_LLASA = SpeechConfig(
    "llasa",
    codec="HKUSTAudio/xcodec2-hf",  # the layout of transformers
    token_pattern=SCHEMES["llasa"].pattern,
    codebook_size=65536,
    sampling=_LLASA_SAMPLING,
)

# Sampling as their servers have it: DEFAULT_TEMPERATURE and DEFAULT_REPETITION_PENALTY, without top-k.
_SCICOM = SpeechConfig(
    "custom",
    token_pattern=SCHEMES["llasa"].pattern,
    codebook_size=65536,
    context_length=4096,
    sampling={"temperature": 0.7, "top_k": 0, "repetition_penalty": 1.15},
    template=SCICOM,
)
# Of Audar's README; the same for all sizes.
_AUDAR = SpeechConfig(
    "custom",
    codebook_size=65536,
    context_length=4096,
    sampling={"temperature": 1.0, "top_k": 40, "top_p": 0.9, "repetition_penalty": 1.1, "min_frames": 50},
    template=AUDAR,
)

KNOWN_MODELS: dict[str, SpeechConfig] = {
    "neuphonic/neutts-air": _neutts("en-us"),
    "neuphonic/neutts-nano": _neutts("en-us"),
    "neuphonic/neutts-nano-german": _neutts("de"),
    "neuphonic/neutts-nano-french": _neutts("fr-fr"),
    "neuphonic/neutts-nano-spanish": _neutts("es"),
    "neuphonic/neutts-2e": SpeechConfig("neutts-text", codebook_size=65536, sampling=_NEUTTS_SAMPLING),
    "audarai/Audar-TTS-V1-Flash": _AUDAR,
    "audarai/Audar-TTS-V1-Turbo": _AUDAR,
    "HKUSTAudio/Llasa-1B": _LLASA,
    "HKUSTAudio/Llasa-3B": _LLASA,
    "HKUSTAudio/Llasa-8B": _LLASA,
    "HKUSTAudio/Llasa-1B-Multilingual": _LLASA,
    "Scicom-intl/Multilingual-TTS-1.7B-Base": _SCICOM,
    "Scicom-intl/Multilingual-TTS-1.7B-v0.1": _SCICOM,
    "Scicom-intl/Multilingual-Expressive-TTS-1.7B": _SCICOM,
}
"""Models of the hub that have no ``speech_config.json`` and need none."""


def known_model(name: str) -> SpeechConfig | None:
    """Return the configuration of a model of the hub, its GGUF files included, or None if it is not known."""
    wanted = name.lower().replace("hkust-audio/", "hkustaudio/")  # the organisation's older name
    wanted = "/".join(wanted.split("/")[:2])  # without the name of a file
    names = (wanted, re.sub(r"(-q\d+)?-gguf$", "", wanted))
    return next((config for known, config in KNOWN_MODELS.items() if known.lower() in names), None)


def _known_title(*titles: str) -> SpeechConfig | None:
    """Return the configuration of the known model whose name is in one of the titles, the longest name first."""
    plain = [re.sub(r"[^a-z0-9]+", "-", str(title).lower()) for title in titles]
    for known in sorted(KNOWN_MODELS, key=len, reverse=True):
        if any(known.lower().split("/")[1] in title for title in plain):
            return KNOWN_MODELS[known]
    return None
