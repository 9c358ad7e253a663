"""The files of an exported codec, and what each says of itself."""

from __future__ import annotations

DECODER = "model.onnx"
"""Whole items; named as in the published ``neuphonic/neucodec-onnx-decoder``."""
STREAMING_DECODER = "streaming_decoder.onnx"
ENCODER = "encoder.onnx"
DATA_SUFFIX = ".data"
"""Of a file with the weights of one that would be too large with them."""
INSTALL = 'pip install "neucodec-tts[onnx]"'

VERSION = "1"
"""Of the metadata: ``neucodec_tts`` (this version), ``part``, ``codec_id``, and of the streaming decoder
``memory_size`` and ``memory_per_frame``: a memory that looks back over n frames has size + n * per_frame values.
"""
