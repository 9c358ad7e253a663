"""Every measure against its library, called by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neucodec_tts.audio import as_waveform
from neucodec_tts.errors import CheckpointError
from neucodec_tts.evaluation.listeners import Mistakes, load_recogniser, mistakes, plain_words
from neucodec_tts.evaluation.measuring import Measures
from neucodec_tts.metrics.scores import ScoreError, align
from tests.assets import ASSETS

CLOSE = 1e-3


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Three seconds at 16 kHz, and the same with noise at 24 kHz."""
    wave = as_waveform(ASSETS / "demo.flac", target_rate=16_000)[:48_000]
    other = as_waveform(ASSETS / "demo.flac", target_rate=24_000)[:72_000]
    return wave, other + 0.01 * torch.randn(72_000, generator=torch.Generator().manual_seed(0))


def test_quality_is_that_of_the_libraries(pair):
    import pystoi
    import torchaudio

    pesq = pytest.importorskip("pesq", reason="pesq needs a C compiler to install")

    found, missing = Measures(["pesq", "stoi", "si_sdr", "mel_mse"]).of(
        pair[0], 16_000, pair[1], 24_000, None
    )
    assert not missing
    x = pair[0].numpy()
    y = torchaudio.transforms.Resample(24_000, 16_000)(pair[1]).numpy()
    assert found["pesq"] == pytest.approx(pesq.pesq(16_000, x, y, "wb"), abs=CLOSE)
    assert found["stoi"] == pytest.approx(pystoi.stoi(x, y, 16_000), abs=CLOSE)
    a, b = x.astype(float) - x.mean(), y.astype(float) - y.mean()
    target = (a @ b) / (a @ a) * a
    assert found["si_sdr"] == pytest.approx(
        10 * np.log10((target @ target) / ((b - target) @ (b - target))), abs=CLOSE
    )
    mel = torchaudio.transforms.MelSpectrogram(
        16_000, 512, hop_length=160, n_mels=80, power=1, pad_mode="constant", mel_scale="htk"
    )
    logs = [mel(torch.from_numpy(each)).clamp(min=1e-5).log() for each in (x, y)]
    assert found["mel_mse"] == pytest.approx(float((logs[0] - logs[1]).square().mean()), abs=CLOSE)


def test_dnsmos_is_that_of_speechmos(pair):
    dnsmos = pytest.importorskip("speechmos.dnsmos", reason="needs the extra listeners")
    found, _ = Measures(["dnsmos"]).of(pair[0], 16_000, pair[1], 24_000, None)
    heard = align(pair[0], 16_000, pair[1], 24_000)[1]
    theirs = dnsmos.run(heard / max(1, np.abs(heard).max()), 16_000)
    assert found["dnsmos"] == pytest.approx(theirs["ovrl_mos"], abs=CLOSE)
    assert found["dnsmos_p808"] == pytest.approx(theirs["p808_mos"], abs=CLOSE)


def test_likeness_of_voices_is_that_of_resemblyzer(pair):
    resemblyzer = pytest.importorskip("resemblyzer", reason="needs the extra listeners")
    found, _ = Measures(["speaker"]).of(pair[0], 16_000, pair[1], 24_000, None)
    encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)
    embedded = []
    for sound in align(pair[0], 16_000, pair[1], 24_000):
        embedded.append(encoder.embed_utterance(sound * np.float32(0.0316 / np.sqrt(np.mean(sound**2)))))
    assert found["speaker"] == pytest.approx(float(embedded[0] @ embedded[1]), abs=CLOSE)
    same, _ = Measures(["speaker"]).of(pair[0], 16_000, pair[0], 16_000, None)
    assert same["speaker"] == pytest.approx(1, abs=CLOSE)


@pytest.mark.parametrize(
    ("said", "heard", "words", "characters"),
    [
        ("The cat sat.", "the cat sat", (0, 3), (0, 11)),
        ("The cat sat.", "", (3, 3), (11, 11)),
        ("The cat sat.", "the cat sat down", (1, 3), (5, 11)),
        ("It’s five!", "its five", (1, 2), (1, 9)),
        ("Ärger über_all", "ärger über all", (0, 3), (0, 14)),
    ],
)
def test_mistakes(said, heard, words, characters):
    import jiwer

    found = mistakes(said, heard)
    assert found == Mistakes(*words, *characters)
    plain = plain_words(said), plain_words(heard)
    assert found.word_errors / found.words == pytest.approx(jiwer.wer(*plain), abs=CLOSE)
    assert found.character_errors / found.characters == pytest.approx(jiwer.cer(*plain), abs=CLOSE)


def test_pocketsphinx_hears_words(pair):
    pytest.importorskip("pocketsphinx", reason="needs the extra listeners")
    found, _ = Measures(["wer"], "pocketsphinx").of(pair[0], 16_000, pair[0], 16_000, None)
    assert found["word_errors"] == 0, "what it hears in the original is the transcript"
    assert found["words"] > 3
    found, _ = Measures(["wer"], "pocketsphinx").of(pair[0], 16_000, pair[0], 16_000, "Nothing of this.")
    assert found["word_errors"] >= 3


def test_short_and_silent_recordings_are_named(pair):
    pytest.importorskip("pesq", reason="pesq needs a C compiler to install")
    measures = Measures(["pesq", "stoi", "si_sdr", "mel_mse"])
    found, missing = measures.of(pair[0][:1600], 16_000, pair[1][:2400], 24_000, None)
    assert set(missing) == {"pesq", "stoi"}
    assert "0.4 s" in missing["stoi"]
    assert set(found) == {"si_sdr", "mel_mse"}
    silence = torch.zeros(32_000)
    assert set(measures.of(silence, 16_000, silence, 16_000, None)[1]) == {"pesq", "stoi", "si_sdr"}


@pytest.mark.parametrize(
    ("names", "recogniser", "says"),
    [(["quality"], None, "known are pesq"), (["wer"], None, "need a recogniser")],
)
def test_what_cannot_be_measured_is_said_first(names, recogniser, says):
    with pytest.raises(ScoreError, match=says):
        Measures(names, recogniser)


def test_recognisers_that_are_none(tmp_path):
    for name in ("nobody/nothing", str(tmp_path), "./missing"):
        with pytest.raises(CheckpointError):
            load_recogniser(name)
