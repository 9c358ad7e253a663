"""A prompt format that ``speech_config.json`` describes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from neucodec_tts.errors import PromptError
from neucodec_tts.prompts.formats import (
    FramedFormat,
    ToPhones,
    TrainingExample,
    Voice,
    control_ids,
    example,
    speech_ids,
    voice_ids,
    voice_text,
)
from neucodec_tts.text import check_text, clean, speakable, spelt
from neucodec_tts.tokens.scheme import token_lookup

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from neucodec_tts.codec.codes import Codes
    from neucodec_tts.tokens import SpeechVocabulary

_PLACES = ("{text}", "{codes}")


@dataclass(frozen=True)
class PromptTemplate:
    """The template of a custom format.

    Attributes:
        prompt: the prompt with ``{text}`` once and ``{codes}`` at its end, as in
            ``"<|user|>{text}<|assistant|><|SPEECH_GENERATION_START|>{codes}"``. Names of tokens in it become those
            tokens. ``{text}`` is the transcript of the voice, `join` and the text; ``{codes}`` is the codes of
            the voice. Other braces are ordinary text.
        stop: names of the tokens of which any ends the speech; the first is learnt in training.
        phones: True gives the model phones for ``{text}``, False the text itself.
        join: stands between the transcript of the voice and the text.
        begin: True adds the ids that the tokenizer puts before each text, such as a beginning-of-text token.
        voice: stands before the prompt where a voice is given, with its transcript for ``{text}`` and its codes
            for ``{codes}``, once each; ``{text}`` and ``{codes}`` of the prompt are then those of the speech to come
            alone. So the voice, computed once, serves for every text (prefix caching), and what a model sees is one
            utterance after the other, as in
            ``"<|user|>{text}<|assistant|><|SPEECH_GENERATION_START|>{codes}<|SPEECH_GENERATION_END|>"``.
        speaker: name that stands before a text that is spoken without a voice, with a colon and a space between, for
            models that were trained with names.
        needs_voice: True for models that speak in a given voice only.

    Raises:
        PromptError: a placeholder is missing, repeated or in the wrong place, or there is no stop.
    """

    prompt: str
    stop: tuple[str, ...]
    phones: bool = False
    join: str = " "
    begin: bool = True
    voice: str | None = None
    speaker: str | None = None
    needs_voice: bool = False

    def __post_init__(self) -> None:
        for name, part in (("prompt", self.prompt), ("voice", self.voice)):
            if name == "voice" and part is None:
                continue
            if not isinstance(part, str):
                raise PromptError(f"the template's {name} must be text, not {type(part).__name__}")
            for place in _PLACES:
                if part.count(place) != 1:
                    raise PromptError(
                        f"the template {part!r} must hold {place} exactly once, as in "
                        "'user: {text}\\nassistant:{codes}'"
                    )
        if not self.prompt.endswith("{codes}"):
            raise PromptError(
                f"the template {self.prompt!r} must end with {{codes}}, from where the model goes on"
            )
        if self.voice is not None and self.voice.index("{codes}") < self.voice.index("{text}"):
            raise PromptError(f"the template {self.voice!r} must hold {{text}} before {{codes}}")
        if (
            isinstance(self.stop, str)
            or not self.stop
            or not all(isinstance(name, str) for name in self.stop)
        ):
            raise PromptError(
                "the template needs the stop tokens as a list, as in ['<|SPEECH_GENERATION_END|>']"
            )
        object.__setattr__(self, "stop", tuple(self.stop))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PromptTemplate:
        """Make one from the entries of a JSON file.

        Raises:
            PromptError: an entry is unknown, missing or wrong.
        """
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise PromptError(
                f"the template has unknown entries: {', '.join(sorted(unknown))}; known are "
                f"{', '.join(cls.__dataclass_fields__)}"
            )
        missing = {"prompt", "stop"} - set(values)
        if missing:
            raise PromptError(f"the template lacks {' and '.join(sorted(missing))}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the entries of a JSON file."""
        values = {**asdict(self), "stop": list(self.stop)}
        return {
            name: value
            for name, value in values.items()
            if value is not None and not (name == "needs_voice" and not value)
        }


SCICOM = PromptTemplate(
    prompt="<|im_start|>{text}<|speech_start|>{codes}",
    voice="<|im_start|>{text}<|speech_start|>{codes}<|im_end|>",
    stop=("<|im_end|>",),
    begin=False,
    speaker="TM_English",
)
"""Of Scicom's Multilingual-TTS and Multilingual-Expressive-TTS: a voice is an earlier turn, a speaker a name before the
text. Source: ``app/main.py`` of Scicom-AI-Enterprise-Organization/TTS-API-Neucodec; the speaker is its default."""
AUDAR = PromptTemplate(
    prompt="<|TARGET_TEXT_START|>{text}<|TARGET_TEXT_END|>\nassistant:<|TARGET_CODES_START|>{codes}",
    voice="user: Convert the text to speech:<|REF_TEXT_START|>{text}<|REF_TEXT_END|>"
    "<|REF_SPEECH_START|>{codes}<|REF_SPEECH_END|>",
    stop=("<|TARGET_CODES_END|>",),
    begin=False,
    needs_voice=True,
)
"""Of Audar-TTS-V1, which always speaks in a voice. Source: the prompt of AudarAI/Audar-TTS-V1's README and of
sglang-omni's ``build_prompt``."""


class CustomFormat(FramedFormat):
    """The format of a `PromptTemplate`.

    In training everything from the codes on is learnt; what stands right before them, such as a start token, is
    in every prompt and need not be.

    Args:
        tokenizer: with the tokens that the template names.
        vocabulary: its codes.
        template: of the prompt.
        to_phones: turns text into phones, for a template that asks for them.
        text_tokens: names of tokens that text may contain.

    Raises:
        VocabularyError: the tokenizer lacks a stop token.
        PromptError: the template asks for phones, and `to_phones` is missing.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        vocabulary: SpeechVocabulary,
        template: PromptTemplate,
        to_phones: ToPhones | None = None,
        text_tokens: Sequence[str] = (),
    ) -> None:
        if template.phones and to_phones is None:
            raise PromptError("the template asks for phones; give to_phones=Phonemizer(language)")
        super().__init__(tokenizer, vocabulary, template.join, text_tokens)
        self._speaker, self._needs_voice = template.speaker, template.needs_voice
        self._stop = tuple(control_ids(tokenizer, *template.stop))
        self._to_phones = to_phones if template.phones else None
        unread = _unread_names(template.prompt + (template.voice or ""), tokenizer)
        if unread:
            control_ids(tokenizer, *unread)  # raises

        def encoded(part: str) -> list[int]:
            ids: list[int] = tokenizer.encode(part, add_special_tokens=False)
            return ids

        self._begin: list[int] = tokenizer.encode("") if template.begin else []
        before, after = template.prompt.removesuffix("{codes}").split("{text}")
        self._before, self._after = encoded(before), encoded(after)
        self._voice = [encoded(part) for part in re.split(r"\{text\}|\{codes\}", template.voice or "")]

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Token ids of which any ends the speech."""
        return self._stop

    def prompt_ids(self, text: str, voice: Voice | None = None) -> list[int]:
        """Return the token ids after which the model speaks `text`; `PromptFormat` gives arguments and errors."""
        if voice is None and self._needs_voice:
            raise PromptError(
                "this model speaks in a given voice only; name one, or a recording with its words"
            )
        if voice is None or len(self._voice) == 1:
            named = voice is None and self._speaker
            return super().prompt_ids(f"{self._speaker}: {text}" if named else text, voice)
        read, said, codes = (
            self._read(text),
            self._read(voice_text(voice)),
            voice_ids(voice, self._vocabulary),
        )
        before, between, after = self._voice
        first = [*self._begin, *before, *self._encode(said), *between, *codes, *after]
        return [*first, *self._before, *self._encode(read), *self._after]

    def training_example(self, text: str, codes: Codes) -> TrainingExample:
        """Return the example from which a model learns to speak `text` as `codes`."""
        return example(self.prompt_ids(text), [*speech_ids(codes, self._vocabulary), self._stop[0]])

    def _read(self, text: str) -> str:
        if self._to_phones is None:
            return speakable(clean(spelt(check_text(text))))
        return speakable(self._to_phones(check_text(text)), of=text)

    def _frame(self) -> tuple[list[int], list[int]]:
        return [*self._begin, *self._before], self._after


def _unread_names(text: str, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return names like ``<|this|>`` in a template that the tokenizer does not have: surely misspelt."""
    lookup = token_lookup(tokenizer)
    return [name for name in re.findall(r"<\|[^|<>]+\|>", text) if lookup(name) is None]
