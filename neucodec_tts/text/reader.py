"""``TextReader``: a text as people write it becomes the text that a model is given."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Literal, get_args

from neucodec_tts.errors import NothingToReadError, PromptError
from neucodec_tts.text.characters import clean
from neucodec_tts.text.checks import check_text, has_speech, speakable
from neucodec_tts.text.endings import paragraphs_ended
from neucodec_tts.text.markdown import read_markdown
from neucodec_tts.text.pronunciation import without_pronunciations
from neucodec_tts.text.scripts import Unread, split_unreadable
from neucodec_tts.text.ssml import ToPhones, read_ssml
from neucodec_tts.text.written_forms import in_words

logger = logging.getLogger(__name__)

TextFormat = Literal["markdown", "plain", "ssml"]
TEXT_FORMATS: tuple[TextFormat, ...] = get_args(TextFormat)
"""Formats of a text: Markdown is reduced to what a person would read, plain text is read with every mark."""

_SSML = re.compile(r"\s*(?:<\?xml[^>]*\?>\s*)?<(?:\w+:)?speak[\s>]")
# Models that read scripts which many others do not.
_MODELS = {"Chinese": "HKUSTAudio/Llasa-1B"}


@dataclass(frozen=True)
class ReadText:
    """A text that is ready for a prompt.

    Attributes:
        text: cleaned; each paragraph ends in a mark.
        warnings: parts of the text that are not read, and why, for people.
    """

    text: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextReader:
    """Reads texts for one model.

    Attributes:
        language: espeak's name of the language that the model speaks; None leaves every script in.
        to_phones: makes phones of words in another language (``<lang>`` of SSML), for a model that reads phones.
        normalize: put written forms (money, dates, units ...) into words where a caller does not say.
    """

    language: str | None = None
    to_phones: ToPhones | None = None
    normalize: bool = False

    def read(
        self, text: str, text_format: TextFormat = "markdown", normalize: bool | None = None
    ) -> ReadText:
        """Return the text that the model is given; what is left out is logged as warnings, too.

        Args:
            text: as a person or a program wrote it.
            text_format: one of `TEXT_FORMATS`.
            normalize: put written forms into words; None does what the model was trained with.

        Raises:
            NothingToReadError: there is nothing in it that the model can read.
            PromptError: the format is unknown, the SSML is not
                well-formed, or written forms are to become words and the model's language is unknown or spokenform is
                not installed.
        """
        if text_format not in TEXT_FORMATS:
            raise PromptError(f"unknown text format {text_format!r}; use one of {', '.join(TEXT_FORMATS)}")
        cleaned = without_pronunciations(clean(check_text(text)))
        warnings: list[str] = []
        if text_format == "ssml":
            read, warnings = read_ssml(cleaned, self.to_phones)
        elif text_format == "markdown":
            read, warnings = read_markdown(cleaned)
            if _SSML.match(cleaned):
                warnings.append(
                    "the text looks like SSML, whose tags are left out; use the text format 'ssml'"
                )
        else:
            read = cleaned
        if not has_speech(read) and has_speech(cleaned):
            raise NothingToReadError(
                f"there is nothing to read in {cleaned[:40]!r}: {'; '.join(warnings) or 'only marks'}"
            )
        speakable(read, of=cleaned)
        if self.language is not None:
            kept, unread = split_unreadable(read, self.language)
            warnings += [self._describe(part) for part in dict.fromkeys(unread)]
            if unread:
                read = _speakable(kept, "; ".join(warnings))
        if self.normalize if normalize is None else normalize:
            if self.language is None:
                raise PromptError(
                    "written forms cannot become words: the model's speech_config.json names no language"
                )
            read = in_words(read, self.language)
        for warning in warnings:
            logger.warning("%s", warning)
        return ReadText(paragraphs_ended(read), tuple(warnings))

    def _describe(self, part: Unread) -> str:
        shown = part.text if len(part.text) <= 30 else f"{part.text[:29]}…"
        model = _MODELS.get(part.script)
        return (
            f"{shown!r} is not read: it is {part.script}, and the model speaks {self.language}; use a model of the "
            f"language {part.language!r}" + (f", such as {model}" if model else "")
        )


def _speakable(text: str, reason: str) -> str:
    """Return `text` if there is something to pronounce in it.

    Raises:
        PromptError: there is not; `reason` says why.
    """
    try:
        return speakable(text)
    except PromptError:
        raise NothingToReadError(f"the model can read nothing of the text: {reason}") from None
