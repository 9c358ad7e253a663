"""The distilled codec: what it shares with NeuCodec, and what is its own. ``tests/parity`` has its codes."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import NeuCodecConfig, Wav2Vec2FeatureExtractor

from neucodec_tts import CheckpointError, DistillNeuCodec, NeuCodec
from neucodec_tts.codec import neucodec
from neucodec_tts.codec.distilled import encoder, hubert
from neucodec_tts.codec.distilled.config import DistillNeuCodecConfig
from neucodec_tts.codec.features import pad_waveforms
from tests.parity.comparisons import Agreement, snr
from tests.parity.ours import encode_in_one_batch, random_codec
from tests.parity.signals import speechlike
from tests.parity.sizes import SMALL_WINDOW, small_config, small_distilled_config

HOP = 320


@pytest.fixture(scope="module")
def distilled() -> DistillNeuCodec:
    """Random weights, and windows of attention so short that every recording spans several."""
    config = small_distilled_config()
    config.attention_window = SMALL_WINDOW
    codec = random_codec(config)
    assert isinstance(codec, DistillNeuCodec)
    return codec


@torch.no_grad()
def latents(codec: NeuCodec, waveforms: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The quantizer's input for a batch, and its frames."""
    return codec.encode_latents(*pad_waveforms(waveforms, HOP, codec.device))


def test_it_is_a_neucodec_with_a_frame_more(distilled, speech):
    assert isinstance(distilled, NeuCodec)
    for samples in (1, 319, 320, 321, 16_000):
        assert len(distilled.encode(speech(1.0)[:samples], 16_000)) == samples // HOP + 1
    codes = distilled.encode(speech(1.0), 16_000)
    assert len(distilled.decode(codes)) == 480 * 51
    with distilled.stream() as decoder:
        pieces = [*map(decoder.push, codes.split(7)), decoder.flush()]
    assert sum(map(len, pieces)) == 480 * 51


@settings(max_examples=8)
@given(lengths=st.lists(st.integers(1, 12_000), min_size=2, max_size=8))
def test_codes_do_not_depend_on_the_batch(distilled, lengths):
    waveforms = {f"{i}: {n} samples": speechlike(n, seed=n) for i, n in enumerate(lengths)}
    together = encode_in_one_batch(distilled, waveforms)
    agreement = Agreement()
    for name, waveform in waveforms.items():
        alone = latents(distilled, [torch.from_numpy(waveform)])[0]
        codes, bounded = distilled.quantizer(alone)[1][0], distilled.quantizer.bounded(alone)[0]
        agreement.add_codes(name, codes, together[name], bounded)
    agreement.check()


def test_normalised_per_item(distilled, speech):
    """As ``transformers`` does it to one item, with upstream's silence on both sides and more behind."""
    waves = [speech(1.0), 0.02 * speech(0.4)]
    padded, lengths = pad_waveforms(waves, HOP, distilled.device)
    padded = torch.nn.functional.pad(padded, (160, 160))
    ours = hubert._normalize(padded, lengths + 320)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    for i, samples in enumerate((lengths + 320).tolist()):
        theirs = extractor(
            padded[i, :samples].numpy(), sampling_rate=16_000, return_tensors="pt"
        ).input_values[0]
        assert snr(theirs, ours[i, :samples]) > 110
        assert not ours[i, samples:].any()


def test_pieces_of_any_size_give_the_same_codes(distilled, speech, monkeypatch):
    waves = [speech(6.0), speech(3.7)]
    with monkeypatch.context() as whole:
        whole.setattr(hubert, "_CHUNK_FRAMES", {"cpu": 1e9, "gpu": 1e9})
        whole.setattr(neucodec, "_ACOUSTIC_SECONDS", {"cpu": 1e6, "gpu": 1e6})
        expected, frames = latents(distilled, waves)
    assert frames.tolist() == [301, 186]
    with monkeypatch.context() as pieces:
        pieces.setattr(hubert, "_CHUNK_FRAMES", {"cpu": 14.0, "gpu": 14.0})
        pieces.setattr(neucodec, "_ACOUSTIC_SECONDS", {"cpu": 0.3, "gpu": 0.3})
        actual, _ = latents(distilled, waves)
    for i, count in enumerate(frames.tolist()):
        assert snr(expected[i, :count].flatten(), actual[i, :count].flatten()) > 90


def test_long_recordings_go_through_overlapping_windows(distilled, speech, monkeypatch):
    wave = speech(9.0)
    monkeypatch.setattr(neucodec, "EXACT_SECONDS", 4.0)
    monkeypatch.setattr(neucodec, "_WINDOW_OVERLAP_SECONDS", 2.0)
    codes = distilled.encode([speech(1.0), wave], 16_000)[1]
    assert len(codes) == 451
    assert torch.equal(codes[:150], distilled.encode(wave[: 4 * 16_000], 16_000)[:150])
    # The window that begins at 2 s is heard from its second second on, up to the one that begins at 4 s.
    assert torch.equal(codes[150:250], distilled.encode(wave[2 * 16_000 : 6 * 16_000], 16_000)[50:150])


def test_attention_reaches_one_window_back(distilled):
    """Causal within a window, and back over the whole of the one before, but no further in one layer."""
    transformer = distilled.acoustic_encoder.transformer2
    torch.manual_seed(0)
    x = torch.randn(1, 3 * SMALL_WINDOW - 5, 36)
    with torch.no_grad():
        before = transformer(x)
        x[:, SMALL_WINDOW + 3] += 1
        after = transformer(x)
    changed = (before != after).any(dim=-1)[0]
    assert not changed[: SMALL_WINDOW + 3].any()
    assert changed[SMALL_WINDOW + 3 :].all()
    shallow = encoder.LocalTransformer(36, 6, 9, depth=1, window=SMALL_WINDOW)
    with torch.no_grad():
        before = shallow(x)
        x[:, 3] += 1
        changed = (before != shallow(x)).any(dim=-1)[0]
    assert changed.nonzero()[:, 0].tolist() == list(range(3, 2 * SMALL_WINDOW))


def test_saved_and_loaded_it_is_the_same_codec(distilled, speech, tmp_path):
    distilled.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("distill_neucodec", ["DistillNeuCodec"])
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["do_normalize"] is False
    codes = distilled.encode(speech(0.7), 16_000)
    for kind in (NeuCodec, DistillNeuCodec):
        loaded = kind.from_pretrained(tmp_path)
        assert type(loaded) is DistillNeuCodec
        assert loaded.codec_id == distilled.codec_id
        assert torch.equal(loaded.encode(speech(0.7), 16_000), codes)
    half = NeuCodec.from_pretrained(tmp_path, dtype="bfloat16")
    assert len(half.encode(speech(0.7), 16_000)) == len(codes)


def test_the_other_codec_is_pointed_to(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"tiny holds a NeuCodec, not a DistillNeuCodec; load it with NeuCodec"
    ):
        DistillNeuCodec.from_pretrained("tiny")
    with pytest.raises(CheckpointError, match="takes a DistillNeuCodecConfig, not a NeuCodecConfig"):
        DistillNeuCodec(small_config())


def test_gradients_reach_every_parameter(speech):
    torch.manual_seed(0)
    codec = DistillNeuCodec(small_distilled_config())
    codec.eval()  # HuBERT skips layers at random while it trains
    waves, lengths = pad_waveforms([speech(0.6), speech(0.4)], HOP, codec.device)
    audio, codes, frames = codec(waves, lengths)
    assert codes.shape == (2, 31)
    assert frames.tolist() == [31, 21]
    audio.square().mean().backward()
    assert [
        name for name, p in codec.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"semantic_model_config": NeuCodecConfig().semantic_model_config},
            "Wav2Vec2BertConfig, not a HubertConfig",
        ),
        (
            {"downsampling_ratios": [4, 4, 4, 4]},
            "a frame every 320 samples, and the acoustic encoder every 256",
        ),
        ({"hidden_size": 100, "num_attention_heads": 2}, "hidden_size is 100"),
    ],
)
def test_a_configuration_that_is_no_codec_is_refused(change, says):
    with pytest.raises(CheckpointError, match=says):
        DistillNeuCodec(DistillNeuCodecConfig(**change))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"downsampling_ratios": [4, 5]}, "equally long, not 4, 4 and 2"),
        ({"encoder_num_layers": [5]}, "two numbers"),
        ({"trend_pool_sizes": [1, 4]}, "must be odd"),
    ],
)
def test_a_configuration_file_that_contradicts_itself(distilled, tmp_path, change, says):
    distilled.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError, match=says):
        NeuCodec.from_pretrained(tmp_path)


UPSTREAM = {"codec_encoder.x": torch.zeros(1), "semantic_model.x": torch.zeros(1)}


@pytest.mark.parametrize("config", [None, '{"sample_rate": 24000, "hop_length": 480}'])
def test_upstreams_checkpoint_cut_short(tmp_path, config):
    """Also beside the configuration that upstream's hub mixin would write, the arguments of its constructor."""
    torch.save(UPSTREAM, tmp_path / "pytorch_model.bin")
    if config:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(
        CheckpointError, match=r"layout of neucodec 0\.0\.6, but lacks codec_encoder\.en_encoder"
    ):
        NeuCodec.from_pretrained(tmp_path)


def test_the_semantic_encoder_is_looked_for_where_upstream_takes_it_from(tmp_path):
    torch.save({"codec_encoder.x": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot get 'ntu-spml/distilhubert'"):
        NeuCodec.from_pretrained(tmp_path, local_files_only=True)
