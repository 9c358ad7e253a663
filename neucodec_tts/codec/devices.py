"""Devices and number formats: found by name, and used without loss of precision."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

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
        device = device or default_device()
        target = torch.device(device)
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
    """PyTorch's flags for float32."""

    matmul: str
    """"highest", "high" or "medium"; "highest" where the newer flags contradict it."""
    cuda_matmul: str
    """As the next two a newer flag: "none", "ieee", "tf32" or "bf16"; "none" before PyTorch 2.9."""
    mkldnn_matmul: str
    mkldnn_conv: str
    cudnn: bool
    """TF32 in cuDNN's convolutions."""

    @classmethod
    def read(cls) -> _Precision:
        try:
            matmul = torch.get_float32_matmul_precision()
        except RuntimeError:  # the newer flags contradict it
            matmul = "highest"
        try:
            cudnn = torch.backends.cudnn.allow_tf32
        except RuntimeError:
            cudnn = _newer_flag("cudnn.conv") == "tf32"
        newer = [_newer_flag(name) for name in ("cuda.matmul", "mkldnn.matmul", "mkldnn.conv")]
        return cls(matmul, newer[0], newer[1], newer[2], cudnn)

    def exact(self) -> _Precision:
        """These flags, with "ieee" for each that is not exact."""
        newer = ["ieee" if flag in ("tf32", "bf16") else flag for flag in (self[1], self[2], self[3])]
        return _Precision("highest", newer[0], newer[1], newer[2], False)

    def write(self, now: _Precision) -> None:
        """Set the flags that differ from those of ``now``."""
        if self[:3] != now[:3]:
            torch.set_float32_matmul_precision(self.matmul)  # sets the next two as well
            now = _Precision.read()
        for name, flag, old in zip(
            ("cuda.matmul", "mkldnn.matmul", "mkldnn.conv"), self[1:4], now[1:4], strict=True
        ):
            if flag != old:
                attrgetter(name)(torch.backends).fp32_precision = flag
        if self.cudnn != now.cudnn:
            torch.backends.cudnn.allow_tf32 = self.cudnn


def _newer_flag(name: str) -> str:
    try:
        return str(attrgetter(f"{name}.fp32_precision")(torch.backends))
    except AttributeError:
        return "none"


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
        flags = zip(now._fields, now, self._ours, self._callers, strict=True)
        kept: dict[str, Any] = {name: callers for name, flag, ours, callers in flags if flag == ours}
        return now._replace(**kept)


_exact_math = _ExactMath()
