"""Checkpoints written in the layout of ``transformers``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from neucodec_tts.errors import CheckpointError
from neucodec_tts.files import atomic_path


def save(
    folder: str | os.PathLike[str],
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    preprocessor: Mapping[str, Any],
) -> None:
    """Write ``model.safetensors``, ``preprocessor_config.json`` and, last, ``config.json``.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    from safetensors.torch import save_file

    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot make the folder {target}: {error.strerror}") from error
    on_cpu = {key: tensor.detach().cpu().contiguous() for key, tensor in weights.items()}
    with atomic_path(target / "model.safetensors", CheckpointError) as path:
        save_file(on_cpu, path, metadata={"format": "pt"})
    for name, content in (("preprocessor_config.json", preprocessor), ("config.json", config)):
        with atomic_path(target / name, CheckpointError) as path:
            path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
