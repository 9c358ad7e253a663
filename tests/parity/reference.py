"""Asks upstream's NeuCodec, in its own environment, for codes and audio (see ``upstream_reference.py``)."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import NeuCodecConfig

_SCRIPT = Path(__file__).with_name("upstream_reference.py")


@dataclass(frozen=True)
class Request:
    """What upstream is to encode and decode.

    Args:
        waveforms: name to float32 (T,) or (B, 1, T) at 16 kHz.
        files: name to the path of an audio file.
        codes: name to int (F,) or (B, 1, F).
        calibration: float32 (T,), the speech whose codes shall be spread over all levels.
    """

    waveforms: dict[str, np.ndarray]
    files: dict[str, Path]
    codes: dict[str, np.ndarray]
    calibration: np.ndarray


@dataclass(frozen=True)
class Answers:
    """What upstream answered.

    Attributes:
        checkpoint: folder with upstream's ``pytorch_model.bin`` (and our ``config.json`` beside it).
        semantic_model: folder with the semantic model, where the checkpoint was asked for without it.
        codes: name to LongTensor (B, 1, F).
        bounded: name to FloatTensor (B, F, 8), the values that were rounded to the codes' digits.
        audio: name to FloatTensor (B, 1, T) at 24 kHz.
        errors: name to the error that upstream raised.
        seconds: name to the time that upstream took.
        gain: how far the quantizer's input had to be scaled up to reach all levels.
    """

    checkpoint: Path
    semantic_model: Path
    codes: dict[str, Tensor]
    bounded: dict[str, Tensor]
    audio: dict[str, Tensor]
    errors: dict[str, str]
    seconds: dict[str, float]
    gain: float


def ask_upstream(
    python: Path,
    folder: Path,
    config: NeuCodecConfig,
    request: Request,
    *,
    seed: int = 0,
    extra_semantic_layers: int = 2,
    save: str = "all",
) -> Answers:
    """Build upstream's model with random weights in ``folder``, save it there, and put the request to it.

    Args:
        python: of the environment that holds upstream.
        folder: empty; everything is written there.
        config: the sizes of the model.
        request: what to encode and decode.
        seed: of the weights.
        extra_semantic_layers: how many layers upstream's semantic model has beyond those that are used.
        save: "all" keys in the checkpoint, "without_semantic" as in the released one, or "none".
    """
    sizes = config.to_dict()
    sizes["semantic_layers"] = sizes["semantic_model_config"]["num_hidden_layers"] + extra_semantic_layers
    inputs = {name: _three_dimensional(value) for name, value in (request.waveforms | request.codes).items()}
    inputs["calibration"] = _three_dimensional(request.calibration)
    save_file(inputs, folder / "inputs.safetensors")
    (folder / "request.json").write_text(
        json.dumps(
            {
                "config": sizes,
                "seed": seed,
                "save": save,
                "encode": list(request.waveforms),
                "encode_files": {name: str(path) for name, path in request.files.items()},
                "decode": list(request.codes),
            }
        )
    )
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    environment["HF_HUB_OFFLINE"] = "1"
    done = subprocess.run(
        [str(python), str(_SCRIPT), str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"upstream's environment {python} failed:\n{done.stderr[-4000:]}")
    config.save_pretrained(folder / "checkpoint")
    outputs = load_file(folder / "outputs.safetensors")
    outcome = json.loads((folder / "outcome.json").read_text())
    return Answers(
        checkpoint=folder / "checkpoint",
        semantic_model=folder / "semantic_model",
        codes={name: value.long() for name, value in _part(outputs, "codes/").items()},
        bounded=_part(outputs, "bounded/"),
        audio=_part(outputs, "audio/"),
        errors=outcome["errors"],
        seconds=outcome["seconds"],
        gain=outcome["gain"],
    )


def _three_dimensional(value: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(value))
    return tensor if tensor.ndim == 3 else tensor.view(1, 1, -1)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
