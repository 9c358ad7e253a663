"""Linear layers and convolutions as oneDNN computes them fastest, on x86 processors.

There PyTorch leaves float32 matrix products to MKL and, on one thread, pointwise convolutions to a loop of its own.
oneDNN multiplies the 30 rows of a streaming window up to 1.5 times as fast. Hundreds of rows MKL multiplies 1.15 times
as fast, but not on AMD's processors with AVX-512, which MKL uses on Intel's only: there oneDNN is 1.15 times as fast.
Dilated convolutions, and those of few channels, run up to three times as fast where the channels of a sample lie side
by side.
"""

from __future__ import annotations

import logging
import platform
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

logger = logging.getLogger(__name__)

_FEW_ROWS = 32  # of a short input
_MANY_ROWS = 256  # that MKL multiplies faster, where it does
_VENDOR = "AuthenticAMD"
# State and packed form of weights, as long as there are the weights.
_PACKED: Any = WeakTensorKeyDictionary()
_MANY_SAMPLES = 1000  # for which it pays to bring a convolution's weights into another order


class OneDnnLinear(nn.Linear):
    """A linear layer; gradients, other formats and other devices get PyTorch's own."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return linear(x, self.weight, self.bias)


class OneDnnPointwise(nn.Conv1d):
    """A convolution with a kernel of one."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, T) to (B, out_channels, T)."""
        if not _applies(x, self.weight):
            return super().forward(x)
        rows = x.transpose(1, 2)
        if rows.is_contiguous():
            return linear(rows, self.weight[..., 0], self.bias).transpose(1, 2)
        # A dilation does not change a kernel of one, and PyTorch gives dilated convolutions to oneDNN.
        return F.conv1d(x, self.weight, self.bias, dilation=2)


class ChannelsLastConv1d(nn.Conv1d):
    """A convolution of one group. Of many samples it leaves the channels side by side, for the next of its kind."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, T) to (B, out_channels, T')."""
        if x.shape[0] * x.shape[2] < _MANY_SAMPLES or not _applies(x, self.weight):
            return super().forward(x)
        return _convolve(x, self.weight, self.bias, self.stride[0], int(self.padding[0]), self.dilation[0])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear``, few rows of it by oneDNN.

    Args:
        x: (..., in_features).
        weight: (out_features, in_features), or a convolution's, whose other dimensions are those of ``x`` in one.
        bias: (out_features,).

    Returns:
        (..., out_features).
    """
    rows = x.numel() // x.shape[-1]
    if not 0 < rows < _rows_for_mkl() or not _applies(x, weight):
        return F.linear(x, weight.flatten(1), bias)
    packed = _packed(weight)
    return _linear(x, weight.flatten(1) if packed is None else packed, bias)


def pack_weights(model: nn.Module) -> None:
    """Bring the weights of linear layers and convolutions into oneDNN's own order, once, for ``linear``.

    For short inputs they are read as often as they are multiplied: 30 rows take 0.7 to 0.9 times as long. It takes as
    much memory again. Weights that are changed or moved are not used as they were; call it again. Where oneDNN is not
    used nothing happens, nor to weights that were made in inference mode, whose changes cannot be seen.
    """
    first = next(model.parameters())
    if first.is_inference() or _packed(first) is not None:
        return
    for module in model.modules():
        if not isinstance(module, nn.Linear | nn.Conv1d) or module.weight.is_inference():
            continue
        if _applies(module.weight, module.weight):
            with torch.inference_mode(mode=False), torch.no_grad():
                packed = torch.ops.mkldnn._reorder_linear_weight(module.weight.flatten(1), _FEW_ROWS)
            _PACKED[module.weight] = _state(module.weight), packed


def drop_packed_weights(model: nn.Module) -> None:
    """Free what `pack_weights` made."""
    for weight in model.parameters():
        _PACKED.pop(weight, None)


def _packed(weight: Tensor) -> Tensor | None:
    """The weight in oneDNN's order, if it has been packed and is the same still."""
    if weight not in _PACKED:
        return None
    state, packed = _PACKED[weight]
    found: Tensor | None = packed if state == _state(weight) else None
    return found


def _state(weight: Tensor) -> tuple[int, int]:
    return weight.data_ptr(), weight._version


def compute_with_onednn(model: nn.Module) -> None:
    """Give linear layers and pointwise convolutions of a model, those of ``transformers`` too, the classes above."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = OneDnnLinear
        elif type(module) is nn.Conv1d and _is_pointwise(module):
            module.__class__ = OneDnnPointwise


def _is_pointwise(module: nn.Conv1d) -> bool:
    sizes = (module.kernel_size, module.stride, module.padding, module.groups)
    return sizes == ((1,), (1,), (0,), 1)


def _applies(x: Tensor, weight: Tensor) -> bool:
    if x.device.type != "cpu" or x.dtype != torch.float32 or weight.dtype != torch.float32:
        return False
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return False
    return not torch.compiler.is_compiling() and _works()


@lru_cache(maxsize=1)
def _rows_for_mkl() -> int:
    """The fewest rows that MKL multiplies faster; by the kind of processor, so that every run rounds alike."""
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return sys.maxsize if wide and _VENDOR in _processor() else _MANY_ROWS


def _processor() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not on Linux
        return platform.processor()


@lru_cache(maxsize=1)
def _works() -> bool:
    """True on a processor for which PyTorch brings both libraries, if the product is right, tried on a small one."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, 40, 5, generator=generator).transpose(1, 2)
        weight, bias = torch.randn(30, 40, generator=generator), torch.randn(30, generator=generator)
        try:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight, _FEW_ROWS)
            for given in (bias, None):
                for each in (weight, packed):
                    torch.testing.assert_close(_linear(x, each, given), F.linear(x, weight, given))
            x, weight = x.transpose(1, 2), weight.unflatten(1, (-1, 4))
            x = x.reshape(2, 10, 20)
            expected = F.conv1d(x, weight, bias, stride=2, padding=3, dilation=3)
            torch.testing.assert_close(_convolve(x, weight, bias, 2, 3, 3), expected)
        except (RuntimeError, AttributeError, TypeError, AssertionError) as error:
            logger.debug("layers are computed as PyTorch does by itself: %s", error)
            return False
    return True


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, dilation: int
) -> Tensor:
    if weight.shape[2] == 1:
        dilation = 2  # changes nothing, and PyTorch gives dilated convolutions to oneDNN
    layout = torch.channels_last
    x, weight = (each.unsqueeze(2).contiguous(memory_format=layout) for each in (x, weight))
    x = F.conv2d(x, weight, bias, (1, stride), (0, padding), (1, dilation))
    return x.contiguous(memory_format=layout).squeeze(2)
