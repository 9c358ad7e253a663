"""Half precision: linear layers and convolutions in float16 or bfloat16, and float32 where rounding is heard most.

In float32 stay the quantizer, the first convolutions of the waveform, the activations' parameters, the decoder's group
norms and its head with the inverse STFT. Classes name such parts in ``float32_parts``. They are small, so that speed
and memory are those of half precision.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neucodec_tts.codec.ragged import first
from neucodec_tts.errors import CheckpointError

HALVES = (torch.float16, torch.bfloat16)


def set_precision(codec: nn.Module, dtype: torch.dtype) -> None:
    """Convert a codec's weights in place; of a half format, all but those above."""
    kept = _kept(codec) if dtype in HALVES else set()
    _convert(codec, dtype, kept)


def check_finite(values: Tensor, lengths: Tensor, dtype: torch.dtype) -> None:
    """Refuse what float16 could not hold; other formats reach as far as float32.

    Args:
        values: (B, L, ...).
        lengths: of each item, LongTensor (B,); what lies beyond has no meaning.
        dtype: that they were computed in.

    Raises:
        CheckpointError: a value is not a finite number.
    """
    if dtype != torch.float16:
        return
    inside = first(lengths.to(values.device), values.shape[1])
    if not bool(values.isfinite()[inside].all()):
        raise CheckpointError(
            "a value is too large for float16; load the codec with dtype 'bfloat16' or 'float32'"
        )


def _kept(codec: nn.Module) -> set[nn.Module]:
    """The modules that stay in float32. Each class names its own such parts, or itself by an empty name."""
    return {
        module.get_submodule(name)
        for module in codec.modules()
        for name in getattr(module, "float32_parts", ())
    }


def _convert(module: nn.Module, dtype: torch.dtype, kept: set[nn.Module]) -> None:
    if module in kept:
        module.to(torch.float32)
        return
    for child in module.children():
        _convert(child, dtype, kept)
    own: list[Tensor] = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    for tensor in own:
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
