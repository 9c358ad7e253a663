"""Prompts of speech language models: text and a voice become token ids."""

from neucodec_tts.prompts.custom import CustomFormat, PromptTemplate
from neucodec_tts.prompts.formats import (
    EMOTIONS,
    IGNORED,
    LlasaFormat,
    NeuTTSFormat,
    PromptFormat,
    TrainingExample,
    Voice,
    with_emotion,
)
from neucodec_tts.prompts.phonemes import Phonemizer
from neucodec_tts.prompts.speech_config import KNOWN_MODELS, SpeechConfig

__all__ = [
    "EMOTIONS",
    "IGNORED",
    "KNOWN_MODELS",
    "CustomFormat",
    "LlasaFormat",
    "NeuTTSFormat",
    "Phonemizer",
    "PromptFormat",
    "PromptTemplate",
    "SpeechConfig",
    "TrainingExample",
    "Voice",
    "with_emotion",
]
