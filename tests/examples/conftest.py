"""The recipe of `tiny`, imported as its scripts import each other."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "train_tiny"


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch):
    """Import one of the recipe's modules by name, as `python train.py` would."""
    monkeypatch.syspath_prepend(str(RECIPE))
    names = {path.stem for path in RECIPE.glob("*.py")}
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)
