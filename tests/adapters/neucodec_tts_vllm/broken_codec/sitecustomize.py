"""Makes a server's codec fail on what a test says. Python runs this file at its start where its folder is on the path.

While the file that BROKEN_CODES names holds a list of codes, whatever begins with them cannot be decoded, as if the
device had failed. Nothing else is different.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import os
import sys


class _Breaker(importlib.abc.MetaPathFinder):
    """Waits until the codec is imported, so that no other program pays for it."""

    def find_spec(self, fullname, path, target=None):
        if fullname != "neucodec_tts.codec.neucodec":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None
        assert spec.loader is not None
        spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, own) -> None:
        self._own = own

    def create_module(self, spec):
        return self._own.create_module(spec)

    def exec_module(self, module) -> None:
        self._own.exec_module(module)
        _break(module.NeuCodec)


def _break(codec) -> None:
    decode_batch, decode_windows = codec.decode_batch, codec.decode_windows

    def check(sequences) -> None:
        try:
            with open(os.environ["BROKEN_CODES"], encoding="utf-8") as file:
                broken = json.load(file)
        except FileNotFoundError:
            broken = []
        if broken and any(codes[: len(broken)].tolist() == broken for codes in sequences):
            raise RuntimeError("device-side assert triggered")

    def failing_batch(self, sequences):
        check(sequences)
        return decode_batch(self, sequences)

    def failing_windows(self, windows):
        check([window.codes for window in windows])
        return decode_windows(self, windows)

    codec.decode_batch, codec.decode_windows = failing_batch, failing_windows


if os.environ.get("BROKEN_CODES"):
    sys.meta_path.insert(0, _Breaker())
