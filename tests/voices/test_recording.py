"""Advice about recordings: good ones pass in silence, and each fault has its own words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neucodec_tts import NeuCodec, SpeakerPrompt
from neucodec_tts.audio import load_audio
from neucodec_tts.errors import AudioError
from neucodec_tts.voices.recording import examine, judge_transcript

DEMO = Path(__file__).parents[2] / "neucodec_tts" / "assets" / "demo.flac"
RATE = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    samples, rate = load_audio(DEMO)
    assert rate == RATE
    return samples.astype(np.float64)


def kinds(samples: np.ndarray, sample_rate: int = RATE, **options) -> list[str]:
    return [advice.kind for advice in examine(samples, sample_rate, **options).advice]


def noise(count: int, level: float) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(count) * 10 ** (level / 20)


def low_passed(samples: np.ndarray, hertz: float) -> np.ndarray:
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / RATE) > hertz] = 0
    return np.fft.irfft(spectrum, len(samples))


def melody(count: int) -> np.ndarray:
    """A tune on something like a harpsichord, with a chord below it and gaps between the notes."""
    time = np.arange(count) / RATE
    note = 220 * 2 ** (np.floor(time * 3) % 7 / 12)
    tune = sum(np.sin(2 * np.pi * note * k * time) / k for k in range(1, 20)) * np.exp(-3 * ((time * 3) % 1))
    chord = sum(np.sin(2 * np.pi * f * time) for f in (220, 277, 330)) * 0.2
    return 0.1 * (tune + chord)


def test_a_good_recording(speech: np.ndarray):
    found = examine(speech, RATE)
    assert found.advice == ()
    assert 0 <= found.start < 0.3
    assert len(speech) / RATE - 0.3 < found.end <= len(speech) / RATE


@pytest.mark.parametrize("gain", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000])
def test_any_sensible_level_and_rate(speech: np.ndarray, gain: float, rate: int):
    time = np.arange(int(len(speech) * rate / RATE)) / rate
    resampled = np.interp(time, np.arange(len(speech)) / RATE, speech)
    assert kinds(resampled * gain, rate) == []


def test_quiet_around_the_speech_is_left_out(speech: np.ndarray):
    before, after = np.zeros(2 * RATE), noise(3 * RATE, -75)
    found = examine(np.concatenate([before, speech, after]), RATE)
    assert found.advice == ()
    plain = examine(speech, RATE)
    assert found.start == pytest.approx(2 + plain.start, abs=0.12)
    assert found.end == pytest.approx(2 + plain.end, abs=0.12)
    whole = examine(np.concatenate([before, speech, after]), RATE, trim=False)
    assert whole.start == 0
    assert whole.end == pytest.approx(5 + len(speech) / RATE)


def test_no_sample_of_speech_is_cut_off():
    """Speech that sets in at once, behind silence: 0.1 s of the quiet stays."""
    burst = noise(4 * RATE, -20)
    found = examine(np.concatenate([np.zeros(RATE), burst, np.zeros(RATE)]), RATE)
    assert found.start == pytest.approx(0.9, abs=0.03)
    assert found.end == pytest.approx(5.1, abs=0.03)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda x: x[: round(1.85 * RATE)], ["short"]),
        (lambda x: np.concatenate([x, x]), ["long"]),
        (lambda x: 0.05 * x, ["quiet"]),
        (lambda x: np.clip(6 * x / np.abs(x).max(), -1, 1), ["clipped"]),
        (lambda x: 0.4 * np.clip(6 * x / np.abs(x).max(), -1, 1), ["clipped"]),
        (lambda x: low_passed(x, 3500), ["telephone"]),
        (lambda x: x + noise(len(x), -30), ["noisy"]),
        (lambda x: x + melody(len(x)), ["noisy"]),
        (lambda x: noise(len(x), -20), ["steady"]),
        (lambda x: melody(len(x)), ["steady"]),
        (lambda x: np.concatenate([x[:RATE], np.zeros(5 * RATE), x[-2 * RATE :]]), ["gaps"]),
    ],
)
def test_each_fault_is_named(speech: np.ndarray, spoil, expected: list[str]):
    assert kinds(spoil(speech)) == expected


def test_a_telephone_s_sample_rate(speech: np.ndarray):
    assert kinds(low_passed(speech, 3500)[::2], 8000) == ["telephone"]


def test_advice_says_what_to_do(speech: np.ndarray):
    (quiet,) = examine(0.05 * speech, RATE).advice
    assert "record closer" in quiet.message
    assert "dB louder" in quiet.message


def test_cut_at_the_last_pause():
    """Three stretches of sound with pauses at 4.0 to 4.4 s and 9.0 to 9.4 s."""
    sound = noise(20 * RATE, -20)
    for start in (4.0, 9.0):
        sound[int(start * RATE) : int((start + 0.4) * RATE)] = 0
    found = examine(sound, RATE, cut_to=12)
    assert found.end == pytest.approx(9.2, abs=0.03)
    assert found.advice[0].kind == "cut"
    assert "9.2 s" in found.advice[0].message
    assert examine(sound, RATE, cut_to=8).end == pytest.approx(4.2, abs=0.03)
    # A pause that is still going on where the cut must be.
    assert examine(sound, RATE, cut_to=9.3).end == pytest.approx(9.15, abs=0.03)
    # Without a pause after 3 s it is cut where it must be.
    assert examine(sound, RATE, cut_to=3.5).end == pytest.approx(3.5, abs=0.03)
    assert "cut" not in kinds(sound, cut_to=25)


def test_five_minutes(speech: np.ndarray):
    long = np.tile(speech, 34)
    assert len(long) / RATE > 300
    with pytest.raises(AudioError, match=r"30\d s long.*no room.*--cut"):
        examine(long, RATE)
    found = examine(long, RATE, cut_to=15)
    assert 8 < found.seconds <= 15
    assert [advice.kind for advice in found.advice] == ["cut"]


@pytest.mark.parametrize("samples", [np.zeros(5 * RATE), noise(5 * RATE, -80), np.full(5 * RATE, 1e-5)])
def test_silence(samples: np.ndarray):
    with pytest.raises(AudioError, match="holds no speech"):
        examine(samples, RATE)


def test_a_fifth_of_a_second(speech: np.ndarray):
    with pytest.raises(AudioError, match=r"0\.20 s long; a voice needs 3 to 15 s"):
        examine(speech[: RATE // 5], RATE)
    with pytest.raises(AudioError, match=r"only 0\.\d\d s of sound"):
        examine(
            np.concatenate([np.zeros(3 * RATE), speech[RATE : RATE + RATE // 5], np.zeros(3 * RATE)]), RATE
        )


@pytest.mark.parametrize(
    ("text", "seconds", "doubted"),
    [
        ("All representatives of the household are currently assisting other telemarketers.", 5.0, False),
        ("Yes.", 3.0, True),
        ("All representatives of the household are currently assisting other telemarketers.", 1.0, True),
        ("今天天气非常好我们一起去公园散步吧", 4.0, False),
        ("今天", 6.0, True),
    ],
)
def test_transcripts_that_cannot_be(text: str, seconds: float, doubted: bool):
    advice = judge_transcript(text, seconds)
    assert (advice is not None) == doubted
    if advice:
        assert "every word" in advice.message


@pytest.mark.parametrize("offset", [-0.3, -0.02, 0.02, 0.1, 0.3])
def test_a_constant_offset_is_named_and_changes_nothing_else(offset):
    samples, rate = load_audio(DEMO)
    plain, shifted = examine(samples, rate), examine(samples + np.float32(offset), rate)
    assert [one.kind for one in shifted.advice] == [*(one.kind for one in plain.advice), "offset"]
    assert shifted.offset == pytest.approx(offset, abs=1e-3)
    assert (shifted.start, shifted.end) == (plain.start, plain.end)
    assert plain.offset == 0


def test_a_voice_is_made_without_the_offset():
    tiny = NeuCodec.from_pretrained("tiny", device="cpu")
    samples, rate = load_audio(DEMO)
    plain = SpeakerPrompt.from_audio(tiny, samples - samples.mean(), "They are all busy.", sample_rate=rate)
    shifted = SpeakerPrompt.from_audio(tiny, samples + 0.1, "They are all busy.", sample_rate=rate)
    assert (plain.codes == shifted.codes).mean() > 0.97


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.0, None, []),
        (1.0, 5.0, ["begins", "ends"]),
        (1.0, None, ["begins"]),
        (0.0, 5.0, ["ends"]),
        (2.5, 6.5, []),
    ],
)
def test_a_recording_that_is_cut_within_a_word(start, end, expected):
    samples, rate = load_audio(DEMO)
    part = samples[round(start * rate) : None if end is None else round(end * rate)]
    assert [one.kind for one in examine(part, rate).advice] == expected
