"""Reading, checking and writing recordings, with real files made on the spot."""

from __future__ import annotations

import io
import logging
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from neucodec_tts.audio import AudioTooLongError, as_waveform, load_audio, reading, write_audio
from neucodec_tts.errors import AudioError
from tests.privileges import ordinary_user

RATE = 16_000
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def tone(seconds: float = 1.0, rate: int = RATE, hertz: float = 220.0, level: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(), RATE)
    return path


# Files that are recordings


@pytest.mark.parametrize(
    ("suffix", "tolerance"),
    [("wav", 1e-4), ("flac", 1e-4), ("aiff", 1e-4), ("au", 1e-4), ("caf", 1e-4), ("w64", 1e-4), ("ogg", 0.03),
     ("mp3", 0.03)],
)  # fmt: skip
def test_reads_what_libsndfile_reads(tmp_path, suffix, tolerance):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(), RATE)
    samples, rate = load_audio(path)
    assert rate == RATE
    assert samples.dtype == np.float32
    assert samples.shape == (RATE,)
    assert np.abs(samples - tone())[800:-800].max() < tolerance


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_reads_every_width(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", tone(), RATE, subtype=subtype)
    samples, _ = load_audio(tmp_path / "a.wav")
    assert np.abs(samples - tone()).max() < 0.02


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["m4a", "webm", "wma"])
def test_reads_the_rest_through_ffmpeg(tmp_path, wav, suffix):
    path = tmp_path / f"tone.{suffix}"
    subprocess.run(["ffmpeg", "-v", "error", "-i", wav, path], check=True)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.read(path)
    waveform = as_waveform(path)
    assert abs(waveform.numel() - RATE) < 0.2 * RATE
    assert float(waveform.abs().max()) > 0.3


def test_without_ffmpeg_the_error_says_what_it_would_help(tmp_path, monkeypatch):
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioError, match=r"a\.m4a: not a recording that libsndfile can read.*install ffmpeg"):
        load_audio(path)


def test_channels_are_averaged(tmp_path):
    left, right = tone(hertz=220), tone(hertz=330)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    samples, _ = load_audio(tmp_path / "a.wav")
    assert np.allclose(samples, (left + right) / 2, atol=1e-6)


def test_long_files_are_read_in_blocks_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_BLOCK_SAMPLES", 1000)
    soundfile.write(tmp_path / "a.wav", tone(), RATE, subtype="FLOAT")
    assert np.array_equal(load_audio(tmp_path / "a.wav")[0], tone())


def test_silent_clipped_and_one_sample_files_are_recordings(tmp_path):
    for name, samples in (
        ("silent", np.zeros(RATE)),
        ("clipped", np.sign(tone())),
        ("one", np.array([0.25])),
    ):
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE, subtype="FLOAT")
        assert torch.equal(as_waveform(tmp_path / f"{name}.wav"), torch.from_numpy(samples).float())


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@needs_ffmpeg
def test_a_length_left_open_by_a_streaming_writer_is_fine(tmp_path, wav, suffix):
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", wav, "-f", suffix, "-"], check=True, capture_output=True
    )
    path = tmp_path / f"piped.{suffix}"
    path.write_bytes(done.stdout)
    assert load_audio(path)[0].shape == (RATE,)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "aiff", "m4a", "webm"])
def test_the_content_of_a_file_is_read_as_the_file(tmp_path, wav, suffix):
    path = tmp_path / f"copy.{suffix}"
    subprocess.run(["ffmpeg", "-v", "error", "-i", wav, path], check=True)
    expected, rate = load_audio(path)
    samples, same_rate = load_audio(path.read_bytes())
    assert rate == same_rate
    assert np.array_equal(samples, expected)
    part, _ = load_audio(path.read_bytes(), start=0.25, end=0.5)
    assert np.allclose(part, expected[round(0.25 * rate) : round(0.5 * rate)], atol=1e-6)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "m4a"])
def test_what_is_too_long_is_refused(tmp_path, wav, suffix):
    path = tmp_path / f"long.{suffix}"
    subprocess.run(["ffmpeg", "-v", "error", "-i", wav, path], check=True)
    for source in (path, path.read_bytes()):
        with pytest.raises(AudioTooLongError, match=r"voice: \d\.\d+ s, more than 0\.5 s") as found:
            load_audio(source, max_seconds=0.5, name="voice")
        assert 0.9 < found.value.seconds < 1.3
        assert load_audio(source, start=0.25, end=0.5, max_seconds=0.5)[0].size > 0
        assert load_audio(source, max_seconds=1.3)[0].size > 0


def test_a_header_that_lies_does_not_make_it_longer(tmp_path, wav):
    """A length left open is read no further than asked for."""
    content = bytearray(wav.read_bytes())
    content[40:44] = b"\xff\xff\xff\xff"
    with pytest.raises(AudioTooLongError):
        load_audio(bytes(content), max_seconds=0.5)


def test_many_channels_take_no_more_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_BLOCK_SAMPLES", 1000)
    soundfile.write(tmp_path / "a.wav", np.repeat(tone()[:, None], 64, axis=1), RATE, subtype="FLOAT")
    assert np.allclose(load_audio(tmp_path / "a.wav")[0], tone(), atol=1e-6)


# Files that are not


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"gone\.wav: no such file"):
        load_audio(tmp_path / "gone.wav")


def test_an_empty_file(tmp_path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(AudioError, match=r"a\.wav: the file is empty \(0 bytes\)"):
        load_audio(tmp_path / "a.wav")


def test_a_recording_of_no_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), RATE)
    with pytest.raises(AudioError, match=r"a\.wav: .* zero length"):
        load_audio(tmp_path / "a.wav")


def test_a_folder(tmp_path):
    with pytest.raises(AudioError, match="this is a folder"):
        load_audio(tmp_path)


def test_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(AudioError, match=r"a\.wav: this is not a plain file"):
        load_audio(tmp_path / "a.wav")


def test_a_device():
    with pytest.raises(AudioError, match="/dev/null: this is not a plain file"):
        load_audio("/dev/null")


def test_a_file_that_cannot_be_opened(tmp_path):
    loop = tmp_path / "loop.wav"
    loop.symlink_to(loop)
    with pytest.raises(AudioError, match=r"loop\.wav: cannot be opened"):
        load_audio(loop)


def test_a_file_without_permission(wav):
    wav.chmod(0)
    with ordinary_user(), pytest.raises(AudioError, match=r"tone\.wav: no permission"):
        load_audio(wav)


@pytest.mark.parametrize(
    "content", [b"hello world\n" * 50, bytes(range(256)) * 20, b"RIFF", b"\x89PNG\r\n\x1a\n" * 9]
)
def test_something_else_than_audio(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match=r"a\.wav: .*not a recording"):
        load_audio(tmp_path / "a.wav")


def test_raw_samples(tmp_path):
    tone().tofile(tmp_path / "a.raw")
    with pytest.raises(AudioError, match=r"a\.raw: raw samples without a header.*numpy\.fromfile"):
        load_audio(tmp_path / "a.raw")


@pytest.mark.parametrize("suffix", ["wav", "aiff", "au", "w64", "caf", "flac"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_cut_short_is_refused(tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(3.0, hertz=333.3), RATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(AudioError, match=rf"a\.{suffix}: (the file is cut short|not a recording)"):
        load_audio(path)


def test_a_wav_cut_short_says_how_much_is_there(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(3.0), RATE)
    path.write_bytes(path.read_bytes()[: 44 + 2 * RATE])
    with pytest.raises(AudioError, match=r"cut short, 1\.00 of 3\.00 s are there"):
        load_audio(path)


def test_an_mp3_cut_short(tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 10 * RATE), RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=r"a\.mp3: the file is cut short"):
        load_audio(path)


def test_a_play_list_makes_ffmpeg_fetch_nothing(tmp_path, wav):
    (tmp_path / "a.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\nhttp://localhost:9/{wav.name}\n#EXT-X-ENDLIST\n")
    with pytest.raises(AudioError, match=r"a\.m3u8"):
        load_audio(tmp_path / "a.m3u8")
    # Nor may it have another file of this machine taken for its own sound.
    (tmp_path / "b.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{wav.name}\n#EXT-X-ENDLIST\n")
    (tmp_path / "b.txt").write_text(f"ffconcat version 1.0\nfile {wav.name}\n")
    for name in ("b.m3u8", "b.txt"):
        with pytest.raises(AudioError, match=rf"{name}: .*not a recording"):
            load_audio(tmp_path / name)


@pytest.mark.parametrize(("value", "name"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_a_file_with_numbers_that_are_none(tmp_path, value, name):
    samples = tone()
    samples[4000] = value
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=rf"a\.wav: sample 4000 \(0\.250 s\) is {name}"):
        as_waveform(tmp_path / "a.wav")


def test_the_rate_of_a_file_is_its_own(wav):
    assert as_waveform(wav, RATE).shape == (RATE,)
    with pytest.raises(AudioError, match="its sample rate is 16000 Hz and not the 44100 Hz"):
        as_waveform(wav, 44_100)


# Arrays, tensors, lists


def kinds() -> dict[str, object]:
    samples = tone()
    return {
        "float32": samples,
        "float64": samples.astype(np.float64),
        "big-endian": samples.astype(">f4"),
        "reversed twice": samples[::-1].copy()[::-1],
        "tensor": torch.from_numpy(samples.copy()),
        "with gradient": torch.from_numpy(samples.copy()).requires_grad_(),
        "list": samples.tolist(),
        "(1, samples)": samples[None],
        "(samples, 1)": samples[:, None],
        "(samples, 2)": np.stack([samples * 1.5, samples * 0.5], axis=1),
    }


@pytest.mark.parametrize("kind", kinds())
def test_takes_arrays_of_every_kind(kind):
    array: Any = kinds()[kind]
    waveform = as_waveform(array, RATE)
    assert waveform.dtype == torch.float32
    assert waveform.shape == (RATE,)
    assert not waveform.requires_grad
    assert torch.allclose(waveform, torch.from_numpy(tone()), atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"), [(np.int16, 2**15, 0), (np.int32, 2**31, 0), (np.uint8, 2**7, 128)]
)
def test_integers_are_scaled_by_their_range(dtype, scale, offset):
    waveform = as_waveform((tone().astype(np.float64) * scale + offset).astype(dtype), RATE)
    assert torch.allclose(waveform, torch.from_numpy(tone()), atol=1.0 / min(scale, 2**15))
    extremes = as_waveform(np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype=dtype), RATE)
    assert extremes[0] == -1.0
    assert 0.99 < extremes[1] <= 1.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats(dtype):
    waveform = as_waveform(torch.from_numpy(tone()).to(dtype), RATE)
    assert torch.allclose(waveform, torch.from_numpy(tone()), atol=0.01)


def test_the_caller_s_array_is_left_alone():
    samples = tone()
    samples.flags.writeable = False
    assert torch.equal(as_waveform(samples, RATE), torch.from_numpy(tone()))


def test_resamples_after_mixing():
    stereo = np.stack([tone(rate=48_000), np.zeros(48_000, np.float32)])
    waveform = as_waveform(stereo, 48_000, channels_first=True)
    assert waveform.shape == (RATE,)
    assert torch.allclose(waveform[100:-100], torch.from_numpy(tone() / 2)[100:-100], atol=1e-3)


def test_other_target_rates():
    assert as_waveform(tone(), RATE, target_rate=24_000).shape == (24_000,)


@pytest.mark.parametrize(
    "samples",
    [np.zeros(100, bool), np.zeros(100, complex), np.array([0.0, None]), np.zeros(100, np.int64),
     torch.zeros(100, dtype=torch.int64), [1, 2, 3], np.array(["a"]), ["a", "b"]],
)  # fmt: skip
def test_types_that_are_no_audio(samples):
    with pytest.raises(AudioError, match=r"voice: samples of type .* convert them to float32"):
        as_waveform(samples, RATE, name="voice")


@pytest.mark.parametrize("thing", [None, 3.0, object()])
def test_things_that_are_no_recording(thing):
    with pytest.raises(AudioError, match="a file, an array, a tensor or a list of floats was expected"):
        as_waveform(thing, RATE)


def test_a_ragged_list():
    with pytest.raises(AudioError, match="audio: a list of numbers of equal rows"):
        as_waveform([[0.1, 0.2], [0.3]], RATE)  # type: ignore[list-item]


@pytest.mark.parametrize("shape", [(0,), (0, 2), (2, 0)])
def test_no_samples(shape):
    with pytest.raises(AudioError, match="there are no samples in it"):
        as_waveform(np.zeros(shape, np.float32), RATE)


@pytest.mark.parametrize("shape", [(), (1, 1, 100), (2, 2, 2, 2)])
def test_shapes_that_are_no_recording(shape):
    with pytest.raises(AudioError, match=r"voice: one recording has the shape"):
        as_waveform(np.zeros(shape, np.float32), RATE, name="voice")


def test_a_batch_is_no_recording_of_many_channels():
    with pytest.raises(AudioError, match=r"\(16, 1000\) may be 16 recordings or the channels of one"):
        as_waveform(np.zeros((16, 1000), np.float32), RATE)
    with pytest.raises(AudioError, match=r"\(16, 1000\) would be 16 channels.*several as a list"):
        as_waveform(np.zeros((16, 1000), np.float32), RATE, channels_first=True)


def test_an_array_needs_its_rate():
    with pytest.raises(AudioError, match=r"voice: .* give sample_rate="):
        as_waveform(tone(), name="voice")


@pytest.mark.parametrize("rate", [0, -16_000, 16, 999, 768_001, 10**9])
def test_impossible_rates(rate):
    with pytest.raises(AudioError, match=rf"a sample rate of {rate} Hz is not one of a recording"):
        as_waveform(tone(), rate)


@pytest.mark.parametrize("rate", ["16000", True, 16_000.5, float("nan"), [16_000]])
def test_rates_that_are_no_rate(rate):
    with pytest.raises(AudioError, match="sample_rate must be a"):
        as_waveform(tone(), rate)


@pytest.mark.parametrize("rate", [16_000.0, np.int32(16_000), np.float64(16_000)])
def test_rates_of_other_number_types(rate):
    assert as_waveform(tone(), rate).shape == (RATE,)


@pytest.mark.parametrize(("shape", "where"), [((1000,), "sample 700"), ((2, 1000), "sample 700 .* of channel 1"),
                                              ((1000, 2), "sample 700 .* of channel 1")])  # fmt: skip
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_the_first_bad_number_is_named(shape, where, value):
    samples = np.zeros(shape, np.float32)
    index = {(1000,): (700,), (2, 1000): (1, 700), (1000, 2): (700, 1)}[shape]
    samples[index] = value
    with pytest.raises(AudioError, match=f"voice: {where}"):
        as_waveform(samples, RATE, name="voice")


def test_sixteen_bit_numbers_as_floats_are_refused():
    with pytest.raises(AudioError, match=r"samples reach 16\d{3}.*32768"):
        as_waveform(tone() * 32_767, RATE)


def test_a_little_overshoot_is_taken_as_it_is():
    assert float(as_waveform(tone(level=1.5), RATE).max()) == pytest.approx(1.5, abs=1e-3)


# Writing


@pytest.mark.parametrize(
    ("suffix", "form", "subtype"),
    [(".wav", "WAV", "PCM_16"), (".flac", "FLAC", "PCM_16"), (".ogg", "OGG", "VORBIS"), (".opus", "OGG", "OPUS"),
     (".mp3", "MP3", "MPEG_LAYER_III"), (".WAV", "WAV", "PCM_16"), ("", "WAV", "PCM_16")],
)  # fmt: skip
def test_writes_by_suffix(tmp_path, suffix, form, subtype):
    path = tmp_path / f"a{suffix}"
    write_audio(path, torch.from_numpy(tone(2.0, rate=24_000)), 24_000)
    found = soundfile.info(path)
    assert (found.samplerate, found.channels, found.format, found.subtype) == (24_000, 1, form, subtype)
    assert abs(found.frames - 48_000) <= 2304
    assert [path.name] == os.listdir(tmp_path)


def test_what_is_written_is_read_again(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, 120_001).astype(np.float32)
    write_audio(tmp_path / "a.wav", samples, 24_000)
    again, rate = load_audio(tmp_path / "a.wav")
    assert rate == 24_000
    assert np.abs(again - samples).max() < 2 / 32_768


def test_too_loud_samples_are_clipped_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        write_audio(tmp_path / "a.wav", np.array([0.0, 1.5, -2.0, 0.5], np.float32), 24_000)
    assert "2 of 4 samples were beyond [-1, 1]" in caplog.text
    again, _ = load_audio(tmp_path / "a.wav")
    assert np.allclose(again, [0, 1, -1, 0.5], atol=1e-4)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.array([0.0, np.nan]), "sample 1 .* is nan"),
        (np.zeros((2, 100)), "a mono waveform"),
        (np.zeros(0), "no samples"),
        (np.zeros(10, np.int64), "of type int64"),
        (np.full(10, 1e4), "samples reach 10000"),
    ],
)
def test_what_cannot_be_written(tmp_path, waveform, message):
    with pytest.raises(AudioError, match=rf"a\.wav.*{message}"):
        write_audio(tmp_path / "a.wav", waveform, 24_000)
    assert os.listdir(tmp_path) == []


def test_an_unknown_suffix(tmp_path):
    with pytest.raises(AudioError, match=r"a\.xyz: cannot write \.xyz; end the name in one of \.wav, \.flac"):
        write_audio(tmp_path / "a.xyz", tone(), RATE)


def test_a_missing_folder(tmp_path):
    with pytest.raises(AudioError, match=r"cannot write .*nowhere does not exist"):
        write_audio(tmp_path / "nowhere" / "a.wav", tone(), RATE)


def test_a_rate_the_format_lacks(tmp_path):
    with pytest.raises(AudioError, match=r"a\.mp3: MP3/MPEG_LAYER_III cannot be written at 96000 Hz"):
        write_audio(tmp_path / "a.mp3", tone(), 96_000)
    assert os.listdir(tmp_path) == []


def test_opus_holds_other_rates_at_48_khz(tmp_path):
    wave = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100).astype(np.float32) / 2
    write_audio(tmp_path / "a.opus", wave, 44_100)
    samples, rate = soundfile.read(tmp_path / "a.opus", dtype="float32")
    assert (len(samples), rate) == (48_000, 48_000)
    assert np.abs(np.fft.rfft(samples)).argmax() == 440


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    with pytest.raises(AudioError, match="No space left"):
        write_audio(tmp_path / "a.wav", tone(), RATE)
    assert os.listdir(tmp_path) == []


# What people hold


class Decoder:
    """The part of torchcodec's AudioDecoder that is used; datasets gives out such objects."""

    def __init__(self, samples: np.ndarray, rate: int) -> None:
        self.data, self.sample_rate = torch.from_numpy(samples), rate

    def get_all_samples(self) -> Decoder:
        return self


def held(wav: Path, stack: ExitStack) -> dict[str, Any]:
    content = wav.read_bytes()
    return {
        "bytes": content,
        "bytearray": bytearray(content),
        "BytesIO": io.BytesIO(content),
        "open file": stack.enter_context(open(wav, "rb")),
        "array of datasets": {"array": tone(), "sampling_rate": RATE, "path": "a.wav"},
        "list of datasets": {"array": tone().tolist(), "sampling_rate": RATE, "path": None},
        "bytes of datasets": {"bytes": content, "path": None},
        "path of datasets": {"bytes": None, "path": str(wav)},
        "decoder": Decoder(tone()[None], RATE),
        "stereo decoder": Decoder(np.stack([tone(), tone()]), RATE),
    }


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "BytesIO", "open file", "array of datasets", "list of datasets",
                                  "bytes of datasets", "path of datasets", "decoder", "stereo decoder"])  # fmt: skip
def test_takes_what_people_hold(wav, kind):
    with ExitStack() as stack:
        thing = held(wav, stack)[kind]
        waveform = as_waveform(thing)
    assert waveform.shape == (RATE,)
    assert torch.allclose(waveform, torch.from_numpy(tone()), atol=1e-4)


def test_what_people_hold_says_its_rate(wav):
    with pytest.raises(AudioError, match="its sample rate is 16000 Hz and not the 44100 Hz"):
        as_waveform(wav.read_bytes(), 44_100)
    with pytest.raises(AudioError, match="its sample rate is 16000 Hz and not the 8000 Hz"):
        as_waveform({"array": tone(), "sampling_rate": RATE}, 8_000)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ({"array": [0.0, 0.1]}, 'an "array" needs its "sampling_rate"'),
        ({"audio": "a.wav"}, "a recording as a dictionary has .*; this one has 'audio'"),
        ({}, "this one has nothing"),
        (b"", "the file is empty"),
        (b"RIFF", "not a recording"),
        (io.StringIO("text"), r'it is open for text; open it with mode "rb"'),
        (io.BytesIO(b""), r"there is nothing left to read; go back to its beginning with seek\(0\)"),
    ],
)
def test_what_people_hold_wrongly(thing, message):
    with pytest.raises(AudioError, match=message):
        as_waveform(thing)


def test_a_closed_file(wav):
    with open(wav, "rb") as file:
        pass
    with pytest.raises(AudioError, match=r"cannot be read .*; open it for reading"):
        as_waveform(file)
