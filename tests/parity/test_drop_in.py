"""The package `neutts` runs with our codec in place of `neucodec`: one name among its imports is another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from neucodec_tts import NeuCodec
from tests.parity.ours import random_codec
from tests.parity.signals import speechlike
from tests.parity.sizes import small_config, small_distilled_config
from tests.prompts import neutts_package

pytest.importorskip("librosa", reason="neutts reads recordings with it")
pytestmark = pytest.mark.upstream

SCRIPT = """
import json, sys
package, folder, name, recording = sys.argv[1:]
sys.path.insert(0, package)
import neucodec_tts
sys.modules["neucodec"] = neucodec_tts
load = neucodec_tts.NeuCodec.from_pretrained.__func__
for kind in (neucodec_tts.NeuCodec, neucodec_tts.DistillNeuCodec):  # what it asks of the hub lies in the folder
    kind.from_pretrained = classmethod(lambda cls, model: load(cls, folder))
from neutts.neutts import NeuTTS
speaker = NeuTTS.__new__(NeuTTS)  # its __init__ downloads a language model
speaker._is_onnx_codec = False
speaker._load_codec(name, "cpu")
codes = speaker.encode_reference(recording)
sound = speaker._decode("".join(f"<|speech_{code}|>" for code in codes))
print("\\n" + json.dumps([codes.tolist(), sound.tolist(), str(sound.dtype)]))
"""


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("neuphonic/neucodec", small_config()),
        ("neuphonic/distill-neucodec", small_distilled_config()),
    ],
)
def test_neutts_encodes_and_decodes_with_ours(name: str, config, tmp_path: Path):
    random_codec(config).save_pretrained(tmp_path / "codec")
    wave = speechlike(24_123, seed=1)
    soundfile.write(tmp_path / "voice.wav", wave, 16_000, subtype="FLOAT")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            SCRIPT,
            str(neutts_package.fetch()),
            str(tmp_path / "codec"),
            name,
            str(tmp_path / "voice.wav"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes, sound, dtype = json.loads(done.stdout.splitlines()[-1])
    codec = NeuCodec.from_pretrained(tmp_path / "codec", device="cpu")
    assert codes == codec.encode(wave, 16_000).tolist()
    assert dtype == "float32"
    expected = codec.decode(torch.tensor(codes)).numpy()
    np.testing.assert_allclose(np.array(sound, np.float32), expected, atol=1e-5)
