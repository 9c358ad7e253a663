"""Every error that this library raises on purpose.

A message names the offending thing and what to do about it.
"""

from __future__ import annotations


class NeuCodecError(Exception):
    """Base of all errors of this library: catch it to catch them all."""


class AudioError(NeuCodecError, ValueError):
    """A recording, or an array that should be one, cannot be used."""


class CodesError(NeuCodecError, ValueError):
    """A sequence of codes is not one that this codec can decode."""


class StreamError(NeuCodecError, ValueError):
    """A setting of a stream has no such value, or codes come after its end."""


class CheckpointError(NeuCodecError, OSError):
    """A model folder or file is missing, incomplete, or not of this architecture."""


class DeviceError(NeuCodecError, RuntimeError):
    """A device does not exist, or has too little memory for what was asked of it."""


class VocabularyError(NeuCodecError, ValueError):
    """A tokenizer does not hold the code tokens that were asked for."""


class PromptError(NeuCodecError, ValueError):
    """A text, a voice, or a prompt format cannot be turned into a prompt."""


class NothingToReadError(PromptError):
    """A text holds nothing that can be read aloud, or nothing that this model can read."""


class EngineError(NeuCodecError, RuntimeError):
    """A language model engine failed, or produced what it must not."""


class DatasetError(NeuCodecError, ValueError):
    """A corpus, a manifest or a prepared data set cannot be used as asked."""


class StorageError(NeuCodecError, RuntimeError):
    """An object store cannot be reached, or forbids what was asked of it."""
