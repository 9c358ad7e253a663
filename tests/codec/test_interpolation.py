"""Codes at 25 and 12.5 a second."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from neucodec_tts import CheckpointError, CodesError, NeuCodec
from neucodec_tts.codec.frames import Frames
from neucodec_tts.codec.interpolation import LowRateCodec, TokenInterpolator
from tests.parity.comparisons import MIN_SNR, snr
from tests.parity.ours import random_codec
from tests.parity.signals import speechlike
from tests.parity.sizes import small_config

# Upstream's blocks in the order that the fork's README gives: repeat, tell the places apart, transformer, norm.
UPSTREAM = """
import sys
import torch
from torch import nn
from torchtune.modules import RotaryPositionalEmbeddings
from neucodec.bs_roformer5 import TransformerBlock
torch.manual_seed(0)
for factor, path in ((2, sys.argv[1]), (4, sys.argv[2])):
    net = nn.Module()
    net.sub_pos_embed = nn.Embedding(factor, 128)
    rotary = RotaryPositionalEmbeddings(dim=64)
    net.transformer = nn.Sequential(*[TransformerBlock(dim=128, n_heads=2, rotary_embed=rotary) for _ in range(3)])
    net.norm = nn.LayerNorm(128)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, 9, 128)
    repeated = x.repeat_interleave(factor, 1) + net.sub_pos_embed(torch.arange(factor).repeat(9))
    with torch.no_grad():
        y = net.norm(net.transformer(repeated))
    torch.save(net.state_dict(), path)
    torch.save({"x": x, "y": y}, path + ".answer")
"""


def fork_weights(factor: int, size: int = 128, depth: int = 2) -> dict[str, torch.Tensor]:
    """Random ones, under the fork's names."""
    random = torch.Generator().manual_seed(factor)
    shapes = {"sub_pos_embed.weight": (factor, size), "norm.weight": (size,), "norm.bias": (size,)}
    for layer in range(depth):
        block = f"transformer.{layer}."
        shapes |= {block + "att.c_attn.weight": (3 * size, size), block + "att.c_proj.weight": (size, size)}
        shapes |= {block + "mlp.fc1.weight": (4 * size, size), block + "mlp.fc2.weight": (size, 4 * size)}
        shapes |= {block + "att_norm.weight": (size,), block + "ffn_norm.weight": (size,)}
    return {name: torch.randn(shape, generator=random) * 0.2 for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def codec() -> NeuCodec:
    return random_codec(small_config(44_100, 4))


@pytest.fixture(scope="module")
def low(codec: NeuCodec, tmp_path_factory: pytest.TempPathFactory) -> LowRateCodec:
    folder = tmp_path_factory.mktemp("low")
    codec.save_pretrained(folder / "codec")
    torch.save(fork_weights(2), folder / "interp_25tps.pt")
    return LowRateCodec.from_pretrained(folder / "codec", folder / "interp_25tps.pt", device="cpu")


@pytest.mark.upstream
def test_the_network_is_the_fork_s(upstream_python: Path, tmp_path: Path):
    files = [tmp_path / "2.pt", tmp_path / "4.pt"]
    subprocess.run([upstream_python, "-c", UPSTREAM, *files], check=True)
    for file in files:
        answer = torch.load(f"{file}.answer")
        ours = TokenInterpolator.from_pretrained(file)
        assert (ours.factor, len(ours.layers)) == (int(file.stem), 3)
        frames = Frames.of(None, 9 * ours.factor)
        torch.testing.assert_close(ours(answer["x"], frames), answer["y"], atol=1e-4, rtol=1e-4)


def test_rates(low: LowRateCodec, codec: NeuCodec):
    assert (low.frame_rate, low.input_sample_rate, low.output_sample_rate) == (25, 16_000, 44_100)
    assert low.output_hop_length == 2 * 882
    assert low.codec_id == f"{codec.codec_id}@25"
    assert LowRateCodec(codec, TokenInterpolator(128, 4, 1)).frame_rate == 12.5


def test_every_second_code_stays(low: LowRateCodec, codec: NeuCodec):
    waves = [speechlike(16_123, seed=1), speechlike(9_000, seed=2)]
    for few, all_of_them in zip(low.encode(waves, 16_000), codec.encode(waves, 16_000), strict=True):
        assert torch.equal(few, all_of_them[::2])
    assert torch.equal(low.encode(waves[0], 16_000), low.encode(waves, 16_000)[0])


def test_decoding_is_the_three_parts_in_a_row(low: LowRateCodec):
    codes = torch.arange(11) * 523
    inner = low.codec
    sound = low.decode(codes)
    with torch.no_grad():
        vectors = inner.acoustic_decoder.fc(inner.quantizer.lookup(codes[None]))
        filled = low.interpolator(vectors, Frames.of(None, 22))
        identity = type("Identity", (), {"factor": 1, "__call__": lambda self, x, frames: filled})()
        expected = inner.acoustic_decoder(
            inner.quantizer.lookup(torch.zeros(1, 22, dtype=torch.long)), None, identity
        )
    assert sound.shape == (11 * 1764,)
    torch.testing.assert_close(sound, expected[0], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(filled[:, 0], filled[:, 1]), "what is filled in is not a repetition"


def test_items_of_a_batch_do_not_see_each_other(low: LowRateCodec):
    items = [torch.arange(n) * 311 for n in (3, 20, 7)]
    for item, together in zip(items, low.decode(items, max_batch_seconds=60), strict=True):
        assert snr(low.decode(item), together) >= MIN_SNR


def test_safetensors_and_other_interpolators(tmp_path: Path, codec: NeuCodec):
    save_file(fork_weights(4), tmp_path / "interp.safetensors")
    assert TokenInterpolator.from_pretrained(tmp_path / "interp.safetensors").factor == 4

    class Repeat:
        factor = 3

        def __call__(self, x: torch.Tensor, frames: Frames) -> torch.Tensor:
            return x.repeat_interleave(3, dim=1)

    sound = LowRateCodec(codec, Repeat()).decode([5, 900])
    assert snr(codec.decode([5, 5, 5, 900, 900, 900]), sound) >= MIN_SNR


def test_files_that_are_none(tmp_path: Path, codec: NeuCodec):
    with pytest.raises(CheckpointError, match="there is no file"):
        TokenInterpolator.from_pretrained(tmp_path / "missing.pt")
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="holds no interpolator"):
        TokenInterpolator.from_pretrained(tmp_path / "other.pt")
    weights = fork_weights(2)
    del weights["transformer.1.mlp.fc2.weight"]
    torch.save(weights, tmp_path / "part.pt")
    with pytest.raises(CheckpointError, match=r"1 missing: layers\.1\.mlp\.fc2\.weight"):
        TokenInterpolator.from_pretrained(tmp_path / "part.pt")
    codec.save_pretrained(tmp_path / "codec")
    torch.save(fork_weights(2, size=192), tmp_path / "wide.pt")
    with pytest.raises(CheckpointError, match=r"vectors of 192 values, and the decoder of .* has 128"):
        LowRateCodec.from_pretrained(tmp_path / "codec", tmp_path / "wide.pt")


def test_codes_that_it_does_not_decode(low: LowRateCodec):
    with pytest.raises(CodesError, match="item 1: code 70000"):
        low.decode([[1], [70_000]])
    with pytest.raises(CodesError, match="are more than the 600 s"):
        low.decode(torch.zeros(15_001, dtype=torch.long))
