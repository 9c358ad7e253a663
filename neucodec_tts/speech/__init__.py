"""From text of any length to speech: the pipeline, and what it asks of a language model.

Nothing here knows of any engine; those register themselves, see `neucodec_tts.speech.registry`.
"""

from neucodec_tts.speech.asynchronous import AsyncEngine
from neucodec_tts.speech.engine import (
    AsyncSpeechEngine,
    Generated,
    Sampling,
    SpeechEngine,
    SpeechTokens,
    TokenStream,
)
from neucodec_tts.speech.joins import Pauses
from neucodec_tts.speech.results import Segment, SpeechResult
from neucodec_tts.speech.stream import SpeechStream
from neucodec_tts.speech.text_to_speech import TextToSpeech

__all__ = [
    "AsyncEngine",
    "AsyncSpeechEngine",
    "Generated",
    "Pauses",
    "Sampling",
    "Segment",
    "SpeechEngine",
    "SpeechResult",
    "SpeechStream",
    "SpeechTokens",
    "TextToSpeech",
    "TokenStream",
]
