"""``torch.compile`` for the decoder, which is checked before it is used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from neucodec_tts.codec.precision import HALVES

if TYPE_CHECKING:
    from neucodec_tts.codec.neucodec import NeuCodec

logger = logging.getLogger(__name__)

_FRAMES = (23, 11)  # of the items that are compared


def is_compiled(module: nn.Module) -> bool:
    """True if calls of a module go through ``torch.compile``."""
    return getattr(module, "_compiled_call_impl", None) is not None


def compile_decoder(codec: NeuCodec, compiled: bool, backend: str | Callable[..., Any]) -> bool:
    """Compile a decoder, as ``NeuCodec.compile_decoder`` describes."""
    decoder = codec.acoustic_decoder
    decoder._compiled_call_impl = None  # PyTorch has no call to undo `compile`
    if not compiled:
        return False
    codes = [torch.arange(n) * 7919 % codec.codebook_size for n in _FRAMES]
    wanted = codec.decode_batch(codes)
    try:
        decoder.compile(dynamic=True, backend=backend)
        most = 0.05 if codec.dtype in HALVES else 1e-3
        for ours, theirs in zip(codec.decode_batch(codes), wanted, strict=True):
            if not bool((ours - theirs).norm() <= most * theirs.norm()):
                raise RuntimeError("gives another sound")
    except Exception as error:  # whatever a compiler can meet on somebody's machine
        decoder._compiled_call_impl = None
        logger.warning(
            "the decoder is not compiled: torch.compile %s",
            str(error).strip().split("\n")[0] or type(error).__name__,
        )
        return False
    return True
