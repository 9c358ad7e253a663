"""Voices: codes of a reference recording with its text, where they are kept, and how they are found."""

from neucodec_tts.voices.library import VoiceLibrary
from neucodec_tts.voices.recording import Advice
from neucodec_tts.voices.speaker import SpeakerPrompt

__all__ = ["Advice", "SpeakerPrompt", "VoiceLibrary"]
