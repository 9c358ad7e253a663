"""The recipe of a codec and its voice, imported as its scripts import each other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "train_codec"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Import one of the recipe's modules by name, as `python train.py` would."""
    monkeypatch.syspath_prepend(str(RECIPE))
    names = {path.stem for path in RECIPE.glob("*.py")}
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)
