"""Whisper's encoder as the teacher of a small codec: what a recogniser makes of a sound, 50 times a second.

The weights are those of tiny.en in the format of CTranslate2, from the package that `packages.py` pins; no other
program is needed to compute them.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_N_FFT, _HOP, _MELS = 400, 160, 80  # at 16 kHz


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """The variables of a CTranslate2 model by name (``model_spec.py`` of CTranslate2, binary version 6)."""
    data, place = path.read_bytes(), 0

    def number(form: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from("<" + form, data, place)
        place += struct.calcsize("<" + form)
        return int(value)

    def text() -> str:
        nonlocal place
        size = number("H")
        place += size
        return data[place - size : place - 1].decode()

    if number("I") != 6:
        raise ValueError(f"{path} is in another version of CTranslate2's format than 6")
    text()
    number("I")
    variables = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = np.dtype(_TYPES[number("B")]), number("I")
        variables[name] = np.frombuffer(data, kind, size // kind.itemsize, place).reshape(shape)
        place += size
    return variables


class WhisperTeacher(nn.Module):
    """Waveforms at 16 kHz to the hidden states of Whisper's encoder, 50 a second.

    Whisper pads to 30 s; this does not, and hears a few seconds alone.

    Args:
        path: ``model.bin`` of a Whisper model for CTranslate2, not quantized, or what ``away.py teacher`` keeps of it.
        every_layer: give the hidden states of all layers beside each other, from the convolutions on, each of mean 0
            and deviation 1.
    """

    def __init__(self, path: Path, every_layer: bool = False) -> None:
        super().__init__()
        self._every_layer = every_layer
        variables = dict(np.load(path)) if path.suffix == ".npz" else read_ctranslate2(path)
        self._weights = {
            name.removeprefix("encoder/"): torch.from_numpy(value.astype(np.float32))
            for name, value in variables.items()
            if name.startswith("encoder/") and value.ndim
        }
        self._width = len(self._weights["conv1/bias"])
        self._heads = self._width // 64
        self._layers = sum(name.endswith("ffn/linear_0/bias") for name in self._weights)
        self.size = self._width * (self._layers + 1 if every_layer else 1)
        """Of the features."""
        filters = mel_filter_bank(
            _N_FFT // 2 + 1, _MELS, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney"
        )
        self._weights["mel"] = torch.from_numpy(filters.astype(np.float32))
        self._weights["window"] = torch.hann_window(_N_FFT)

    def to_device(self, device: torch.device) -> WhisperTeacher:
        """Move the weights."""
        self._weights = {name: value.to(device) for name, value in self._weights.items()}
        return self

    def forward(self, waveform: Tensor) -> Tensor:
        """Float32 (B, T) to (B, T / 320, size), differentiable."""
        w = self._weights
        with torch.autocast(waveform.device.type, enabled=False):  # bfloat16 is too coarse for sound
            spectrum = torch.stft(waveform.float(), _N_FFT, _HOP, window=w["window"], return_complex=True)[
                ..., :-1
            ]
            mel = (spectrum.abs().square().transpose(1, 2) @ w["mel"]).clamp(min=1e-10).log10()
            mel = torch.maximum(mel, mel.amax(dim=(1, 2), keepdim=True) - 8.0)
            x = ((mel + 4) / 4).transpose(1, 2)
        x = F.gelu(F.conv1d(x, w["conv1/weight"], w["conv1/bias"], padding=1))
        x = F.gelu(F.conv1d(x, w["conv2/weight"], w["conv2/bias"], stride=2, padding=1)).transpose(1, 2)
        states = [x]
        x = x + w["position_encodings/encodings"][: x.shape[1]]
        for number in range(self._layers):
            x = x + self._attention(x, f"layer_{number}/self_attention/")
            hidden = self._norm(x, f"layer_{number}/ffn/layer_norm")
            hidden = F.gelu(self._linear(hidden, f"layer_{number}/ffn/linear_0"))
            x = x + self._linear(hidden, f"layer_{number}/ffn/linear_1")
            states.append(x)
        last = self._norm(x, "layer_norm")
        if not self._every_layer:
            return last
        return torch.cat([F.layer_norm(state, (self._width,)) for state in [*states[:-1], last]], dim=-1)

    def _attention(self, x: Tensor, name: str) -> Tensor:
        parts = self._linear(self._norm(x, name + "layer_norm"), name + "linear_0").chunk(3, dim=-1)
        query, key, value = (part.unflatten(2, (self._heads, -1)).transpose(1, 2) for part in parts)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self._linear(attended, name + "linear_1")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[name + "/weight"], self._weights[name + "/bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (self._width,), self._weights[name + "/gamma"], self._weights[name + "/beta"])
