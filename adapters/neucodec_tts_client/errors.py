"""What can go wrong between a client and its server."""

from __future__ import annotations

from neucodec_tts.errors import NeuCodecError


class SpeechUrlError(NeuCodecError, ValueError):
    """An address is none of a server."""


class SpeechConnectionError(NeuCodecError, ConnectionError):
    """The server cannot be reached, or the connection has ended."""


class SpeechTimeoutError(SpeechConnectionError, TimeoutError):
    """The server does not answer in time."""


class SpeechServerError(NeuCodecError, RuntimeError):
    """The server refuses, or has failed.

    Args:
        message: what is wrong and what to do.
        status_code: as of HTTP.
        param: field of the configuration that is wrong; ``input`` for the text.
    """

    def __init__(self, message: str, status_code: int, param: str | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.param = param
