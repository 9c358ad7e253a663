"""Prompts of speech language models: how text and a voice become token ids, and what a voice is."""

from neucodec_tts.prompts.custom import CustomFormat, PromptTemplate
from neucodec_tts.prompts.formats import (
    IGNORED,
    LlasaFormat,
    NeuTTSFormat,
    PromptFormat,
    TrainingExample,
    Voice,
)
from neucodec_tts.prompts.library import VoiceLibrary
from neucodec_tts.prompts.phonemes import Phonemizer
from neucodec_tts.prompts.recording import Advice
from neucodec_tts.prompts.speaker import SpeakerPrompt
from neucodec_tts.prompts.speech_config import KNOWN_MODELS, SpeechConfig

__all__ = [
    "IGNORED",
    "KNOWN_MODELS",
    "Advice",
    "CustomFormat",
    "LlasaFormat",
    "NeuTTSFormat",
    "Phonemizer",
    "PromptFormat",
    "PromptTemplate",
    "SpeakerPrompt",
    "SpeechConfig",
    "TrainingExample",
    "Voice",
    "VoiceLibrary",
]
