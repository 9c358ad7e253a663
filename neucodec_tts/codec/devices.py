"""Devices and number formats: found by name, and what computing on them takes care of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from neucodec_tts.errors import CheckpointError, DeviceError


def find_device(device: str | torch.device | None) -> torch.device:
    """The device, known to work.

    Raises:
        DeviceError: there is none of that name.
    """
    try:
        target = torch.device(device or "cpu")
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


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch says that memory ran out, on any device."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Without TF32, to which cuDNN rounds the inputs of float32 convolutions unless told not to."""
    flags = torch.backends.cudnn
    with flags.flags(
        enabled=flags.enabled, benchmark=flags.benchmark, deterministic=flags.deterministic, allow_tf32=False
    ):
        yield
