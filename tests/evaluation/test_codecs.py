"""Codecs by name against the models themselves, called by hand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from neucodec_tts import NeuCodec
from neucodec_tts.audio import as_waveform
from neucodec_tts.errors import AudioError, CheckpointError
from neucodec_tts.evaluation.codecs import AudioCodec, TransformersCodec, codec_names, load_codec
from tests.assets import ASSETS

with_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


def recording(codec: AudioCodec) -> torch.Tensor:
    return as_waveform(ASSETS / "demo.flac", target_rate=codec.input_sample_rate)[
        : 2 * codec.input_sample_rate + 123
    ]


def test_ours(folders: dict[str, Path]):
    for name, rate in (
        ("neucodec", 24_000),
        ("neucodec-44k", 44_100),
        ("xcodec2", 16_000),
        ("distill-neucodec", 24_000),
    ):
        codec, model = load_codec(str(folders[name]), "cpu"), NeuCodec.from_pretrained(folders[name])
        assert (codec.input_sample_rate, codec.output_sample_rate, codec.frame_rate) == (16_000, rate, 50)
        assert codec.codebooks == (65_536,)
        assert codec.parameters == sum(each.numel() for each in model.parameters())
        codes = codec.encode(recording(codec))
        assert torch.equal(codes[0], model.encode(recording(codec), 16_000))
        assert torch.equal(codec.decode(codes), model.decode(codes[0]))
        assert codec.bits(codes) == 16 * codes.shape[1]


@pytest.mark.parametrize(
    ("name", "rate", "frames", "books"),
    [
        ("dac", 16_000, 50.0, (1024,) * 8),
        ("mimi", 24_000, 12.5, (64,) * 8),
        ("encodec", 24_000, 75.0, (64,) * 32),
    ],
)
def test_those_of_transformers(
    folders: dict[str, Path], name: str, rate: int, frames: float, books: tuple[int, ...]
):
    codec, model = load_codec(str(folders[name]), "cpu"), AutoModel.from_pretrained(folders[name]).eval()
    assert isinstance(codec, TransformersCodec)
    assert codec.input_sample_rate == codec.output_sample_rate == rate
    wave = recording(codec)
    codes = codec.encode(wave)
    if name == "dac":
        assert codec.frame_rate == 16_000 / model.config.hop_length
    else:
        assert codec.frame_rate == frames
    if name != "encodec":
        assert codec.codebooks == books
    assert codes.shape[0] == len(codec.codebooks)
    assert codec.frame_rate is not None
    assert codes.shape[1] == pytest.approx(wave.numel() / rate * codec.frame_rate, abs=1)
    assert len(codes.unique()) > 4, "or else equal codes would say nothing"
    padded = torch.nn.functional.pad(wave, (0, -wave.numel() % codec._hop))[None, None]
    with torch.no_grad():
        if name == "dac":
            theirs = model(padded, n_quantizers=8)
            assert torch.equal(codes, theirs.audio_codes[0])
            expected = theirs.audio_values[0]
        elif name == "mimi":
            theirs = model(padded, num_quantizers=8)
            assert torch.equal(codes, theirs.audio_codes[0])
            expected = theirs.audio_values[0, 0]
        else:
            theirs = model(padded, bandwidth=codec._bandwidths[len(codec.codebooks)])
            assert torch.equal(codes, theirs.audio_codes[0, 0])
            expected = theirs.audio_values[0, 0]
    decoded = codec.decode(codes)
    length = min(decoded.numel(), expected.numel())
    assert abs(decoded.numel() - wave.numel()) <= 2 * codec._hop
    torch.testing.assert_close(decoded[:length], expected[:length], atol=1e-4, rtol=1e-3)


def test_a_number_of_quantizers(folders: dict[str, Path]):
    for name in ("dac", "mimi"):
        codec = load_codec(f"{folders[name]}@3", "cpu")
        codes = codec.encode(recording(codec))
        assert codec.codebooks == (codec.codebooks[0],) * 3
        assert codes.shape[0] == 3
        assert codec.decode(codes).numel() > 0
        with pytest.raises(CheckpointError, match="has no 99 quantizers"):
            load_codec(f"{folders[name]}@99", "cpu")
        with pytest.raises(CheckpointError, match="number of quantizers"):
            load_codec(f"{folders[name]}@6k", "cpu")
    with pytest.raises(CheckpointError, match="takes no setting"):
        load_codec("tiny@2")


@with_ffmpeg
@pytest.mark.parametrize("rate", ["6k", "24k"])
def test_opus(rate: str):
    codec = load_codec(f"opus@{rate}")
    wave = as_waveform(ASSETS / "demo.flac", target_rate=48_000)
    codes = codec.encode(wave)
    seconds = wave.numel() / 48_000
    assert codec.bits(codes) / seconds == pytest.approx(1000 * int(rate[:-1]), rel=0.35)
    assert codec.bits(codes) < 8 * codes.numel(), "pages of Ogg are not counted"
    decoded = codec.decode(codes)
    assert decoded.numel() == pytest.approx(wave.numel(), abs=48_000 // 50)
    length = min(decoded.numel(), wave.numel())
    # Not delayed: the likeness is the best where nothing is shifted.
    shifts = [*range(-480, 481, 48)]
    likeness = {s: float(decoded[480 + s : length - 480 + s] @ wave[480 : length - 480]) for s in shifts}
    best = max(shifts, key=lambda shift: likeness[shift])
    assert abs(best) <= 48


@with_ffmpeg
def test_codec2_or_why_not():
    listed = subprocess.run(
        ["ffmpeg", "-nostdin", "-hide_banner", "-encoders"], capture_output=True, text=True
    )
    if "libcodec2" not in listed.stdout:
        with pytest.raises(AudioError, match=r"ffmpeg: .*ncoder"):
            load_codec("codec2@1200")
        return
    codec = load_codec("codec2@1200")
    wave = recording(codec)
    codes = codec.encode(wave)
    assert codec.bits(codes) / (wave.numel() / 8_000) == pytest.approx(1200, rel=0.05)
    assert codec.decode(codes).numel() == pytest.approx(wave.numel(), abs=800)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("neucodc", "known are tiny, neucodec, distill-neucodec"),
        ("", "known are"),
        ("opus@", "no setting behind the @"),
        ("opus@5k", "from 6k to 256k"),
        ("opus@fast", "from 6k to 256k"),
        ("codec2@9600", "one of 3200"),
        ("nobody/nothing", "offline mode is on"),
        ("dac", "offline mode is on"),
        ("neucodec-44k", "offline mode is on"),
    ],
)
def test_names_that_are_none(name: str, says: str):
    with pytest.raises(CheckpointError, match=says):
        load_codec(name)


def test_a_folder_of_something_else(tmp_path: Path):
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="not readable"):
        load_codec(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="'bert'"):
        load_codec(str(tmp_path))


def test_others_come_by_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "other_codec.py").write_text("def load(setting, device):\n    return (setting, device)\n")
    about = tmp_path / "other_codec-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: other-codec\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[neucodec_tts.codecs]\nother = other_codec:load\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "other" in codec_names()
    made: object = load_codec("other@5", "cpu")
    assert made == ("5", "cpu")
