"""Marking speech as synthetic, inaudibly, by Resemble's Perth (the extra ``[watermark]``).

The mark is spread over the whole sound, and ``perth.PerthImplicitWatermarker().get_watermark`` looks for it. It says
that a machine made the speech, not which or for whom.
"""

from __future__ import annotations

import contextlib
import importlib.resources
import importlib.util
import io
import logging
import sys
import types
from typing import TYPE_CHECKING, Any

import torch

from neucodec_tts.audio.resampling import resample
from neucodec_tts.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_INSTALL = 'pip install "neucodec-tts[watermark]"'


def is_available() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("perth") is not None


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
        """Return the samples with the mark in them, float32 of the same length (n,).

        Args:
            samples: float32 (n,).
            sample_rate: in Hz.
        """
        wave = resample(torch.from_numpy(samples), sample_rate, self._rate)
        wave = torch.nn.functional.pad(wave, (0, max(0, self._SHORTEST - wave.numel())))
        marked = torch.from_numpy(self._perth.apply_watermark(wave.numpy(), sample_rate=self._rate))
        back = resample(marked.float(), self._rate, sample_rate)[: len(samples)]
        # Its spectrogram ends with the last whole hop.
        return torch.nn.functional.pad(back, (0, len(samples) - back.numel())).numpy()


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
