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
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakTensorKeyDictionary

from neucodec_tts.codec.compiled import is_compiled
from neucodec_tts.codec.precision import HALVES

logger = logging.getLogger(__name__)

_FEW_ROWS = 32  # of a short input
_MANY_ROWS = 256  # that MKL multiplies faster, where it does
_VENDOR = "AuthenticAMD"
# Copies of weights in oneDNN's order, as long as there are the weights.
_copies: Any = WeakTensorKeyDictionary()
_packing = threading.Lock()
_use = threading.local()
_ROW = 32  # numbers of two bytes in a row of an AMX tile
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


class CheckedConv1d(nn.Conv1d):
    """A convolution that avoids an error of oneDNN's.

    On processors with AMX, oneDNN 3.12 (PyTorch 2.13) returns noise for a bfloat16 convolution of fewer than 32
    channels a group, where these times the kernel's width fill rows of 32. Such a convolution is computed in float32.
    The released codecs have none. PyTorch's issue 163347 is of the same kind.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, T) to (B, out_channels, T')."""
        channels = self.in_channels // self.groups
        if x.device.type != "cpu" or channels >= _ROW or channels * self.kernel_size[0] % _ROW:
            return super().forward(x)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        if dtype not in HALVES:
            return super().forward(x)
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast("cpu", enabled=False):
            return self._conv_forward(x.float(), self.weight.float(), bias).to(dtype)


class ChannelsLastConv1d(CheckedConv1d):
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
    if not _applies(x, weight) or not 0 < x.numel() // x.shape[-1] < _rows_for_mkl():
        return F.linear(x, weight.flatten(1), bias)
    packed = _packed(weight) if getattr(_use, "packed", False) else None
    return _linear(x, weight.flatten(1) if packed is None else packed, bias)


@contextmanager
def packed_weights(model: nn.Module, rows: int) -> Iterator[None]:
    """Let the layers of a model use weights in oneDNN's own order meanwhile, in this thread, if there are few rows.

    Short inputs take as long to read the weights as to multiply: 30 rows take 0.7 to 0.9 times as long so. The first
    time makes a second copy of the weights of linear layers and convolutions, which stays as long as they do. Weights
    that learn, or were made in inference mode, are used as they are. A change through ``.data`` that keeps the memory
    is not noticed: call ``drop_packed_weights`` after it.
    """
    if rows >= _MANY_ROWS or is_compiled(model):
        yield
        return
    _pack(model)
    _use.packed = True
    try:
        yield
    finally:
        _use.packed = False


def drop_packed_weights(model: nn.Module, *, stale: bool = False) -> None:
    """Free what ``packed_weights`` has made; with ``stale`` only of weights that have changed since."""
    for weight in model.parameters():
        if not stale or _packed(weight) is None:
            _copies.pop(weight, None)


def _pack(model: nn.Module) -> None:
    first = next(model.parameters())
    if not _may_be_packed(first) or _packed(first) is not None:
        return
    with _packing:
        weights = [each.weight for each in model.modules() if isinstance(each, nn.Linear | nn.Conv1d)]
        for weight in reversed(weights):  # the first is last, so that all are there when it is
            if _may_be_packed(weight) and _packed(weight) is None:
                with torch.inference_mode(mode=False), torch.no_grad():
                    packed = torch.ops.mkldnn._reorder_linear_weight(weight.flatten(1), _FEW_ROWS)
                _copies[weight] = _Copy(
                    packed, StorageWeakRef(weight.untyped_storage()), weight.data_ptr(), weight._version
                )


def _may_be_packed(weight: Tensor) -> bool:
    return not weight.requires_grad and not weight.is_inference() and _applies(weight, weight)


class _Copy(NamedTuple):
    """A weight in oneDNN's order, and what tells whether the weight is the same still."""

    packed: Tensor
    storage: StorageWeakRef
    address: int
    version: int


def _packed(weight: Tensor) -> Tensor | None:
    """The weight in oneDNN's order, if there is such a copy and the weight is the same still."""
    copy: _Copy | None = _copies.get(weight)
    if copy is None or copy.storage.expired():
        return None
    return copy.packed if (copy.address, copy.version) == (weight.data_ptr(), weight._version) else None


def compute_with_onednn(model: nn.Module) -> None:
    """Give linear layers and convolutions of a model, those of ``transformers`` too, the classes above."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = OneDnnLinear
        elif type(module) is nn.Conv1d:
            module.__class__ = OneDnnPointwise if _is_pointwise(module) else CheckedConv1d


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
