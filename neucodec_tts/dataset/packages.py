"""Packages that only data preparation needs, imported where they are used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from neucodec_tts.errors import DatasetError

if TYPE_CHECKING:
    from types import ModuleType


def arrow() -> Any:
    """``pyarrow``.

    Raises:
        DatasetError: it is not installed.
    """
    return needed("pyarrow", "dataset")


def parquet() -> Any:
    """``pyarrow.parquet``.

    Raises:
        DatasetError: it is not installed.
    """
    return needed("pyarrow.parquet", "dataset")


def needed(module: str, extra: str) -> ModuleType:
    """Import a module that comes with an extra.

    Raises:
        DatasetError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as problem:
        raise DatasetError(
            f"this needs {module.partition('.')[0]}: pip install 'neucodec-tts[{extra}]'"
        ) from problem
