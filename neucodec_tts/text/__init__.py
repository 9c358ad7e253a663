"""Texts before they become prompts: checked, cleaned and reduced to what a person would read aloud."""

from neucodec_tts.text.characters import clean
from neucodec_tts.text.checks import check_text, has_speech, speakable
from neucodec_tts.text.pronunciation import spelt
from neucodec_tts.text.reader import TEXT_FORMATS, ReadText, TextFormat, TextReader

__all__ = [
    "TEXT_FORMATS",
    "ReadText",
    "TextFormat",
    "TextReader",
    "check_text",
    "clean",
    "has_speech",
    "speakable",
    "spelt",
]
