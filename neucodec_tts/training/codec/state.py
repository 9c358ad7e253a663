"""The state of a training on disk: whole or not at all, with the one before it kept until the new one is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from neucodec_tts.errors import CheckpointError
from neucodec_tts.files import atomic_path

STATE = "state.pt"


def save_state(state: dict[str, Any], folder: Path) -> None:
    """Write a training's state into its folder.

    Raises:
        CheckpointError: it cannot be written, as when the disk is full. The last state is still there.
    """
    path = folder / STATE
    try:
        with atomic_path(path, CheckpointError) as part:
            torch.save(state, part)
            with part.open("rb") as file:
                os.fsync(file.fileno())
    except (OSError, RuntimeError) as problem:  # torch's writer has RuntimeErrors for full disks
        if isinstance(problem, CheckpointError):
            raise
        raise CheckpointError(
            f"cannot save the training to {path} (is the disk full?): {problem}; the last state is kept"
        ) from problem


def load_state(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Read a training's state; None if there is none.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / STATE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as problem:
        raise CheckpointError(
            f"{path} is damaged ({problem}); remove it to begin again, from checkpoint/ with --codec"
        ) from problem
    return state
