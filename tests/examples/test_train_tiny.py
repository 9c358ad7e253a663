"""The recipe of `tiny`, on a few seconds of made-up speech."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import wave
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from neucodec_tts import NeuCodec
from neucodec_tts.audio.resampling import resample

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "train_tiny"


def voice(seconds: float, pitch: float, random: np.random.Generator) -> np.ndarray:
    """Something with harmonics, syllables and pauses, int16 (n,) at 16 kHz."""
    time_ = np.arange(int(seconds * 16_000)) / 16_000
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time_))) / 16_000
    tone = sum(np.sin(phase * k) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time_ + random.uniform(0, 6)), 0, 1)
    return (3000 * (tone * syllables + 0.02 * random.standard_normal(len(time_)))).astype(np.int16)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `fetch_speech.py` leaves it, with two speakers to learn and one to be tested on."""
    folder = tmp_path_factory.mktemp("speech")
    random = np.random.default_rng(0)
    clips, rows, position = [], [], 0
    for split, speaker, pitch, count in (
        ("test", "c", 150, 1),
        ("train", "a", 110, 3),
        ("train", "flite-b", 210, 3),
        ("validation", "a", 110, 1),
    ):
        for number in range(count):
            samples = voice(2.5, pitch, random)
            rows.append(
                {
                    "split": split,
                    "speaker": speaker,
                    "name": f"{number}",
                    "start": position,
                    "samples": len(samples),
                }
            )
            clips.append(samples)
            position += len(samples)
    np.save(folder / "speech.npy", np.concatenate(clips))
    (folder / "manifest.json").write_text(json.dumps({"sample_rate": 16_000, "sources": [], "clips": rows}))
    return folder


def command(speech: Path, out: Path, *options: str) -> list[str]:
    return [
        *(
            sys.executable,
            str(RECIPE / "train.py"),
            "--speech",
            str(speech),
            "--out",
            str(out),
            "--device",
            "cpu",
        ),
        *("--batch-seconds", "4", "--threads", "1", "--log-every", "0", "--save-every", "0", *options),
    ]


def test_killed_training_goes_on_and_writes_a_codec(speech: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(command(speech, out, "--processes", "1"), stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 400
        while not (out / "state.pt").exists():
            assert process.poll() is None, "training ended by itself"
            assert time.monotonic() < deadline, "no state was saved"
            time.sleep(0.05)
        process.kill()
    reached = torch.load(out / "state.pt", weights_only=True)["steps"]
    assert reached >= 1

    # In a process of its own: training takes over its signals and flushes its subnormal floats to zero.
    more = command(speech, out, "--processes", "1", "--steps", str(reached + 2))
    said = subprocess.run(more, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert f"from step {reached}," in said
    assert f"done: {reached + 2} steps" in said
    assert "unknown speaker: STOI" in said

    codec = NeuCodec.from_pretrained(out / "checkpoint")
    assert codec.codebook_size == 65_536
    assert (out / "checkpoint" / "model.safetensors").stat().st_size <= 10_000_000
    codes = codec.encode(voice(2.0, 180, np.random.default_rng(1)).astype(np.float32) / 32_768, 16_000)
    assert len(codes.unique()) > len(codes) / 2, "a new codec's codes are spread over the codebook"
    audio = codec.decode(codes)
    assert audio.shape == (480 * len(codes),)
    assert audio.abs().max() > 1e-3


def test_two_processes_stop_together_with_their_state_saved(speech: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--processes", "2", "--save-every", "3600")
    with subprocess.Popen(command(speech, out, *options), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line.startswith("step") for line in process.stdout)  # has begun
        process.terminate()
        said = process.stdout.read()
        assert process.wait(120) == 0
    assert "stopped at step" in said
    assert torch.load(out / "state.pt", weights_only=True)["steps"] >= 1


def test_resumed_run_equals_an_unbroken_one(recipe, speech: Path, tmp_path: Path) -> None:
    train = recipe("train")

    def trainer(name: str):
        (tmp_path / name).mkdir(exist_ok=True)
        rest = command(speech, tmp_path / name, "--processes", "1", "--minutes", "1e9", "--steps", "4")[2:]
        return train.Trainer(train.options(rest), 0)

    whole = trainer("whole")
    for _ in range(4):
        whole.step()
    broken = trainer("broken")
    for _ in range(2):
        broken.step()
    broken.save()
    resumed = trainer("broken")
    assert resumed.steps == 2
    for _ in range(2):
        resumed.step()
    for ours, theirs in zip(resumed.codec.parameters(), whole.codec.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_smaller_codebook_starts_near_the_old_one(recipe) -> None:
    tiny = recipe("tiny")
    torch.manual_seed(0)
    codec = NeuCodec(tiny.tiny_config()).eval()
    waveform = torch.from_numpy(voice(6.0, 130, np.random.default_rng(0))).float()[None] / 32_768
    tiny.initialise(codec, waveform)
    smaller = tiny.requantized(codec, [4, 4, 4, 4, 4, 4]).eval()
    assert smaller.codebook_size == 4096
    assert smaller.codec_id != codec.codec_id
    with torch.no_grad():
        latents, _ = codec.encode_latents(waveform, tiny.full_lengths(waveform))
        before, _ = codec.quantizer(latents)
        after, codes = smaller.quantizer(latents)
        same, _ = tiny.requantized(codec, [4] * 8).quantizer(latents)
    assert len(codes.unique()) > codes.numel() / 2

    def error(ours: torch.Tensor) -> float:
        return float((ours - before).square().sum() / (before - before.mean(dim=1)).square().sum())

    assert error(after) < 0.6, "six of eight dimensions, and the best, keep most of what is said"
    assert error(same) < 0.4
    with pytest.raises(SystemExit, match="the checkpoint has but 6 dimensions"):
        tiny.requantized(smaller, [4] * 8)


@pytest.mark.parametrize(
    ("frozen", "levels", "options", "learning"),
    [
        (
            "acoustic",
            "4,4,4,4,4,4",
            ("--bf16", "--steady", "0.5"),
            {"semantic_encoder", "semantic_adapter", "fc_encoder", "quantizer", "acoustic_decoder"},
        ),
        ("encoders", "4,4,4,4,4,4", (), {"semantic_adapter", "fc_encoder", "quantizer", "acoustic_decoder"}),
        ("codes", "4,4,4,4,4,4,4,4", (), {"quantizer", "acoustic_decoder"}),
    ],
)
def test_training_goes_on_from_a_checkpoint(
    recipe,
    speech: Path,
    tmp_path: Path,
    frozen: str,
    levels: str,
    options: tuple[str, ...],
    learning: set[str],
) -> None:
    tiny, train = recipe("tiny"), recipe("train")
    torch.manual_seed(0)
    start = NeuCodec(tiny.tiny_config())
    start.save_pretrained(tmp_path / "start")
    more = ("--start", str(tmp_path / "start"), "--levels", levels, "--frozen", frozen, *options)
    rest = (*more, "--plain", str(speech), "--processes", "1", "--steps", "1")
    trainer = train.Trainer(train.options(command(speech, tmp_path, *rest)[2:]), 0)
    before = {name: value.clone() for name, value in trainer.codec.state_dict().items()}
    assert ("steady" in trainer.step()) == ("--steady" in options)
    changed = {name for name, value in trainer.codec.state_dict().items() if not value.equal(before[name])}
    assert {name.split(".")[0] for name in changed} == learning
    trainer.save()
    saved = NeuCodec.from_pretrained(tmp_path / "checkpoint")
    assert saved.codebook_size == 4 ** len(levels.split(","))
    wave = voice(1.0, 150, np.random.default_rng(0)).astype(np.float32) / 32_768
    same = saved.codec_id == start.codec_id
    assert same == (frozen == "codes"), "a codec has another id once its codes mean something else"
    if same:
        equal = saved.encode(wave, 16_000) == start.encode(wave, 16_000)  # saved in float16
        assert equal.float().mean() > 0.9


def test_plain_segments_are_the_recording_itself(recipe, speech: Path) -> None:
    data = recipe("speech_data")
    opened = data.Speech(speech)
    heard, wanted = data.Segments(opened, changed=False).batch(3, 60, np.random.default_rng(0))
    everything = torch.from_numpy(opened.samples[:].astype(np.float32) / 32_768)
    windows = everything.unfold(0, 100, 1)
    for segment in heard:
        loudest = int(segment[4000:-4000].abs().argmax()) + 3950
        assert float((windows - segment[loudest : loudest + 100]).abs().amax(dim=1).min()) < 2e-3
    assert wanted.shape == (3, 60 * 480)


def test_targets_are_the_same_sound_at_another_rate(recipe, speech: Path) -> None:
    data: ModuleType = recipe("speech_data")
    segments = data.Segments(data.Speech(speech))
    heard, wanted = segments.batch(4, 60, np.random.default_rng(0))
    assert heard.shape == (4, 60 * 320)
    assert wanted.shape == (4, 60 * 480)
    for a, b in zip(heard, wanted, strict=True):
        difference = (resample(b, 24_000, 16_000) - a)[400:-400]
        assert 10 * torch.log10(a.square().sum() / difference.square().sum()) > 30


def test_segments_come_from_the_training_split_alone(recipe, speech: Path) -> None:
    data = recipe("speech_data")
    opened = data.Speech(speech)
    opened.samples = opened.samples.copy()
    for clip in opened.clips:
        if clip.split != "train":
            opened.samples[clip.start : clip.start + clip.samples] = 0
    segments = data.Segments(opened)
    for seed in range(20):
        heard, _ = segments.batch(1, 60, np.random.default_rng(seed))
        loud = heard.abs().unfold(-1, 8000, 8000).amax(-1)
        assert (loud > 1e-3).all(), (
            "half a second of a segment is silent: it was drawn from a split to be tested on"
        )


def test_losses_prefer_what_they_should(recipe) -> None:
    losses = recipe("losses")
    random = np.random.default_rng(0)
    target = resample(torch.from_numpy(voice(1.5, 120, random).astype(np.float32) / 32_768), 16_000, 24_000)[
        None
    ]
    noise = torch.randn_like(target) * target.std()
    whole = losses.ReconstructionLoss()
    assert whole(target, target)[0] < 1e-3 < whole(target + 0.1 * noise, target)[0] < whole(noise, target)[0]
    envelope = losses.EnvelopeLoss()
    assert envelope(0.3 * target, target) < 0.02, "STOI does not hear loudness"
    assert envelope(target + 0.1 * noise, target) < envelope(target + noise, target)

    cepstral = losses.CepstralLoss()
    assert cepstral(target + 0.01 * noise, target) < cepstral(target + 0.1 * noise, target)
    # Of 16 coefficients the first alone hears loudness.
    louder = cepstral(2 * noise, noise).item()
    assert louder == pytest.approx(np.log(2) * (2 * 40) ** 0.5 / 16, rel=0.01)

    spread = losses.SpreadLoss()
    normal = torch.randn(500, 8) * 0.9 - 0.24
    assert spread(normal) < 0.1
    assert spread(3 * normal) > 1, "saturated levels"
    assert spread(normal[:, :1].expand(-1, 8)) > 1, "eight times the same digit"


def test_envelope_loss_follows_stoi(recipe) -> None:
    stoi = pytest.importorskip("pystoi").stoi
    losses = recipe("losses")
    random = np.random.default_rng(0)
    speech = torch.from_numpy(voice(3.0, 120, random).astype(np.float32) / 32_768)
    noise = torch.randn(len(speech)) * speech.std()
    ours, theirs = [], []
    for level in (0.05, 0.2, 0.5, 1.0, 3.0):
        noisy = speech + level * noise
        theirs.append(stoi(speech.numpy(), noisy.numpy(), 16_000))
        pair = (resample(x, 16_000, 24_000)[None] for x in (noisy, speech))
        ours.append(1 - float(losses.EnvelopeLoss()(*pair)))
    assert theirs == sorted(theirs, reverse=True)
    np.testing.assert_allclose(ours, theirs, atol=0.06)


def test_silence_is_trimmed_but_for_a_margin(recipe) -> None:
    fetch = recipe("fetch_speech")
    sound = (8000 * np.sin(np.arange(16_000) / 5)).astype(np.int16)
    silence = np.zeros(16_000, np.int16)
    trimmed = fetch.trim(np.concatenate([silence, sound, silence]))
    assert 16_000 + 2 * 1600 <= len(trimmed) <= 16_000 + 2 * 1600 + 640
    assert len(fetch.trim(silence)) == 0
    assert len(fetch.trim(silence[:10])) == 0


def test_splits_hold_out_speakers_prompts_and_the_demo(recipe) -> None:
    fetch = recipe("fetch_speech")
    by_speaker = {source.speaker: source for source in fetch.SOURCES}
    assert fetch.split_of(by_speaker["carlo-it"], "anything.g722") == "test"
    assert fetch.split_of(by_speaker["allison-en"], "sounds/tt-allbusy.g722") == "validation"
    assert all(source.split == "evaluation" for source in fetch.EVALUATION_SOURCES)
    assert not any("GPL" in source.licence for source in (*fetch.SOURCES, *fetch.VOICES))
    splits = [fetch.split_of(by_speaker["june-fr"], f"{number}.g722") for number in range(2000)]
    assert 0.02 < splits.count("validation") / 2000 < 0.04
    assert splits.count("train") + splits.count("validation") == 2000


def test_sources_that_left_a_package_are_named(recipe, tmp_path: Path) -> None:
    fetch = recipe("fetch_speech")
    (tmp_path / "some-package").mkdir()  # unpacked, but with nothing in it
    source = fetch.Source("x", "some-package", "**/*.wav", "none", "nobody")
    with fetch.ThreadPoolExecutor(1) as pool, pytest.raises(SystemExit, match=r"some-package has no files"):
        list(fetch.recordings(source, tmp_path, pool))


def test_recordings_are_decoded_in_order(recipe, tmp_path: Path) -> None:
    fetch = recipe("fetch_speech")
    if fetch.shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    paths = []
    for index in range(3):
        paths.append(tmp_path / f"{index}.wav")
        with wave.open(str(paths[-1]), "wb") as file:
            file.setparams((1, 2, 8_000, 0, "NONE", ""))
            file.writeframes(np.full(8_000 * (index + 1), 1000, np.int16).tobytes())
    decoded = fetch.decode(paths)
    assert [round(len(samples) / 16_000) for samples in decoded] == [1, 2, 3]
