"""Code that was written for `neucodec` runs with one import changed: upstream's own tests, and the package `neutts`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from neucodec_tts import (
    CheckpointError,
    CodesError,
    DeviceError,
    DistillNeuCodec,
    NeuCodec,
    NeuCodecOnnxDecoder,
    SpeechVocabulary,
)
from neucodec_tts.audio import as_waveform
from tests.assets import DEMO
from tests.parity.comparisons import MIN_SNR, snr
from tests.parity.ours import random_codec
from tests.parity.signals import speechlike
from tests.parity.sizes import small_config, small_distilled_config
from tests.prompts import neutts_package
from tests.tokens.small_tokenizers import qwen_like, tiny_qwen

CLONE = os.environ.get("NEUCODEC_TTS_UPSTREAM_CLONE", "")
"""A clone of github.com/neuphonic/neucodec, whose tests are in no release."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny` as ONNX files."""
    pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from neucodec_tts.codec.onnx.export import export

    folder = tmp_path_factory.mktemp("exported")
    export(NeuCodec.from_pretrained("tiny", device="cpu"), folder)
    return folder


@pytest.fixture
def recording(tmp_path: Path) -> str:
    """The demo at half its level: upstream's bounds are for a quieter one, and `tiny` keeps no phases."""
    samples, rate = soundfile.read(DEMO, dtype="float32")
    soundfile.write(tmp_path / "quieter.wav", samples / 2, rate)
    return str(tmp_path / "quieter.wav")


# The package neutts, whose import of `neucodec` finds ours.

NEUTTS = """
import json, sys
package, folders, backbone, recording = sys.argv[1:]
folders = json.loads(folders)
sys.path.insert(0, package)
import numpy, torch
import neucodec_tts
sys.modules["neucodec"] = neucodec_tts
load = neucodec_tts.NeuCodec.from_pretrained.__func__
for kind in (neucodec_tts.NeuCodec, neucodec_tts.DistillNeuCodec):  # what it asks of the hub lies in a folder
    kind.from_pretrained = classmethod(lambda cls, model: load(cls, folders[model]))
from neutts import neutts
neutts._load_watermarker = lambda: None  # a mark would change the sound
answers = {}
for name in folders:
    speaker = neutts.NeuTTS.__new__(neutts.NeuTTS)  # its __init__ loads a language model
    speaker._is_onnx_codec = False
    speaker._load_codec(name, "cpu")
    codes = speaker.encode_reference(recording)
    sound = speaker._decode("".join(f"<|speech_{code}|>" for code in codes))
    answers[name] = {"codes": codes.tolist(), "sound": sound.tolist(), "dtype": str(sound.dtype)}
onnx = sys.stdin.read()
if onnx:
    speaker = neutts.NeuTTS(backbone, codec_repo=onnx, language="en-us", seed=1)
    said = []
    def infer(prompt, *args):
        speaker.max_context = len(prompt) + 60  # a random model does not stop by itself
        said.append(type(speaker)._infer_torch(speaker, prompt, *args))
        return said[-1]
    speaker._infer_torch = infer
    sound = speaker.infer("They are all gone.", torch.arange(50), "I am still here.")
    answers["whole"] = {"said": said[0], "sound": sound.tolist(), "dtype": str(sound.dtype)}
print("\\n" + json.dumps(answers))
"""


def save_backbone(folder: Path) -> None:
    """A random language model with the tokens of NeuTTS for the 16,384 codes of `tiny`."""
    tokenizer = qwen_like()
    torch.manual_seed(0)
    model = tiny_qwen(len(tokenizer))
    SpeechVocabulary.extend(tokenizer, model, codebook_size=16_384, init="random", format="neutts")
    tokenizer.add_tokens(["<|TEXT_REPLACE|>", "<|SPEECH_REPLACE|>"])  # by which it finds its places
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def run_neutts(folders: dict[str, str], backbone: Path, recording: Path, onnx: str) -> dict[str, Any]:
    """Run the script above, and return its answers."""
    arguments = [neutts_package.fetch(), json.dumps(folders), backbone, recording]
    done = subprocess.run(
        [sys.executable, "-c", NEUTTS, *map(str, arguments)],
        input=onnx,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.mark.upstream
def test_neutts_encodes_and_decodes_with_ours(tmp_path: Path):
    pytest.importorskip("librosa", reason="neutts reads recordings with it")
    configs = {
        "neuphonic/neucodec": small_config(),
        "neuphonic/distill-neucodec": small_distilled_config(),
    }
    folders = {name: str(tmp_path / name) for name in configs}
    for name, config in configs.items():
        random_codec(config).save_pretrained(folders[name])
    wave = speechlike(24_123, seed=1)
    soundfile.write(tmp_path / "voice.wav", wave, 16_000, subtype="FLOAT")
    answers = run_neutts(folders, tmp_path, tmp_path / "voice.wav", "")
    for name, folder in folders.items():
        codec = NeuCodec.from_pretrained(folder, device="cpu")
        codes = answers[name]["codes"]
        assert codes == codec.encode(wave, 16_000).tolist()
        assert answers[name]["dtype"] == "float32"
        sound = np.array(answers[name]["sound"], np.float32)
        np.testing.assert_allclose(sound, codec.decode(codes).numpy(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.upstream
def test_neutts_speaks_with_our_decoder(exported: Path, tmp_path: Path):
    """From the text to the sound, by its constructor and `infer`."""
    pytest.importorskip("librosa", reason="neutts imports it")
    pytest.importorskip("phonemizer", reason="neutts writes phones with it")
    save_backbone(tmp_path / "backbone")
    whole = run_neutts({}, tmp_path / "backbone", tmp_path, str(exported / "model.onnx"))["whole"]
    codes = [int(part.partition("|>")[0]) for part in whole["said"].split("<|speech_")[1:]]
    assert len(codes) > 30
    assert whole["dtype"] == "float32"
    expected = NeuCodec.from_pretrained("tiny", device="cpu").decode(codes)
    assert snr(expected, torch.tensor(whole["sound"])) >= MIN_SNR


# The class for ONNX decoders.


def test_the_decoder_for_onnx(exported: Path):
    codec, decoder = (
        NeuCodec.from_pretrained("tiny", device="cpu"),
        NeuCodecOnnxDecoder(exported / "model.onnx"),
    )
    codes = np.random.default_rng(0).integers(0, 16_384, (2, 1, 30))
    sound = decoder.decode_code(codes)
    assert (sound.shape, decoder.sample_rate) == ((2, 1, 14_400), 24_000)
    assert sound.dtype == np.float32
    assert snr(codec.decode_code(torch.from_numpy(codes)), torch.from_numpy(sound)) >= MIN_SNR
    for kind in (np.int32, np.uint16):
        np.testing.assert_array_equal(decoder.decode_code(codes.astype(kind)), sound)
    again = NeuCodecOnnxDecoder.from_pretrained(exported).decode_code(codes)
    np.testing.assert_array_equal(again, sound)
    assert [each.name for each in decoder.session.get_inputs()] == ["codes"]
    with pytest.raises(NotImplementedError, match="decoder alone"):
        decoder.encode_code(torch.zeros(1, 1, 16_000))


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        ([[[1, 2]]], "array of integers"),
        (torch.zeros(1, 1, 2, dtype=torch.int32), "array of integers"),
        (np.zeros((1, 1, 2)), "array of integers"),
        (np.zeros(2, int), r"\(B, 1, frames\)"),
        (np.zeros((1, 2, 2), int), r"\(B, 1, frames\)"),
        (np.zeros((1, 1, 0), int), "at least one"),
        (np.full((1, 1, 2), 16_384), "0 to 16383"),
        (np.full((1, 1, 2), -1), "0 to 16383"),
    ],
)
def test_codes_that_it_does_not_take(exported: Path, codes: Any, says: str):
    with pytest.raises(CodesError, match=says):
        NeuCodecOnnxDecoder(exported / "model.onnx").decode_code(codes)


def test_decoders_that_are_none(exported: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match="there is no file"):
        NeuCodecOnnxDecoder(tmp_path / "model.onnx")
    with pytest.raises(CheckpointError, match=r"has no model\.onnx"):
        NeuCodecOnnxDecoder.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="offline mode"):
        NeuCodecOnnxDecoder.from_pretrained("neuphonic/neucodec-onnx-decoder", local_files_only=True)
    with pytest.raises(CheckpointError, match="another kind of model"):
        NeuCodecOnnxDecoder(exported / "encoder.onnx")
    with pytest.raises(DeviceError, match="on the CPU"):
        NeuCodecOnnxDecoder.from_pretrained(exported, map_location="cuda")


# What upstream's tests ask, in our words: the calls are theirs, and so are the bounds.


def upstreams_errors(codec: NeuCodec, decoder: Any, recording: str) -> tuple[float, float]:
    """Check shapes; return mean squared errors of sound to recording, and of ``decoder`` to the sound."""
    given = as_waveform(recording, target_rate=16_000)[None, None]
    waves = codec._prepare_audio(given)
    assert 0 < waves.shape[2] - given.shape[2] <= 320
    assert waves.shape[2] % 320 == 0
    assert torch.equal(waves, codec._prepare_audio(recording))
    with torch.inference_mode():
        codes = codec.encode_code(given)
        assert torch.equal(codes, codec.encode_code(recording))
        sound = codec.decode_code(codes)
    from torchaudio.transforms import Resample

    again = Resample(codec.sample_rate, 16_000)(sound)
    length = min(again.shape[2], waves.shape[2])
    of_codec = torch.nn.functional.mse_loss(again[..., :length], waves[..., :length])
    if decoder is None:
        return float(of_codec), 0.0
    compiled = torch.from_numpy(decoder.decode_code(codes.numpy()))
    return float(of_codec), float(torch.nn.functional.mse_loss(compiled, sound))


def test_what_upstreams_tests_ask(exported: Path, recording: str):
    tiny = NeuCodec.from_pretrained("tiny", map_location="cpu")
    errors = upstreams_errors(tiny, NeuCodecOnnxDecoder.from_pretrained(exported), recording)
    assert errors[0] < 0.02
    assert errors[1] < 0.03


@pytest.mark.hub
def test_what_upstreams_tests_ask_with_published_weights(recording: str):
    decoder = NeuCodecOnnxDecoder.from_pretrained("neuphonic/neucodec-onnx-decoder")
    errors = upstreams_errors(NeuCodec.from_pretrained("neuphonic/neucodec"), decoder, recording)
    assert errors[0] < 0.02
    assert errors[1] < 0.03
    distilled = DistillNeuCodec.from_pretrained("neuphonic/distill-neucodec")
    assert upstreams_errors(distilled, None, recording)[0] < 0.02


CONFTEST = """
import os
import librosa, soundfile, torch, torchaudio
import neucodec_tts

def read(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate

torchaudio.load = read  # which hands files to torchcodec, and that has no build for a torch without CUDA
folders = {folders!r}
if folders:
    librosa.ex = lambda name: {recording!r}
    kinds = (neucodec_tts.NeuCodec, neucodec_tts.DistillNeuCodec, neucodec_tts.NeuCodecOnnxDecoder)
    for kind, load in [(kind, kind.from_pretrained.__func__) for kind in kinds]:
        kind.from_pretrained = classmethod(lambda cls, name, load=load: load(cls, folders[name]))
"""


def run_upstreams_tests(folder: Path, folders: dict[str, str], recording: str = "") -> str:
    """Run the file of a clone beside a package `neucodec` that is ours; returns what pytest says.

    Args:
        folder: to work in.
        folders: hub id to the folder that is loaded in its place; empty to ask the hub.
        recording: in place of the one that they download, where folders are given.
    """
    package = folder / "upstream"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "tests" / "__init__.py").touch()
    (package / "neucodec.py").write_text("from neucodec_tts import *\n")
    source = Path(CLONE) / "tests" / "test_models.py"
    (package / "tests" / "test_models.py").write_bytes(source.read_bytes())
    (package / "conftest.py").write_text(CONFTEST.format(folders=folders, recording=recording))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", package, package],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


with_clone = pytest.mark.skipif(not CLONE, reason="set NEUCODEC_TTS_UPSTREAM_CLONE to a clone of neucodec")


@with_clone
@pytest.mark.slow
@pytest.mark.upstream
def test_upstreams_own_tests(exported: Path, recording: str, tmp_path: Path):
    pytest.importorskip("librosa", reason="upstream's tests read recordings with it")
    quiet = random_codec(small_distilled_config())
    with torch.no_grad():  # random weights do not sound like the recording, and must not be louder than it
        quiet.acoustic_decoder.head.linear.bias.sub_(3)
    quiet.save_pretrained(tmp_path / "distilled")
    folders = {
        "neuphonic/neucodec": "tiny",
        "neuphonic/distill-neucodec": str(tmp_path / "distilled"),
        "neuphonic/neucodec-onnx-decoder": str(exported),
    }
    assert "5 passed" in run_upstreams_tests(tmp_path, folders, recording)


@with_clone
@pytest.mark.hub
def test_upstreams_own_tests_with_published_weights(tmp_path: Path):
    assert "5 passed" in run_upstreams_tests(tmp_path, {})
