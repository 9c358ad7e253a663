"""Training examples to batches: fitting them into the context, packing, padding, and cloning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neucodec_tts.training.cloning import cloning_example
from neucodec_tts.training.packing import Fitted, PackedExamples, fit_examples, pack

if TYPE_CHECKING:
    from neucodec_tts.training.collate import SpeechCollator

__all__ = ["Fitted", "PackedExamples", "SpeechCollator", "cloning_example", "fit_examples", "pack"]


def __getattr__(name: str) -> object:
    if name == "SpeechCollator":  # needs torch
        from neucodec_tts.training.collate import SpeechCollator

        return SpeechCollator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
