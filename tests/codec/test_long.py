"""Long recordings: computing them in blocks changes nothing, and bounds the memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from neucodec_tts import NeuCodec
from neucodec_tts.codec import acoustic_encoder, features, neucodec, semantic_encoder
from tests.parity.comparisons import MIN_SNR, Agreement, snr
from tests.parity.signals import speechlike

MINUTE = 60 * 16_000


@torch.no_grad()
def codes_and_values(codec: NeuCodec, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (F,) of a padded waveform (T,), and the values (F, 8) that were rounded to them."""
    latents, _ = codec.encode_latents(waveform[None], torch.tensor([waveform.numel()]))
    return codec.quantizer(latents)[1][0], codec.quantizer.bounded(latents)[0]


def test_blocks_of_any_size_give_the_same_codes(codec, monkeypatch):
    """Attention by queries, the filter bank and the acoustic encoder by time, activations by channels."""
    waveform = torch.from_numpy(speechlike(MINUTE // 2, seed=3))
    with monkeypatch.context() as whole:
        whole.setattr(semantic_encoder, "_SCORE_BYTES", 2**40)
        whole.setattr(features, "_FRAMES_AT_ONCE", 10**9)
        whole.setattr(neucodec, "_ACOUSTIC_SECONDS", {"cpu": 1e6, "gpu": 1e6})
        whole.setattr(acoustic_encoder, "_CACHED_SAMPLES", 10**12)
        expected, bounded = codes_and_values(codec, waveform)
    with monkeypatch.context() as blocks:
        blocks.setattr(semantic_encoder, "_SCORE_BYTES", 2**20)  # 58 queries at a time
        blocks.setattr(features, "_FRAMES_AT_ONCE", 500)
        blocks.setattr(neucodec, "_ACOUSTIC_SECONDS", {"cpu": 3.3, "gpu": 3.3})
        blocks.setattr(acoustic_encoder, "_CACHED_SAMPLES", 1)
        actual, _ = codes_and_values(codec, waveform)
    agreement = Agreement()
    agreement.add_codes("half a minute", expected, actual, bounded)
    agreement.check()
    assert len(expected.unique()) > 1_000


_FIVE_MINUTES = """
import json, resource, sys, torch
from neucodec_tts import NeuCodec
from tests.parity.signals import speechlike

torch.set_num_threads(2)
codec = NeuCodec.from_pretrained("tiny")
speech = speechlike(300 * 16_000, seed=4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
codes = codec.encode(speech, 16_000)
encoded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
audio, short = codec.decode_batch([codes, codes[:40]])
decoded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
torch.save({"codes": codes, "audio": audio, "short": short}, sys.argv[1])
print(json.dumps([(encoded - before) / 2**20, (decoded - before) / 2**20]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell a process's peak of memory")
def test_five_minutes(tmp_path):
    """Its length is exact, a short item in its batch is what it is alone, and no full matrix of scores is ever held.

    One layer's scores would be 15,000 x 15,000 x 4 heads in float32, 3.4 GiB.
    """
    done = subprocess.run(
        [sys.executable, "-c", _FIVE_MINUTES, str(tmp_path / "result.pt")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = torch.load(tmp_path / "result.pt", weights_only=True)
    codec = NeuCodec.from_pretrained("tiny")
    codes, audio = result["codes"], result["audio"]
    assert len(codes) == 15_000
    assert len(audio) == 15_000 * 480
    assert bool(audio.isfinite().all())
    assert snr(codec.decode(codes[:40]), result["short"]) >= MIN_SNR
    # Ru_maxrss is in KiB, but on macOS in bytes.
    scale = 1024 if sys.platform == "darwin" else 1
    encoding, decoding = (gigabytes / scale for gigabytes in json.loads(done.stdout))
    assert encoding < 3, f"encoding ten minutes took {encoding:.2f} GiB"
    assert decoding < 3, f"decoding ten minutes took {decoding:.2f} GiB"
