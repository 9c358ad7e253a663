"""Prompt formats: text and a voice become the token ids that a speech language model goes on from."""

from __future__ import annotations

import copy
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from neucodec_tts.errors import PromptError, VocabularyError
from neucodec_tts.prompts.injection import TextEncoder
from neucodec_tts.text import check_text, clean, speakable, spelt
from neucodec_tts.tokens.scheme import token_lookup

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from neucodec_tts.codec.codes import Codes
    from neucodec_tts.tokens import SpeechVocabulary

IGNORED = -100
"""The label of a token that no loss is computed for, by the convention of PyTorch and transformers."""

ToPhones = Callable[[str], str]


class Voice(Protocol):
    """The part of a voice that a format reads; `SpeakerPrompt` has it."""

    @property
    def codes(self) -> np.ndarray[Any, Any]:
        """Codes of the reference recording, integers (frames,)."""
        ...

    @property
    def text(self) -> str:
        """Words that are said in it."""
        ...


@dataclass(frozen=True)
class TrainingExample:
    """One text with its codes, ready for a causal language model.

    Attributes:
        input_ids: the whole sequence.
        labels: the same ids from the speech on, and `IGNORED` before it; as long as `input_ids`. Not shifted:
            transformers' models do that themselves.
    """

    input_ids: list[int]
    labels: list[int]


@runtime_checkable
class PromptFormat(Protocol):
    """Builds the prompts of one family of models.

    A format must not load models or run them, and it must give equal ids for equal input. Whatever stands in
    the text must arrive as text: no control token and no code may come from there.
    """

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Token ids of which any ends the speech."""
        ...

    def prompt_ids(self, text: str, voice: Voice | None = None) -> list[int]:
        """Return the token ids after which the model speaks `text`.

        Args:
            text: one sentence or a few, as much as fits into the model's context with the voice.
            voice: whose voice to speak in; None leaves it to the model.

        Raises:
            PromptError: there is nothing to say in `text`, or the voice has no transcript.
            CodesError: the voice's codes are not of the model's codebook.
        """
        ...

    def training_example(self, text: str, codes: Codes) -> TrainingExample:
        """Return the example from which a model learns to speak `text` as `codes`.

        Raises:
            PromptError: there is nothing to say in `text`, or there are no codes.
            CodesError: a code is not of the model's codebook.
        """
        ...


def with_emotion(prompt_format: PromptFormat, emotion: str | None) -> PromptFormat:
    """Return the format with an emotion for its texts, or as it is without one.

    Raises:
        PromptError: the format's models have no such emotion, or none at all.
    """
    if emotion is None:
        return prompt_format
    if not isinstance(prompt_format, NeuTTSFormat) or not prompt_format.emotions:
        raise PromptError(
            f"this model takes no emotion, and {emotion!r:.100} was asked for; neuphonic/neutts-2e does"
        )
    return prompt_format.with_emotion(emotion)


class FramedFormat(ABC):
    """A `PromptFormat` of this shape: ids before the text, the text, ids after it, then the codes.

    Args:
        tokenizer: of the model.
        vocabulary: its codes.
        join: stands between the transcript of the voice and the text.
        text_tokens: names of tokens that text may contain.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        vocabulary: SpeechVocabulary,
        join: str,
        text_tokens: Sequence[str],
    ) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._join = join
        self._encode = TextEncoder(tokenizer, vocabulary, text_tokens)

    @property
    @abstractmethod
    def stop_ids(self) -> tuple[int, ...]:
        """Token ids of which any ends the speech."""

    @abstractmethod
    def training_example(self, text: str, codes: Codes) -> TrainingExample:
        """Return the example from which a model learns to speak `text` as `codes`."""

    @abstractmethod
    def _read(self, text: str) -> str:
        """Return the text as the model reads it."""

    @abstractmethod
    def _frame(self) -> tuple[list[int], list[int]]:
        """Return the ids before and after the text."""

    def prompt_ids(self, text: str, voice: Voice | None = None) -> list[int]:
        """Return the token ids after which the model speaks `text`; `PromptFormat` gives arguments and errors."""
        read, codes = self._read(text), []
        if voice is not None:
            read = f"{self._read(voice_text(voice))}{self._join}{read}"
            codes = voice_ids(voice, self._vocabulary)
        before, after = self._frame()
        return [*before, *self._encode(read), *after, *codes]


EMOTIONS = ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")
"""Of NeuTTS-2E, each the name of a token in capitals; neutral is none of them."""


class NeuTTSFormat(FramedFormat):
    """The format of NeuTTS Air and Nano, and with ``to_phones=None`` that of NeuTTS-2E.

    The ids are those of ``NeuTTS._apply_chat_template`` in neutts 1.4.1 and, for training, of its
    ``examples/finetune.py``: everything from ``<|SPEECH_GENERATION_START|>`` on is learnt.

    Args:
        tokenizer: with NeuTTS' control tokens.
        vocabulary: its codes.
        to_phones: turns text into phones; None gives the model the text itself, with typographic quotes
            straightened and NFKC applied.
        text_tokens: names of tokens that text may contain.

    Raises:
        VocabularyError: the tokenizer lacks a control token.
    """

    _PHONES_CHAT = "user: Convert the text to speech:<|TEXT_REPLACE|>\nassistant:<|SPEECH_REPLACE|>"
    _TEXT_CHAT = "<|TEXT_REPLACE|><|SPEECH_REPLACE|>"
    _STRAIGHT_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"'})

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        vocabulary: SpeechVocabulary,
        to_phones: ToPhones | None,
        text_tokens: Sequence[str] = (),
    ) -> None:
        super().__init__(tokenizer, vocabulary, " ", text_tokens)
        text, start, end, speech, begin, stop = control_ids(
            tokenizer,
            "<|TEXT_REPLACE|>",
            "<|TEXT_PROMPT_START|>",
            "<|TEXT_PROMPT_END|>",
            "<|SPEECH_REPLACE|>",
            "<|SPEECH_GENERATION_START|>",
            "<|SPEECH_GENERATION_END|>",
        )
        self._to_phones = to_phones
        frame: list[int] = tokenizer.encode(self._TEXT_CHAT if to_phones is None else self._PHONES_CHAT)
        text_at, speech_at = frame.index(text), frame.index(speech)
        self._before = [*frame[:text_at], start]
        self._after = [end, *frame[text_at + 1 : speech_at], begin]
        self._stop = stop
        lookup = token_lookup(tokenizer)
        named = {name: lookup(f"<|{name.upper()}|>") for name in EMOTIONS} if to_phones is None else {}
        self._emotion_ids = {name: id for name, id in named.items() if id is not None}
        self._emotion: int | None = None

    @property
    def emotions(self) -> tuple[str, ...]:
        """Emotions that the model can be asked for; none for one that reads phones."""
        return tuple(
            name for name in EMOTIONS if self._emotion_ids and name in {*self._emotion_ids, "neutral"}
        )

    def with_emotion(self, emotion: str) -> NeuTTSFormat:
        """Return the same format for texts that are spoken with an emotion; ``"neutral"`` is as without one.

        Raises:
            PromptError: the model has no such emotion.
        """
        if emotion not in self.emotions:
            known = ", ".join(self.emotions)
            raise PromptError(
                f"the model has no emotion {emotion!r:.100}; it has {known}" if known else "it has none"
            )
        felt = copy.copy(self)
        felt._emotion = None if emotion == "neutral" else self._emotion_ids[emotion]
        return felt

    def prompt_ids(self, text: str, voice: Voice | None = None) -> list[int]:
        """Return the token ids after which the model speaks `text`; `PromptFormat` gives arguments and errors."""
        if self._emotion is None:
            return super().prompt_ids(text, voice)
        # The token stands between the two texts, each encoded alone.
        said, codes = ([], []) if voice is None else self._of_voice(voice)
        before, after = self._frame()
        return [*before, *said, self._emotion, *self._encode(self._read(text)), *after, *codes]

    def _of_voice(self, voice: Voice) -> tuple[list[int], list[int]]:
        return self._encode(self._read(voice_text(voice))), voice_ids(voice, self._vocabulary)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Token ids of which any ends the speech."""
        return (self._stop,)

    def training_example(self, text: str, codes: Codes) -> TrainingExample:
        """Return the example from which a model learns to speak `text` as `codes`."""
        prompt = self.prompt_ids(text)
        return example(prompt[:-1], [prompt[-1], *speech_ids(codes, self._vocabulary), self._stop])

    def _read(self, text: str) -> str:
        if self._to_phones is not None:
            return speakable(self._to_phones(check_text(text)), of=text)
        straight = spelt(check_text(text)).translate(self._STRAIGHT_QUOTES)
        return speakable(unicodedata.normalize("NFKC", straight))

    def _frame(self) -> tuple[list[int], list[int]]:
        return self._before, self._after


class LlasaFormat(FramedFormat):
    """The format of Llasa: the tokenizer's chat template around the text itself.

    The ids are those of the recipe on Llasa's model cards and, for training, of ``train_tts.py`` and
    ``get_memmap_from_token.py`` in LLaSA_training. The recipe puts the transcript of the voice and the text
    together without anything between them; `join` changes that.

    Llama's chat template writes today's date into the prompt, so ids change at midnight unless `date` is given.

    Args:
        tokenizer: with Llasa's control tokens and a chat template.
        vocabulary: its codes.
        join: stands between the transcript of the voice and the text.
        text_tokens: names of tokens that text may contain.
        date: of the chat template, as in "26 Jul 2024"; None is today.

    Raises:
        VocabularyError: the tokenizer lacks a control token, or a chat template.
    """

    _INSTRUCTION = "Convert the text to speech:"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        vocabulary: SpeechVocabulary,
        join: str = "",
        text_tokens: Sequence[str] = (),
        date: str | None = None,
    ) -> None:
        super().__init__(tokenizer, vocabulary, join, text_tokens)
        self._start, self._end, self._begin, self._stop = control_ids(
            tokenizer,
            "<|TEXT_UNDERSTANDING_START|>",
            "<|TEXT_UNDERSTANDING_END|>",
            "<|SPEECH_GENERATION_START|>",
            "<|SPEECH_GENERATION_END|>",
        )
        if not tokenizer.chat_template:
            raise VocabularyError(
                "the format 'llasa' is built with the tokenizer's chat template, and this tokenizer has none; begin "
                "from an instruction-tuned model (Llama-3.2-1B-Instruct), or use the format 'neutts'"
            )
        self._template_options: dict[str, Any] = {} if date is None else {"date_string": date}
        self._chats: dict[str, list[int]] = {}  # by the rendered chat, which changes with the date

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Token ids of which any ends the speech."""
        return (self._stop,)

    def training_example(self, text: str, codes: Codes) -> TrainingExample:
        """Return the example from which a model learns to speak `text` as `codes`."""
        chat = self._chat(ended=True)
        at, speech_at = chat.index(self._end), chat.index(self._begin)
        before = chat[:at] + self._encode(self._read(text)) + chat[at:speech_at]
        speech = [self._begin, *speech_ids(codes, self._vocabulary), self._stop]
        # The template's end of turn follows the stop. Generation never gets there, and train_tts.py does not
        # learn it either: it is the padding token there.
        return example(before, speech, chat[speech_at + 1 :])

    def _read(self, text: str) -> str:
        return speakable(clean(spelt(check_text(text))))

    def _frame(self) -> tuple[list[int], list[int]]:
        chat = self._chat(ended=False)
        at = chat.index(self._end)
        return chat[:at], chat[at:]

    def _chat(self, ended: bool) -> list[int]:
        """Return the ids of the chat without text and speech, up to the place of the speech or to the very end."""
        chat = [
            {
                "role": "user",
                "content": f"{self._INSTRUCTION}<|TEXT_UNDERSTANDING_START|><|TEXT_UNDERSTANDING_END|>",
            },
            {"role": "assistant", "content": "<|SPEECH_GENERATION_START|>"},
        ]
        rendered = str(
            self._tokenizer.apply_chat_template(
                chat, tokenize=False, continue_final_message=not ended, **self._template_options
            )
        )
        if rendered not in self._chats:
            if len(self._chats) > 16:
                self._chats.clear()
            ids: list[int] = self._tokenizer.encode(rendered, add_special_tokens=False)
            for control in (self._start, self._end, self._begin):
                if ids.count(control) != 1:
                    raise PromptError(
                        "the tokenizer's chat template changes or repeats the message, so no prompt can be built with "
                        "it; use the format 'neutts' or 'custom'"
                    )
            self._chats[rendered] = ids
        return self._chats[rendered]


def example(before: list[int], speech: list[int], after: Sequence[int] = ()) -> TrainingExample:
    """Return an example in which only `speech` is learnt."""
    return TrainingExample(
        [*before, *speech, *after], [*[IGNORED] * len(before), *speech, *[IGNORED] * len(after)]
    )


def control_ids(tokenizer: PreTrainedTokenizerBase, *names: str) -> list[int]:
    """Return the ids of control tokens.

    Raises:
        VocabularyError: the tokenizer lacks one.
    """
    lookup = token_lookup(tokenizer)
    ids = [lookup(name) for name in names]
    missing = [name for name, id in zip(names, ids, strict=True) if id is None]
    if missing:
        raise VocabularyError(
            f"the tokenizer lacks the control token{'s' if len(missing) > 1 else ''} {', '.join(missing)}: it is not "
            "one of this prompt format; `neucodec-tts extend-vocab` makes one"
        )
    return [id for id in ids if id is not None]


def voice_text(voice: Voice) -> str:
    """Return the transcript of a voice.

    Raises:
        PromptError: it has none.
    """
    if not isinstance(voice.text, str) or not voice.text.strip():
        raise PromptError(
            "the voice has no transcript, and the model needs it to tell what of the speech is voice and what is "
            "text; write down what is said in the recording (text=...)"
        )
    return check_text(voice.text)


def voice_ids(voice: Voice, vocabulary: SpeechVocabulary) -> list[int]:
    """Return the token ids of a voice's codes.

    Raises:
        CodesError: a code is not of the model's codebook.
    """
    return vocabulary.to_ids(np.asarray(voice.codes)).tolist()


def speech_ids(codes: Any, vocabulary: SpeechVocabulary) -> list[int]:
    """Return the token ids of the codes of one utterance.

    Raises:
        PromptError: there are none, or they are not flat.
        CodesError: a code is not of the model's codebook.
    """
    ids = vocabulary.to_ids(codes)
    listed = ids if isinstance(ids, list) else ids.tolist()
    if not isinstance(listed, list) or not listed or isinstance(listed[0], list):
        raise PromptError("the codes of one utterance are needed, flat and at least one")
    return listed
