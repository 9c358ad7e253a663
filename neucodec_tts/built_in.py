"""The models that come with the package, and where they lie."""

from __future__ import annotations

import os
from pathlib import Path

_CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"

CODECS = {"tiny": _CHECKPOINTS / "tiny"}
"""Codecs by name."""
SPEECH_MODELS = {"tiny": _CHECKPOINTS / "tiny-voice"}
"""Language models that speak by name: each speaks the codes of the codec of the same name."""


def speech_model(model: str | os.PathLike[str]) -> str:
    """Return the folder of a built-in language model that speaks; what is none is returned as it is."""
    name = os.fspath(model)
    return str(SPEECH_MODELS.get(name, name))
