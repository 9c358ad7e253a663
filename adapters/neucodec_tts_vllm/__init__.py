"""Speech from vLLM: constrained generation, batches offline, and an HTTP API on vLLM's own server.

vLLM finds this package by its entry points; importing it costs nothing until something of it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neucodec_tts_vllm.constraint import SpeechConstraint as SpeechConstraint
    from neucodec_tts_vllm.engine import VLLMEngine as VLLMEngine
    from neucodec_tts_vllm.offline import BatchItem as BatchItem
    from neucodec_tts_vllm.offline import SpeechLLM as SpeechLLM

_EXPORTS = {
    "BatchItem": "neucodec_tts_vllm.offline",
    "SpeechConstraint": "neucodec_tts_vllm.constraint",
    "SpeechLLM": "neucodec_tts_vllm.offline",
    "VLLMEngine": "neucodec_tts_vllm.engine",
}

__all__ = ["BatchItem", "SpeechConstraint", "SpeechLLM", "VLLMEngine"]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_EXPORTS[name]), name)
