"""Long recordings: computing them in blocks changes nothing, and bounds the memory."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from transformers import Wav2Vec2BertConfig

from neucodec_tts import NeuCodec
from neucodec_tts.codec import acoustic_encoder, features, neucodec, relative_attention, semantic_encoder
from neucodec_tts.codec.ragged import Ragged
from neucodec_tts.codec.relative_attention import RelativeAttention
from tests.parity.comparisons import MIN_SNR, Agreement, snr
from tests.parity.signals import speechlike

MINUTE = 60 * 16_000


@torch.no_grad()
def codes_and_values(codec: NeuCodec, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes (F,) of a padded waveform (T,), and the values (F, 8) that were rounded to them."""
    latents, _ = codec.encode_latents(waveform[None], torch.tensor([waveform.numel()]))
    return codec.quantizer(latents)[1][0], codec.quantizer.bounded(latents)[0]


def test_blocks_of_any_size_give_the_same_codes(codec, monkeypatch):
    """Attention by queries, activations by channels, all else by time."""
    waveform = torch.from_numpy(speechlike(MINUTE // 2, seed=3))
    with monkeypatch.context() as whole:
        whole.setattr(relative_attention, "_SCORE_BYTES", 2**40)
        whole.setattr(relative_attention, "_LONG", {"cpu": 2**40, "gpu": 2**40})
        whole.setattr(features, "_FRAMES_AT_ONCE", 10**9)
        whole.setattr(neucodec, "_ACOUSTIC_SECONDS", {"cpu": 1e6, "gpu": 1e6})
        whole.setattr(acoustic_encoder, "_CACHED_SAMPLES", 10**12)
        whole.setattr(semantic_encoder, "_FRAMES_AT_ONCE", {"cpu": 10**9, "gpu": 10**9})
        expected, bounded = codes_and_values(codec, waveform)
    with monkeypatch.context() as blocks:
        blocks.setattr(relative_attention, "_SCORE_BYTES", 2**20)
        blocks.setattr(relative_attention, "_BLOCK", {"cpu": 130, "gpu": 130})
        blocks.setattr(relative_attention, "_LONG", {"cpu": 130, "gpu": 130})
        blocks.setattr(features, "_FRAMES_AT_ONCE", 500)
        blocks.setattr(neucodec, "_ACOUSTIC_SECONDS", {"cpu": 3.3, "gpu": 3.3})
        blocks.setattr(acoustic_encoder, "_CACHED_SAMPLES", 1)
        blocks.setattr(semantic_encoder, "_FRAMES_AT_ONCE", {"cpu": 170, "gpu": 170})
        blocks.setattr(neucodec, "_QUANTIZED_AT_ONCE", 100)
        actual, _ = codes_and_values(codec, waveform)
        assert torch.equal(codec.encode_batch([waveform[:-1]])[0], actual)
    agreement = Agreement()
    agreement.add_codes("half a minute", expected, actual, bounded)
    agreement.check()
    assert len(expected.unique()) > 1_000


@pytest.mark.parametrize("frames_at_once", [1, 60, 250])
@pytest.mark.parametrize("queries", [33, 1024])
@torch.no_grad()
def test_blocks_of_a_ragged_batch(codec, monkeypatch, frames_at_once, queries):
    """Fewer frames than the causal convolution reaches back, and items that end before a block begins."""
    torch.manual_seed(0)
    features, lengths = torch.randn(3, 100, 160), torch.tensor([100, 61, 3])
    encoder, adapter = codec.semantic_encoder, codec.semantic_adapter
    ragged = Ragged.of(lengths, 100)
    hidden = encoder.feature_projection(features)[0]
    for layer in encoder.encoder.layers:
        hidden = layer(hidden, attention_mask=ragged.mask)
    adapted = adapter._convolve(hidden.transpose(1, 2).clone(), ragged)
    monkeypatch.setattr(semantic_encoder, "_FRAMES_AT_ONCE", {"cpu": frames_at_once, "gpu": frames_at_once})
    monkeypatch.setattr(relative_attention, "_BLOCK", {"cpu": queries, "gpu": queries})
    monkeypatch.setattr(relative_attention, "_LONG", {"cpu": queries, "gpu": queries})
    blocks = encoder(features, ragged)
    for i, n in enumerate(lengths.tolist()):
        assert snr(hidden[i, :n], blocks[i, :n]) > 110
        alone = encoder(features[i, None, :n], Ragged(None, n))
        assert snr(alone[0], blocks[i, :n]) > 110
    for i, n in enumerate(lengths.tolist()):
        assert snr(adapted[i, :, :n], adapter(blocks.transpose(1, 2).clone(), ragged)[i, :, :n]) > 110


@pytest.fixture
def attention() -> RelativeAttention:
    """Two heads whose scores and biases are large enough that every distance matters."""
    torch.manual_seed(0)
    layer = RelativeAttention(Wav2Vec2BertConfig(hidden_size=32, num_attention_heads=2)).eval()
    assert layer.distance_embedding is not None
    torch.nn.init.normal_(layer.distance_embedding.weight, std=2.0)
    return layer


@pytest.mark.parametrize("block", [1, 7, 64, 100, 250])
@torch.no_grad()
def test_keys_on_either_side_merge_with_those_near(attention, monkeypatch, block):
    """The merged parts are the attention that has a bias for each score, in float32 and for items of any length."""
    hidden = torch.randn(4, 260, 32)
    mask = torch.arange(260) < torch.tensor([260, 251, 90, 3])[:, None]
    expected = attention(hidden, mask)[0]
    monkeypatch.setattr(relative_attention, "_BLOCK", {"cpu": block, "gpu": block})
    monkeypatch.setattr(relative_attention, "_LONG", {"cpu": block, "gpu": block})
    merged = attention(hidden, mask)[0]
    for i, n in enumerate(mask.sum(dim=1).tolist()):
        assert snr(expected[i, :n], merged[i, :n]) > 110
        alone = attention(hidden[i, None, :n])[0]
        assert snr(alone[0], merged[i, :n]) > 110


@pytest.mark.parametrize("positions", ["relative_key", None])
def test_items_by_themselves_and_side_by_side(positions):
    """A processor computes each item by itself where no gradients are wanted, and the batch with a mask elsewhere."""
    torch.manual_seed(0)
    config = Wav2Vec2BertConfig(hidden_size=32, num_attention_heads=2, position_embeddings_type=positions)
    layer = RelativeAttention(config).eval()
    hidden = torch.randn(3, 50, 32)
    mask = torch.arange(50) < torch.tensor([50, 31, 1])[:, None]
    side_by_side = layer(hidden, mask)[0].detach()
    with torch.no_grad():
        by_themselves = layer(hidden, mask)[0]
    assert not torch.equal(
        by_themselves[1, 31:], side_by_side[1, 31:]
    )  # two ways, which differ behind the ends
    for i, n in enumerate(mask.sum(dim=1).tolist()):
        assert snr(side_by_side[i, :n], by_themselves[i, :n]) > 110


def test_gradients_of_long_items(attention, monkeypatch):
    """An encoder that is trained gets the gradients of the plain attention, whatever the length."""
    hidden = torch.randn(1, 300, 32)
    attention(hidden)[0].square().sum().backward()
    expected = attention.distance_embedding.weight.grad.clone()
    attention.zero_grad()
    monkeypatch.setattr(relative_attention, "_BLOCK", {"cpu": 64, "gpu": 64})
    monkeypatch.setattr(relative_attention, "_LONG", {"cpu": 64, "gpu": 64})
    attention(hidden)[0].square().sum().backward()
    torch.testing.assert_close(attention.distance_embedding.weight.grad, expected)
    assert expected.abs().min() > 0


def test_without_fused_attention_the_result_is_the_same(attention, monkeypatch, caplog):
    """A PyTorch whose fused attention is missing or wrong costs time, is said once, and changes nothing."""
    hidden = torch.randn(1, 300, 32)
    expected = attention(hidden)[0]

    def wrong(query, key, value, bias=None):
        return query, query[..., 0]

    monkeypatch.setattr(relative_attention, "_BLOCK", {"cpu": 64, "gpu": 64})
    monkeypatch.setattr(relative_attention, "_LONG", {"cpu": 64, "gpu": 64})
    monkeypatch.setattr(relative_attention, "_attention", wrong)
    relative_attention._fused_attention_works.cache_clear()
    try:
        with torch.no_grad():
            for _ in range(2):
                torch.testing.assert_close(attention(hidden)[0], expected)
    finally:
        relative_attention._fused_attention_works.cache_clear()
    assert [record.message for record in caplog.records if "encoded more slowly" in record.message] != []
    assert len(caplog.records) == 1


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
