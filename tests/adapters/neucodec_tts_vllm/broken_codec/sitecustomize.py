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
        if fullname != "neucodec_tts.codec.model":
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
    decode_batch = codec.decode_batch

    def failing(self, items, *arguments, **options):
        try:
            with open(os.environ["BROKEN_CODES"], encoding="utf-8") as file:
                broken = json.load(file)
        except FileNotFoundError:
            broken = []
        if broken and any(item[: len(broken)].tolist() == broken for item in items):
            raise RuntimeError("device-side assert triggered")
        return decode_batch(self, items, *arguments, **options)

    codec.decode_batch = failing


if os.environ.get("BROKEN_CODES"):
    sys.meta_path.insert(0, _Breaker())
