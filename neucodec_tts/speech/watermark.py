"""Mark speech as synthetic, inaudibly, by Resemble's Perth (the extra ``[watermark]``).

The mark is spread over the whole sound, and ``perth.PerthImplicitWatermarker().get_watermark`` finds it. It says that a
machine made the speech, not which machine or for whom. One rule holds everywhere: speech is marked where the package is
installed, unless ``watermark=False`` says otherwise.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import importlib.util
import io
import logging
import math
import sys
import types
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.audio.resampling import resample
from neucodec_tts.errors import EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_INSTALL = 'pip install "neucodec-tts[watermark]"'


_FRAME_SECONDS = 0.02
_BEFORE, _AFTER = 10, 8  # frames around a block that are marked with it: 0.2 s and 0.16 s
_FIRST_BLOCK, _LARGEST_BLOCK, _GROWTH = 5, 24, 1.25  # frames


def is_available() -> bool:
    """Return True if the package is installed."""
    return importlib.util.find_spec("perth") is not None


def is_wanted(watermark: bool | None) -> bool:
    """Apply the rule to a setting: None marks speech where the package is installed."""
    return is_available() if watermark is None else watermark


class Watermarker:
    """Puts the mark into speech.

    Raises:
        EngineError: ``resemble-perth`` is not installed, or does not work here.
    """

    _SHORTEST = 4096  # samples at its own rate: two windows of its spectrogram

    def __init__(self) -> None:
        if not is_available():
            raise EngineError(f"the watermark needs resemble-perth, which is not installed: {_INSTALL}")
        try:
            _provide_pkg_resources()
            # It prints a line on standard output, which may hold our JSON.
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                # From its own module: the package hides what it cannot import, and leaves None in its place.
                from perth.perth_net.perth_net_implicit.perth_watermarker import PerthImplicitWatermarker

                self._perth: Any = PerthImplicitWatermarker()
            logger.debug("%s", printed.getvalue().strip())
        except (ImportError, AttributeError, TypeError, OSError, RuntimeError) as error:
            raise EngineError(
                f"resemble-perth is installed but does not start ({error}); install what it needs: {_INSTALL}"
            ) from error
        self._rate = int(self._perth.perth_net.hp.sample_rate)

    def apply(self, samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
        """Return the samples with the mark, float32 of the same length (n,).

        Args:
            samples: float32 (n,).
            sample_rate: in Hz.
        """
        import torch

        wave = resample(torch.from_numpy(samples), sample_rate, self._rate)
        wave = torch.nn.functional.pad(wave, (0, max(0, self._SHORTEST - wave.numel())))
        with torch.inference_mode():
            marked = torch.from_numpy(self._perth.apply_watermark(wave.numpy(), sample_rate=self._rate))
        back = resample(marked.float(), self._rate, sample_rate)[: len(samples)]
        # Its spectrogram ends with the last whole hop.
        return torch.nn.functional.pad(back, (0, len(samples) - back.numel())).numpy()

    def stream(self, sample_rate: int) -> WatermarkStream:
        """Begin to mark sound that comes in pieces, at `sample_rate` Hz."""
        return WatermarkStream(self, sample_rate)


class WatermarkStream:
    """Marks sound as it comes: `push` samples, and `flush` at the end.

    Sound is marked in blocks of 0.1 s that grow to 0.48 s, each with 0.2 s before it and 0.16 s after it. This differs
    from the sound marked as a whole by 60 dB or better, and delays it by 0.16 s. Any split of the same samples gives
    the same sound.

    Args:
        mark: marks a block.
        sample_rate: in Hz.
    """

    def __init__(self, mark: Watermarker, sample_rate: int) -> None:
        self._mark = mark
        self._rate = sample_rate
        self._frame = round(_FRAME_SECONDS * sample_rate)
        self._block = _FIRST_BLOCK
        self._held = np.zeros(0, np.float32)  # what is not marked yet, and what lies before it
        self._done = 0  # samples of it that are marked already

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add samples, float32 (n,); returns those that are marked, float32 (m,), perhaps none."""
        self._held = np.concatenate([self._held, samples])
        parts = [np.zeros(0, np.float32)]
        while self._held.size - self._done >= (self._block + _AFTER) * self._frame:
            parts.append(self._next(self._block * self._frame))
            self._block = min(_LARGEST_BLOCK, math.ceil(self._block * _GROWTH))
        return np.concatenate(parts)

    def flush(self) -> NDArray[np.float32]:
        """Return the rest, float32 (n,)."""
        return self._next(self._held.size - self._done)

    def _next(self, count: int) -> NDArray[np.float32]:
        """Mark so many samples, and forget what later blocks do not need."""
        if not count:
            return np.zeros(0, np.float32)
        end = self._done + count
        marked = self._mark.apply(self._held[: end + _AFTER * self._frame], self._rate)[self._done : end]
        forgotten = max(0, end - _BEFORE * self._frame)
        self._held = self._held[forgotten:]
        self._done = end - forgotten
        return marked


def _provide_pkg_resources() -> None:
    """Stand in for ``pkg_resources``, which perth 1.0.1 imports and setuptools 82 no longer has."""
    # In this order: a stand-in from the last time has no specification, and could not be found.
    if "pkg_resources" in sys.modules or importlib.util.find_spec("pkg_resources") is not None:
        return
    shim = types.ModuleType("pkg_resources")
    shim.resource_filename = lambda package, name: str(  # type: ignore[attr-defined]
        importlib.resources.files(package) / name
    )
    sys.modules["pkg_resources"] = shim
