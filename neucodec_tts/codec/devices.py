"""Devices and number formats: found by name, and used without loss of precision."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple, TypeVar

import torch

from neucodec_tts.errors import CheckpointError, DeviceError

Size = TypeVar("Size", int, float)


def default_device() -> torch.device:
    """The GPU where there is one, else the CPU. Apple's GPUs are used on request only: they lack float64."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def find_device(device: str | torch.device | None) -> torch.device:
    """The device of a name, known to work; None is ``default_device()``.

    Raises:
        DeviceError: there is none of that name.
    """
    try:
        target = torch.device(device) if device else default_device()
        torch.empty(1, device=target)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        names = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            names.append("mps")
        raise DeviceError(
            f"there is no device {str(device)!r} here; there are: {', '.join(names)}"
        ) from error
    return target


def find_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The format of a name, float32 for None, and None for ``"auto"``.

    Raises:
        CheckpointError: it is no floating-point format.
    """
    if dtype == "auto":
        return None
    wanted = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype or torch.float32
    if not isinstance(wanted, torch.dtype) or not wanted.is_floating_point:
        raise CheckpointError(f"dtype is {dtype!r}; it must be 'float32', 'bfloat16', 'float16' or 'auto'")
    return wanted


def share_of(sizes: dict[str, Size], device: torch.device) -> Size:
    """The amount that a device computes at a time: the value of ``"cpu"`` or that of ``"gpu"``."""
    return sizes["cpu" if device.type == "cpu" else "gpu"]


def out_of_memory(error: RuntimeError) -> bool:
    """True if an error of torch says that memory ran out, on any device."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def exact_math(device: torch.device) -> Iterator[None]:
    """Compute float32 in float32, whatever the caller has allowed PyTorch.

    Autocast is switched off, and so are TF32 and bfloat16 inside float32 matrix products and convolutions. The latter
    two are global flags: they stay exact while any thread is inside, and are restored when the last one leaves.
    """
    autocast = torch.amp.autocast_mode.is_autocast_available(device.type)
    _exact_math.enter()
    try:
        with torch.autocast(device.type, enabled=False) if autocast else nullcontext():
            yield
    finally:
        _exact_math.leave()


class _Precision(NamedTuple):
    """PyTorch's flags for float32, by the name that each has here."""

    matmul: str  # "highest", "high" or "medium"; "highest" where it contradicts the next two
    cuda_matmul: str  # the newer flags are "none", "ieee", "tf32" or "bf16"
    mkldnn_matmul: str
    mkldnn_conv: str
    cudnn: bool  # TF32 in convolutions

    @classmethod
    def read(cls) -> _Precision:
        backends = torch.backends
        try:
            matmul = torch.get_float32_matmul_precision()
        except RuntimeError:  # since PyTorch 2.9 where the newer flags say something else
            matmul = "highest"
        try:
            cudnn = backends.cudnn.allow_tf32
        except RuntimeError:
            cudnn = backends.cudnn.conv.fp32_precision == "tf32"
        newer = (
            backends.cuda.matmul,
            getattr(backends.mkldnn, "matmul", None),
            getattr(backends.mkldnn, "conv", None),
        )
        return cls(matmul, *(getattr(flag, "fp32_precision", "none") for flag in newer), cudnn)

    def exact(self) -> _Precision:
        """These flags with those made exact that are not."""
        newer = ("ieee" if flag in ("tf32", "bf16") else flag for flag in self[1:4])
        return _Precision("highest", *newer, False)

    def write(self, now: _Precision) -> None:
        """Set the flags that differ from those of ``now``."""
        if self == now:
            return
        backends = torch.backends
        if (self.matmul, self.cuda_matmul, self.mkldnn_matmul) != now[:3]:
            torch.set_float32_matmul_precision(self.matmul)  # sets the next two as well
            now = _Precision.read()
        if self.cuda_matmul != now.cuda_matmul:
            backends.cuda.matmul.fp32_precision = self.cuda_matmul
        if self.mkldnn_matmul != now.mkldnn_matmul:
            backends.mkldnn.matmul.fp32_precision = self.mkldnn_matmul
        if self.mkldnn_conv != now.mkldnn_conv:
            backends.mkldnn.conv.fp32_precision = self.mkldnn_conv
        if self.cudnn != now.cudnn:
            backends.cudnn.allow_tf32 = self.cudnn


class _ExactMath:
    """Exact flags while at least one thread is inside; the caller's own when the last one has left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._callers = self._ours = _Precision("highest", "none", "none", "none", False)

    def enter(self) -> None:
        with self._lock:
            now = _Precision.read()
            self._callers = self._changed(now) if self._inside else now
            self._ours = now.exact()
            self._ours.write(now)
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                now = _Precision.read()
                self._changed(now).write(now)

    def _changed(self, now: _Precision) -> _Precision:
        """The caller's flags, with those that the caller has changed while threads were inside."""
        flags = zip(now, self._ours, self._callers, strict=True)
        return _Precision(*(callers if flag == ours else flag for flag, ours, callers in flags))


_exact_math = _ExactMath()
