"""Speech from any causal language model of Hugging Face ``transformers``.

`TransformersEngine` is the engine ``transformers`` of `neucodec_tts`. `CodesOnly` is for people who call
``model.generate`` themselves.
"""

from neucodec_tts_transformers.engine import TransformersEngine
from neucodec_tts_transformers.logits import CodesOnly

__all__ = ["CodesOnly", "TransformersEngine"]
