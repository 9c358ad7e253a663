"""Speak through a server that runs elsewhere. Needs the package `websockets`, and neither torch nor vLLM."""

from neucodec_tts_client.errors import (
    SpeechConnectionError,
    SpeechServerError,
    SpeechTimeoutError,
    SpeechUrlError,
)
from neucodec_tts_client.session import (
    Event,
    SentenceDone,
    SentenceStarted,
    Sound,
    SpeechSession,
    UtteranceDone,
    open_session,
    session_config,
    session_url,
)

__all__ = [
    "Event",
    "SentenceDone",
    "SentenceStarted",
    "Sound",
    "SpeechConnectionError",
    "SpeechServerError",
    "SpeechSession",
    "SpeechTimeoutError",
    "SpeechUrlError",
    "UtteranceDone",
    "open_session",
    "session_config",
    "session_url",
]
