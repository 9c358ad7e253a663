"""neucodec-tts: NeuCodec for speech language models.

Public names are imported on first use, so that ``import neucodec_tts`` (and ``neucodec-tts --help``)
does not pay for torch and transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from neucodec_tts.codec.distilled.distill_neucodec import DistillNeuCodec as DistillNeuCodec
    from neucodec_tts.codec.neucodec import NeuCodec as NeuCodec
    from neucodec_tts.codec.onnx.upstream_decoder import NeuCodecOnnxDecoder as NeuCodecOnnxDecoder
    from neucodec_tts.codec.scheduling import DecodeScheduler as DecodeScheduler
    from neucodec_tts.codec.streaming import StreamingDecoder as StreamingDecoder
    from neucodec_tts.codec.streaming import StreamSettings as StreamSettings
    from neucodec_tts.errors import AudioError as AudioError
    from neucodec_tts.errors import CheckpointError as CheckpointError
    from neucodec_tts.errors import CodesError as CodesError
    from neucodec_tts.errors import DatasetError as DatasetError
    from neucodec_tts.errors import DeviceError as DeviceError
    from neucodec_tts.errors import EngineError as EngineError
    from neucodec_tts.errors import NeuCodecError as NeuCodecError
    from neucodec_tts.errors import PromptError as PromptError
    from neucodec_tts.errors import StorageError as StorageError
    from neucodec_tts.errors import StreamError as StreamError
    from neucodec_tts.errors import VocabularyError as VocabularyError
    from neucodec_tts.speech.text_to_speech import TextToSpeech as TextToSpeech
    from neucodec_tts.tokens.vocabulary import SpeechVocabulary as SpeechVocabulary
    from neucodec_tts.voices.library import VoiceLibrary as VoiceLibrary
    from neucodec_tts.voices.speaker import SpeakerPrompt as SpeakerPrompt

_EXPORTS = {
    "NeuCodec": "neucodec_tts.codec.neucodec",
    "DistillNeuCodec": "neucodec_tts.codec.distilled.distill_neucodec",
    "NeuCodecOnnxDecoder": "neucodec_tts.codec.onnx.upstream_decoder",
    "StreamingDecoder": "neucodec_tts.codec.streaming",
    "DecodeScheduler": "neucodec_tts.codec.scheduling",
    "StreamSettings": "neucodec_tts.codec.streaming",
    "SpeechVocabulary": "neucodec_tts.tokens.vocabulary",
    "SpeakerPrompt": "neucodec_tts.voices.speaker",
    "TextToSpeech": "neucodec_tts.speech.text_to_speech",
    "VoiceLibrary": "neucodec_tts.voices.library",
    "NeuCodecError": "neucodec_tts.errors",
    "AudioError": "neucodec_tts.errors",
    "CodesError": "neucodec_tts.errors",
    "CheckpointError": "neucodec_tts.errors",
    "DatasetError": "neucodec_tts.errors",
    "DeviceError": "neucodec_tts.errors",
    "VocabularyError": "neucodec_tts.errors",
    "PromptError": "neucodec_tts.errors",
    "StorageError": "neucodec_tts.errors",
    "StreamError": "neucodec_tts.errors",
    "EngineError": "neucodec_tts.errors",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
