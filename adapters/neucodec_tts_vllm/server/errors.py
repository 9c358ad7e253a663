"""Errors in the shape of OpenAI's API."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

from neucodec_tts.errors import AudioError, CodesError, NeuCodecError, PromptError

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    408: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}


class ApiError(Exception):
    """A refusal.

    Args:
        status: HTTP status.
        message: what is wrong and what to do.
        param: field of the request that is wrong.
    """

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param

    def body(self) -> dict[str, Any]:
        """The body of the response."""
        return {
            "error": {
                "message": self.message,
                "type": _TYPES.get(self.status, "server_error"),
                "param": self.param,
                "code": self.status,
            }
        }


def as_api_error(error: Exception) -> ApiError:
    """Convert an exception to the refusal that a client gets.

    Errors that the client can mend are told in full. Of others the client learns our message or the class, never the
    words of another library.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):  # of starlette, of a form that is none
        return ApiError(error.status_code, str(error.detail))
    if isinstance(error, (PromptError, AudioError, CodesError)):
        return ApiError(400, str(error))
    if isinstance(error, NeuCodecError):
        return ApiError(500, str(error))
    names = {kind.__name__ for kind in type(error).__mro__}
    if "EngineDeadError" in names:
        return ApiError(503, "the language model's engine has died; the server is going down, try another")
    if names & {"VLLMValidationError", "VLLMClientError"}:
        return ApiError(400, str(error))
    if "GracefulHTTPError" in names:
        status: Any = getattr(error, "http_status", None) or getattr(error, "status_code", 503)
        return ApiError(int(status), str(error))
    if (
        "GenerationError" in names
    ):  # and RetryableRequestError, which is one: of this request, not of the engine
        return ApiError(503, "vLLM gave up this generation; try again")
    return ApiError(
        500, f"the speech could not be generated ({type(error).__name__}); the server's log says more"
    )
