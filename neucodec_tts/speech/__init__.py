"""Text of any length to speech, and the contract of the language models that generate it.

Nothing here knows of any engine; engines register themselves, see `neucodec_tts.speech.registry`.
"""

from neucodec_tts.speech.engine import Generated, Sampling, SpeechEngine, SpeechTokens, TokenStream
from neucodec_tts.speech.joins import Pauses
from neucodec_tts.speech.results import Segment, SpeechResult
from neucodec_tts.speech.stream import SpeechStream
from neucodec_tts.speech.text_to_speech import TextToSpeech

__all__ = [
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
