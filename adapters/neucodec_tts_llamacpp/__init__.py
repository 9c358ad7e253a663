"""Speech from language models in GGUF, run by llama.cpp on any laptop.

`LlamaCppEngine` is the engine ``llama-cpp`` of `neucodec_tts`; `convert` is the command that makes a GGUF file of a
model. The binding is ``llama-cpp-python``, because it has all of llama.cpp's functions. ``xllamacpp`` comes as a wheel,
but it has only a server, which draws the tokens itself and keeps the logits to itself.
"""

from neucodec_tts_llamacpp.engine import LlamaCppEngine

__all__ = ["LlamaCppEngine"]
