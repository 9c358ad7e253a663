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
    """The inputs that upstream encodes and decodes.

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
    """The answers of upstream.

    Attributes:
        checkpoint: folder with upstream's ``pytorch_model.bin`` (and our ``config.json`` beside it).
        semantic_model: folder with the semantic model, where the checkpoint was asked for without it.
        codes: name to LongTensor (B, 1, F).
        bounded: name to FloatTensor (B, F, 8), the values that were rounded to the codes' digits.
        audio: name to FloatTensor (B, 1, T) at 24 kHz.
        errors: name to the error that upstream raised.
        seconds: name to the time that upstream took.
        gain: how far the quantizer's input had to be scaled up to reach all levels.
        attributes: name to value of the attributes that programs use, as text.
    """

    checkpoint: Path
    semantic_model: Path
    codes: dict[str, Tensor]
    bounded: dict[str, Tensor]
    audio: dict[str, Tensor]
    errors: dict[str, str]
    seconds: dict[str, float]
    gain: float
    attributes: dict[str, str]


@dataclass(frozen=True)
class Question:
    """A model and what it is asked.

    Args:
        folder: empty; everything is written there.
        config: the sizes of the model.
        request: what to encode and decode.
        seed: of the weights.
        extra_semantic_layers: how many layers upstream's Wav2Vec2-BERT has beyond those that are used.
        save: "all" keys in the checkpoint, "without_semantic" as in the released one, or "none".
    """

    folder: Path
    config: NeuCodecConfig
    request: Request
    seed: int = 0
    extra_semantic_layers: int = 2
    save: str = "all"

    def write(self) -> None:
        """Write what upstream's process reads."""
        sizes = self.config.to_dict()
        layers = sizes["semantic_model_config"]["num_hidden_layers"]
        sizes["semantic_layers"] = layers + self.extra_semantic_layers
        request = self.request
        inputs = {
            name: _three_dimensional(value) for name, value in (request.waveforms | request.codes).items()
        }
        inputs["calibration"] = _three_dimensional(request.calibration)
        save_file(inputs, self.folder / "inputs.safetensors")
        (self.folder / "request.json").write_text(
            json.dumps(
                {
                    "config": sizes,
                    "seed": self.seed,
                    "save": self.save,
                    "encode": list(request.waveforms),
                    "encode_files": {name: str(path) for name, path in request.files.items()},
                    "decode": list(request.codes),
                }
            )
        )

    def read(self) -> Answers:
        """Read the files of upstream's process, and add our ``config.json``."""
        self.config.save_pretrained(self.folder / "checkpoint")
        outputs = load_file(self.folder / "outputs.safetensors")
        outcome = json.loads((self.folder / "outcome.json").read_text())
        return Answers(
            checkpoint=self.folder / "checkpoint",
            semantic_model=self.folder / "semantic_model",
            codes={name: value.long() for name, value in _part(outputs, "codes/").items()},
            bounded=_part(outputs, "bounded/"),
            audio=_part(outputs, "audio/"),
            errors=outcome["errors"],
            seconds=outcome["seconds"],
            gain=outcome["gain"],
            attributes=outcome["attributes"],
        )


def ask_upstream(python: Path, *questions: Question) -> list[Answers]:
    """Build upstream's models with random weights, save them, and put the questions to them, all in one process.

    Args:
        python: of the environment that holds upstream.
        questions: what to ask, each in a folder of its own.
    """
    for question in questions:
        question.write()
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    environment["HF_HUB_OFFLINE"] = "1"
    done = subprocess.run(
        [str(python), str(_SCRIPT), *(str(question.folder) for question in questions)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"upstream's environment {python} failed:\n{done.stderr[-4000:]}")
    return [question.read() for question in questions]


def _three_dimensional(value: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(value))
    return tensor if tensor.ndim == 3 else tensor.view(1, 1, -1)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
