"""Speech from language models in GGUF, run by llama.cpp on any laptop.

`LlamaCppEngine` is the engine ``llama-cpp`` of `neucodec_tts`. ``neucodec-tts convert`` makes a GGUF file of a model.

The binding is ``llama-cpp-python``, because it has all of llama.cpp's functions. ``xllamacpp`` comes as a wheel, but it
has only a server, which draws the tokens itself and keeps the logits to itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neucodec_tts_llamacpp.engine import LlamaCppEngine

__all__ = ["LlamaCppEngine"]


def __getattr__(name: str) -> object:
    # Imported on first use: help of the command line imports this package for its command.
    if name == "LlamaCppEngine":
        from neucodec_tts_llamacpp.engine import LlamaCppEngine

        return LlamaCppEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
