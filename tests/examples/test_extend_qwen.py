"""The example that compares starts of new embeddings, shortened."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from neucodec_tts.audio import write_audio
from tests.parity.ours import random_codec
from tests.parity.signals import speechlike
from tests.parity.sizes import small_config

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "extend_qwen.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("extend_qwen", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_digits_learn_fastest(example: ModuleType, capsys: pytest.CaptureFixture[str]):
    """At the same steps, on sentences that none has seen; the margin at full length is far wider."""
    arguments = [
        "--steps",
        "24",
        "--sentences",
        "120",
        "--dimensions",
        "4",
        "--width",
        "64",
        "--device",
        "cpu",
    ]
    losses = example.main(arguments)
    printed = capsys.readouterr().out
    assert list(losses) == ["mean", "random", "fsq"]
    for start in losses:
        assert f"\n{start} " in printed
        assert losses[start][-1] < losses[start][0] - 0.5, "it learns"
    assert losses["fsq"][-1] < losses["random"][-1] < losses["mean"][-1]
    assert printed.endswith("'fsq' has learnt most.\n")


def test_on_recordings(example: ModuleType, tmp_path: Path):
    """Of one's own, with an output layer of its own."""
    config = small_config()
    config.quantization_levels = (4, 4, 4, 4)
    codec = random_codec(config)
    codec.save_pretrained(tmp_path / "codec")
    (tmp_path / "audio").mkdir()
    for number in range(3):
        samples = np.asarray(speechlike(10 * 16_000, seed=number), np.float32)
        write_audio(tmp_path / "audio" / f"{number}.wav", 0.5 * samples / np.abs(samples).max(), 16_000)
    options = [
        "--audio",
        str(tmp_path / "audio"),
        "--codec",
        str(tmp_path / "codec"),
        "--untied",
        "--device",
        "cpu",
    ]
    losses = example.main([*options, "--steps", "1", "--batch", "1", "--width", "32"])
    assert all(np.isfinite(values).all() for values in losses.values())
    with pytest.raises(SystemExit, match="no recordings"):
        example.recordings(tmp_path / "codec", str(tmp_path / "codec"))
