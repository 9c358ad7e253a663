"""Files as people have them: piped, cut, joined, with sizes that nobody filled in, with many channels."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neucodec_tts.audio import load_audio
from neucodec_tts.errors import AudioError

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")

RATE = 16_000
FRAME = 0.02  # s, one code
SECONDS = 3.0

FORMATS = {  # suffix, and what ffmpeg needs to know
    "wav": ("wav", ["-f", "wav"]),
    "wav24": ("wav", ["-f", "wav", "-c:a", "pcm_s24le"]),
    "rf64": ("wav", ["-f", "wav", "-rf64", "always"]),
    "adpcm": ("wav", ["-f", "wav", "-c:a", "adpcm_ima_wav"]),
    "mp3": ("mp3", ["-f", "mp3", "-q:a", "4"]),
    "mp3 without a count": ("mp3", ["-f", "mp3", "-q:a", "4", "-write_xing", "0"]),
    "mp3 in wav": ("wav", ["-f", "wav", "-c:a", "libmp3lame"]),
    "flac": ("flac", ["-f", "flac"]),
    "vorbis": ("ogg", ["-f", "ogg", "-c:a", "libvorbis"]),
    "flac in ogg": ("ogg", ["-f", "ogg", "-c:a", "flac"]),
    "opus": ("opus", ["-f", "ogg", "-c:a", "libopus"]),
    "m4a": ("m4a", ["-f", "ipod", "-c:a", "aac"]),
    "mp4 in fragments": ("mp4", ["-f", "mp4", "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"]),
    "aac": ("aac", ["-f", "adts", "-c:a", "aac"]),
    "wma": ("wma", ["-f", "asf", "-c:a", "wmav2"]),
    "webm": ("webm", ["-f", "webm", "-c:a", "libopus"]),
    "mka": ("mka", ["-f", "matroska", "-c:a", "flac"]),
    "aiff": ("aiff", ["-f", "aiff"]),
    "au": ("au", ["-f", "au"]),
    "caf": ("caf", ["-f", "caf", "-c:a", "pcm_s16le"]),
    "w64": ("w64", ["-f", "w64"]),
    "ac3": ("ac3", ["-f", "ac3"]),
    "mp2": ("mp2", ["-f", "mp2"]),
    "tta": ("tta", ["-f", "tta"]),
    "voc": ("voc", ["-f", "voc"]),
    "ts": ("ts", ["-f", "mpegts", "-c:a", "aac"]),
    "flv": ("flv", ["-f", "flv", "-c:a", "aac"]),
}
CANNOT_BE_PIPED = {"m4a"}  # ffmpeg refuses


def voice(seconds: float = SECONDS) -> np.ndarray:
    """Something whose bit rate varies: silence first, then tones and noise; float32 (samples,)."""
    time = np.arange(round(seconds * RATE)) / RATE
    random = np.random.default_rng(0)
    sound = 0.3 * np.sin(2 * np.pi * 180 * time * (1 + 0.1 * np.sin(5 * time))) + random.normal(
        0, 0.05, time.size
    )
    return (sound * np.clip(3 * time / seconds - 0.6, 0, 1)).astype(np.float32)


def ffmpeg(*arguments: str | Path) -> bytes:
    command = ["ffmpeg", "-nostdin", "-y", "-v", "error", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def decoded_seconds(path: Path) -> float:
    """How much of a file ffmpeg decodes."""
    raw = ffmpeg("-i", path, "-map", "0:a:0", "-f", "f32le", "-ac", "1", "-ar", str(RATE), "-")
    return len(raw) / 4 / RATE


def seconds(path: Path) -> float:
    samples, rate = load_audio(path)
    return samples.size / rate


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    """One recording in every format."""
    folder = tmp_path_factory.mktemp("formats")
    source = folder / "source.wav"
    soundfile.write(source, voice(), RATE)
    found = {}
    for name, (suffix, arguments) in FORMATS.items():
        found[name] = folder / f"{name}.{suffix}"
        ffmpeg("-i", source, *arguments, found[name])
    found["source"] = source
    return found


@needs_ffmpeg
@pytest.mark.parametrize("name", FORMATS)
def test_all_that_is_in_a_whole_file_is_read(written, name):
    assert seconds(written[name]) == pytest.approx(decoded_seconds(written[name]), abs=FRAME)


@needs_ffmpeg
@pytest.mark.parametrize("name", sorted(set(FORMATS) - CANNOT_BE_PIPED))
def test_all_that_came_through_a_pipe_is_read(written, tmp_path, name):
    suffix, arguments = FORMATS[name]
    piped = tmp_path / f"piped.{suffix}"
    piped.write_bytes(ffmpeg("-i", written["source"], *arguments, "-"))
    # Its own writer leaves ffmpeg nothing to read of some of these, so the whole file is the measure; an MP3 whose
    # length nobody could write keeps its encoder's delay of about 0.1 s.
    assert seconds(piped) == pytest.approx(decoded_seconds(written[name]), abs=0.12)
    assert seconds(piped) >= decoded_seconds(written[name]) - 1e-3


@needs_ffmpeg
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_of_a_file_cut_short_all_is_read_or_nothing(written, tmp_path, name, share):
    content = written[name].read_bytes()
    cut = tmp_path / f"cut{written[name].suffix}"
    cut.write_bytes(content[: int(share * len(content))])
    try:
        found = seconds(cut)
    except AudioError:
        return
    assert found == pytest.approx(decoded_seconds(cut), abs=0.08)  # an MP3 frame


@needs_ffmpeg
@pytest.mark.parametrize("name", FORMATS)
def test_of_joined_files_all_is_read_or_nothing(written, tmp_path, name):
    joined = tmp_path / f"joined{written[name].suffix}"
    joined.write_bytes(2 * written[name].read_bytes())
    try:
        found = seconds(joined)
    except AudioError:
        return
    assert found == pytest.approx(
        2 * decoded_seconds(written[name]), abs=0.25
    )  # two delays of an MP3 encoder


@needs_ffmpeg
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 24_000, 44_100, 48_000])
def test_mp3_frames_of_every_kind_are_found(written, tmp_path, rate, channels):
    path = tmp_path / "a.mp3"
    ffmpeg(
        "-i", written["source"], "-ar", str(rate), "-ac", str(channels), "-write_xing", "0", "-q:a", "5", path
    )
    samples, found_rate = load_audio(path)
    raw = np.frombuffer(ffmpeg("-i", path, "-f", "f32le", "-"), np.float32).reshape(-1, channels).mean(axis=1)
    assert found_rate == rate
    assert samples.size == raw.size
    # ffmpeg 5.1 decodes 24 kHz otherwise than later ones, a little; a frame too many or too few is far more.
    assert np.linalg.norm(samples - raw) < 0.3 * np.linalg.norm(raw)


@needs_ffmpeg
def test_mp3_with_tags_before_between_and_behind(written, tmp_path):
    plain = written["mp3 without a count"].read_bytes()
    tag = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)
    path = tmp_path / "tagged.mp3"
    path.write_bytes(tag + plain + tag + plain + b"TAG" + bytes(125))
    assert seconds(path) == pytest.approx(2 * seconds(written["mp3 without a count"]), abs=0.04)


@needs_ffmpeg
def test_mp3_whose_last_frame_is_incomplete_is_taken_with_a_note(written, tmp_path, caplog):
    plain = written["mp3 without a count"]
    load_audio(plain)
    assert caplog.text == ""
    path = tmp_path / "cut.mp3"
    path.write_bytes(plain.read_bytes()[:-20])
    assert 0 < seconds(plain) - seconds(path) < 0.08
    assert "cut.mp3: its last frame is incomplete" in caplog.text


@needs_ffmpeg
def test_mp3_that_changes_its_rate_is_refused(written, tmp_path):
    other = tmp_path / "other.mp3"
    ffmpeg("-i", written["source"], "-ar", "44100", other)
    path = tmp_path / "both.mp3"
    path.write_bytes(written["mp3"].read_bytes() + other.read_bytes())
    with pytest.raises(AudioError, match=r"both\.mp3: its sample rate or number of channels changes"):
        load_audio(path)


@needs_ffmpeg
def test_mp3_in_wav_is_the_mp3(written):
    wrapped, _ = load_audio(written["mp3 in wav"])
    assert wrapped.size / RATE == pytest.approx(decoded_seconds(written["mp3 in wav"]), abs=FRAME)
    assert load_audio(written["mp3 in wav"].read_bytes())[0].size == wrapped.size


def wav(data_size: int, riff_size: int | None, sound: bytes, rate: int = RATE) -> bytes:
    """A WAV file of 16-bit samples with sizes of one's own."""
    head = (
        b"fmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
        + b"data"
        + struct.pack("<I", data_size)
    )
    return (
        b"RIFF"
        + struct.pack("<I", 4 + len(head) + data_size if riff_size is None else riff_size)
        + b"WAVE"
        + head
        + sound
    )


SOUND = (voice(1.0) * 32767).astype("<i2").tobytes()


@pytest.mark.parametrize("riff", [0, 36, 0x7FFFFFFF, 0x80000024, 0xFFFFFFFF])
@pytest.mark.parametrize(
    "size", [0, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFDB, 0xFFFFF000, 0xFFFFFFFE]
)
def test_sizes_that_were_never_filled_in_are_read_to_the_end(tmp_path, size, riff):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(size, riff, SOUND))
    assert load_audio(path)[0].size == RATE


@pytest.mark.parametrize(
    ("missing", "taken"), [(2, True), (320, True), (638, True), (640, False), (16_000, False)]
)
def test_a_file_short_by_less_than_a_frame_is_taken_with_a_note(tmp_path, caplog, missing, taken):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(len(SOUND), None, SOUND[: len(SOUND) - missing]))
    if taken:
        assert load_audio(path)[0].size == RATE - missing // 2
        assert "shorter than its header says" in caplog.text
    else:
        with pytest.raises(AudioError, match=r"a\.wav: the file is cut short"):
            load_audio(path)


def test_joined_recordings_of_two_rates_are_refused(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(len(SOUND), None, SOUND) + wav(len(SOUND), None, SOUND, rate=8_000))
    with pytest.raises(AudioError, match=r"recordings of 16000, 8000 Hz"):
        load_audio(path)


def test_part_of_joined_recordings(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(len(SOUND), None, SOUND) + wav(len(SOUND), None, SOUND))
    part, _ = load_audio(path, start=0.75, end=1.25)
    whole, _ = load_audio(path)
    np.testing.assert_array_equal(part, whole[12_000:20_000])


@pytest.mark.parametrize("channels", [3, 5, 6, 8])
@pytest.mark.parametrize(("place", "level"), [(0, 0.5**0.5), (2, 1.0), (-1, 0.5)])
def test_surround_sound_keeps_a_voice_at_its_level(tmp_path, channels, place, level):
    if channels == 3 and place == -1:
        pytest.skip("its last channel is the centre")
    samples = np.zeros((RATE, channels), np.float32)
    samples[:, place] = voice(1.0)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav")[0], level * voice(1.0), atol=1e-6)


def test_the_bass_channel_is_left_out(tmp_path):
    samples = np.zeros((RATE, 6), np.float32)
    samples[:, 2], samples[:, 3] = voice(1.0), 0.9
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav")[0], voice(1.0), atol=1e-6)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["flac", "ogg", "opus", "m4a", "caf"])
def test_the_centre_of_other_formats(written, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    options = {"ogg": ["-c:a", "libvorbis"], "opus": ["-c:a", "libopus", "-mapping_family", "1"]}.get(
        suffix, []
    )
    ffmpeg(
        "-i",
        written["source"],
        "-ar",
        "48000",
        "-filter_complex",
        "[0]pan=5.1|FC=c0[o]",
        "-map",
        "[o]",
        *options,
        path,
    )
    energy = float(np.square(load_audio(path)[0]).mean())
    assert 10 * np.log10(energy / np.square(voice()).mean()) == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("kind", ["AVR", "MAT4", "MAT5", "MPC2K", "SVX", "VOC", "WVE"])
def test_rare_formats_are_whole_or_refused(tmp_path, kind):
    path = tmp_path / f"a.{kind.lower()}"
    soundfile.write(path, voice(), RATE, format=kind, subtype="ALAW" if kind == "WVE" else "PCM_16")
    samples, rate = load_audio(path)
    assert samples.size == voice().size
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(AudioError, match=rf"is cut short, \d\.\d\d of {samples.size / rate:.2f} s"):
        load_audio(path)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_stereo_of_opposite_phase_is_not_silence(tmp_path, caplog, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([voice(), -voice()], axis=1), RATE)
    samples, _ = load_audio(path)
    assert float(np.square(samples).mean()) == pytest.approx(float(np.square(voice()).mean()), rel=0.1)
    assert "of opposite phase" in caplog.text


def test_opposite_phase_with_an_offset_is_not_silence(tmp_path, caplog):
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.5 * np.stack([voice(), -voice()], axis=1) + 0.2, RATE)
    assert load_audio(path)[0].var() == pytest.approx(0.25 * voice().var(), rel=0.1)
    assert "of opposite phase" in caplog.text


@pytest.mark.parametrize(
    ("suffix", "signs"),
    [
        ("wav", (1, -1, 1, -1)),
        ("wav", (1, 0, -1)),
        ("flac", (1, -1, 0, 0, 0, 0)),
        ("wav", (0, 0, 0, 0, 1, -1)),
        ("ogg", (1, 0, -1, 0, 0, 0)),
        ("wav", (1, 1, 1, -1, -1, -1, 0, 0, 0)),
    ],
)
def test_more_channels_of_opposite_phase_are_not_silence(tmp_path, caplog, suffix, signs):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, 0.5 * np.stack([sign * voice() for sign in signs], axis=1), RATE)
    plus = tmp_path / f"b.{suffix}"
    soundfile.write(plus, 0.5 * np.stack([abs(sign) * voice() for sign in signs], axis=1), RATE)
    samples, _ = load_audio(path)
    assert "of opposite phase" in caplog.text
    caplog.clear()
    expected, _ = load_audio(plus)
    assert not caplog.text
    assert samples.var() == pytest.approx(expected.var(), rel=0.1)


def test_channels_in_phase_are_not_turned_against_each_other(tmp_path):
    """The two soft channels have nothing to do with the loud ones, which cancel each other out."""
    for seed in range(6):
        loud, soft, *noises = np.random.default_rng(seed).standard_normal((4, RATE)).astype(np.float32)
        channels = [0.3 * loud, -0.3 * loud, *(0.08 * soft + 0.001 * noise for noise in noises)]
        soundfile.write(tmp_path / "a.wav", np.stack(channels, axis=1), RATE, subtype="FLOAT")
        samples, _ = load_audio(tmp_path / "a.wav")
        assert abs(np.corrcoef(samples, soft)[0, 1]) > 0.2


def test_channels_that_have_nothing_in_common_stay_as_they_are(tmp_path, caplog):
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(1).standard_normal((RATE, 6)).astype(np.float32), RATE)
    load_audio(path)
    assert not caplog.text


@needs_ffmpeg
@pytest.mark.parametrize("name", ["mka", "webm"])
def test_matroska_that_is_cut_short_or_has_a_hole_is_refused(written, tmp_path, name):
    content = written[name].read_bytes()
    path = tmp_path / f"a.{name}"
    path.write_bytes(content[: int(0.6 * len(content))])
    with pytest.raises(AudioError, match="it is cut short"):
        load_audio(path)
    holed = bytearray(content)
    holed[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    path.write_bytes(holed)
    with pytest.raises(AudioError):
        load_audio(path)


@needs_ffmpeg
def test_a_video_without_sound_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=s=16x16:d=1", path)
    with pytest.raises(AudioError, match="there is no sound in it"):
        load_audio(path)


def _seeds() -> list[bytes]:
    """Small files of several containers."""
    found = [wav(len(SOUND), None, SOUND), wav(0x80000000, 0xFFFFFFFF, SOUND)]
    for form, subtype in (
        ("MP3", "MPEG_LAYER_III"),
        ("OGG", "VORBIS"),
        ("CAF", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("W64", "PCM_16"),
    ):
        file = io.BytesIO()
        soundfile.write(file, voice(0.5), RATE, format=form, subtype=subtype)
        found.append(file.getvalue())
    return found


SEEDS = _seeds()


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_files_are_read_or_refused(data):
    content = bytearray(SEEDS[data.draw(st.integers(0, len(SEEDS) - 1))])
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, min(len(content), 400) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))] + data.draw(st.binary(max_size=64))
    try:
        samples, rate = load_audio(bytes(content))
    except AudioError:
        return
    assert samples.dtype == np.float32
    assert samples.size
    assert rate > 0
