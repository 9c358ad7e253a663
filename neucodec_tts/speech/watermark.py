"""Marking speech as synthetic, inaudibly, by Resemble's Perth (the extra ``[watermark]``).

The mark is spread over the whole sound, and ``perth.PerthImplicitWatermarker().get_watermark`` looks for it. It says
that a machine made the speech, not which or for whom.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import sys
import types
from typing import TYPE_CHECKING, Any

import torch

from neucodec_tts.errors import EngineError
from neucodec_tts.resampling import resample

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_INSTALL = 'pip install "neucodec-tts[watermark]"'


def is_available() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("perth") is not None


class Watermarker:
    """Puts the mark into speech.

    Raises:
        EngineError: ``resemble-perth`` is not installed, or does not work here.
    """

    def __init__(self) -> None:
        if not is_available():
            raise EngineError(f"the watermark needs resemble-perth, which is not installed: {_INSTALL}")
        try:
            _provide_pkg_resources()
            import perth

            self._perth: Any = perth.PerthImplicitWatermarker()
        except (ImportError, AttributeError, TypeError, OSError, RuntimeError) as error:
            # perth hides what it cannot import and leaves None in place of its class.
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
        marked = torch.from_numpy(self._perth.apply_watermark(wave.numpy(), sample_rate=self._rate))
        back = resample(marked.float(), self._rate, sample_rate)[: len(samples)]
        # Its spectrogram ends with the last whole hop.
        return torch.nn.functional.pad(back, (0, len(samples) - back.numel())).numpy()


def _provide_pkg_resources() -> None:
    """Stand in for ``pkg_resources``, which perth 1.0.1 imports and setuptools 82 no longer has."""
    if importlib.util.find_spec("pkg_resources") is not None or "pkg_resources" in sys.modules:
        return
    shim = types.ModuleType("pkg_resources")
    shim.resource_filename = lambda package, name: str(  # type: ignore[attr-defined]
        importlib.resources.files(package) / name
    )
    sys.modules["pkg_resources"] = shim
