"""Recordings whose headers count wrongly, or that are damaged: all of them is read, or they are refused."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from neucodec_tts.audio import LongRecording, load_audio
from neucodec_tts.errors import AudioError

RATE = 16_000


def voice(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(0).normal(0, 0.03, time.size)
    return (0.3 * np.sin(2 * np.pi * 150 * time * (1 + 0.05 * np.sin(4 * time))) + noise).astype(np.float32)


def written(seconds: float, form: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, voice(seconds), RATE, format=form, subtype=subtype)
    return file.getvalue()


FLAC = written(2.0, "FLAC")


def flac_of(samples: int, content: bytes = FLAC) -> bytes:
    """A FLAC file whose header counts so many samples."""
    packed = int.from_bytes(content[18:26], "big") & ~(2**36 - 1) | samples
    return content[:18] + packed.to_bytes(8, "big") + content[26:]


def both_ways(path: Path) -> tuple[int, int]:
    """The samples that the reader finds, and those that the reader of hours finds."""
    long = LongRecording(path)
    counted = sum(block.shape[0] for block in long.blocks())
    long.close()
    assert load_audio(path.read_bytes())[0].size == load_audio(path)[0].size
    return load_audio(path)[0].size, counted


@pytest.mark.parametrize("samples", [0, 1, 16_000, 31_999, 32_000, 32_001, 32_319])
@pytest.mark.parametrize("behind", [b"", b"TAG" + bytes(125), b"\xff\xf8\x59\x18" * 300])
def test_flac_is_read_to_its_last_frame(tmp_path, samples, behind):
    path = tmp_path / "a.flac"
    path.write_bytes(flac_of(samples) + behind)
    assert both_ways(path) == (32_000, 32_000)


@pytest.mark.parametrize("samples", [32_320, 64_000, 2**36 - 1])
def test_flac_that_promises_more_is_refused(tmp_path, samples):
    path = tmp_path / "a.flac"
    path.write_bytes(flac_of(samples))
    for read in (load_audio, LongRecording):
        with pytest.raises(AudioError, match=r"a\.flac: the file is cut short, 2\.00 of"):
            read(path)


@pytest.mark.parametrize("seconds", [0.01, 0.2, 0.3])
def test_short_flac_files(tmp_path, seconds):
    path = tmp_path / "a.flac"
    path.write_bytes(flac_of(0, written(seconds, "FLAC")))
    assert both_ways(path) == (round(seconds * RATE), round(seconds * RATE))


def chunk(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return kind + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) & 1)


def wave(*chunks: bytes) -> bytes:
    body = b"WAVE" + chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)) + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


SOUND = (voice(1.0) * 32767).astype("<i2").tobytes()


def test_further_data_chunks_are_read(tmp_path, caplog):
    path = tmp_path / "a.wav"
    path.write_bytes(wave(chunk(b"data", SOUND), chunk(b"LIST", b"INFO"), chunk(b"data", SOUND)))
    assert both_ways(path) == (2 * RATE, 2 * RATE)
    assert "in 2 data chunks, which are read as one" in caplog.text


@pytest.mark.parametrize("size", [16_000, 31_998])
def test_sound_behind_the_end_that_the_header_names_is_told(tmp_path, caplog, size):
    path = tmp_path / "a.wav"
    path.write_bytes(wave(chunk(b"data", SOUND, size)))
    load_audio(path)
    assert ("bytes after the end of its sound are not read" in caplog.text) == (size == 16_000)


@pytest.mark.parametrize(
    "behind", [chunk(b"LIST", b"INFO"), chunk(b"id3 ", b"ID3" + bytes(9)), bytes(5000), b""]
)
def test_chunks_and_padding_behind_the_sound_are_no_sound(tmp_path, caplog, behind):
    path = tmp_path / "a.wav"
    path.write_bytes(wave(chunk(b"data", SOUND), behind))
    assert both_ways(path) == (RATE, RATE)
    assert caplog.text == ""


def pages(content: bytes) -> list[bytes]:
    found, position = [], 0
    while position < len(content):
        segments = content[position + 26]
        size = 27 + segments + sum(content[position + 27 : position + 27 + segments])
        found.append(content[position : position + size])
        position += size
    return found


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_with_holes_is_refused(tmp_path, subtype):
    content = written(20.0, "OGG", subtype)
    assert load_audio(content)[0].size == 20 * RATE
    split = pages(content)
    assert len(split) > 6
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 0xFF
    rubbish = b"".join([*split[:4], bytes(1000), *split[4:]])
    for broken in (bytes(damaged), b"".join(split[:4] + split[5:]), rubbish):
        with pytest.raises(AudioError, match="pages of it are damaged or missing"):
            load_audio(broken)


def sphere(samples: int) -> bytes:
    fields = f"sample_count -i {samples}\nsample_rate -i {RATE}\nchannel_count -i 1\nsample_n_bytes -i 2\n"
    rest = "sample_byte_format -s2 01\nsample_sig_bits -i 16\nsample_coding -s3 pcm\nend_head\n"
    return f"NIST_1A\n   1024\n{fields}{rest}".encode().ljust(1024, b"\0") + SOUND


def test_sphere_files_that_are_cut_short_are_refused(tmp_path):
    path = tmp_path / "a.sph"
    path.write_bytes(sphere(RATE))
    assert load_audio(path)[0].size == RATE
    path.write_bytes(sphere(2 * RATE))
    with pytest.raises(AudioError, match=r"a\.sph: the file is cut short, 1\.00 of 2\.00 s"):
        load_audio(path)


@pytest.mark.parametrize(
    "content", [wave(chunk(b"data", SOUND)), written(1.0, "FLAC"), written(1.0, "OGG", "VORBIS")]
)
def test_a_tag_before_other_formats_is_no_sound(content):
    tagged = b"ID3\x03\0\0\0\0\x10\0" + bytes(2048) + content
    np.testing.assert_array_equal(load_audio(tagged)[0], load_audio(content)[0])


def test_a_placeholder_for_the_frames_of_an_mp3():
    content = bytearray(written(1.0, "MP3", "MPEG_LAYER_III"))
    place = max(content.find(b"Xing"), content.find(b"Info"))
    if place < 0:
        pytest.skip("this libsndfile writes no count")
    whole = load_audio(bytes(content))[0].size
    content[place + 8 : place + 12] = b"\xff" * 4
    assert whole <= load_audio(bytes(content))[0].size <= whole + 3 * 1152


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n", "text .'<!DOCTYPE html>"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n", "git lfs pull"),
    ],
)
def test_what_came_in_place_of_a_recording(tmp_path, name, content, says, capfd):
    (tmp_path / name).write_bytes(20 * content)
    with pytest.raises(AudioError, match=says):
        load_audio(tmp_path / name)
    assert "MPEG" not in capfd.readouterr().err


OTHERS = {
    "wav": wave(chunk(b"data", SOUND)),
    "flac": written(1.0, "FLAC"),
    "ogg": written(1.0, "OGG", "VORBIS"),
    "mp3": written(1.0, "MP3", "MPEG_LAYER_III"),
    "aiff": written(1.0, "AIFF"),
    "au": written(1.0, "AU"),
    "caf": written(1.0, "CAF"),
    "w64": written(1.0, "W64"),
}


@pytest.mark.parametrize(
    ("first", "second"),
    [(first, second) for first in OTHERS for second in ("wav", "flac", "ogg") if first != second]
    + [(first, "mp3") for first in ("wav", "ogg", "aiff", "au", "caf")],
)
def test_recordings_of_two_formats_in_one_file_are_refused(first, second):
    with pytest.raises(AudioError, match="several recordings were joined in this file"):
        load_audio(OTHERS[first] + OTHERS[second])


@pytest.mark.parametrize("first", ["ogg", "aiff", "au", "caf", "mp3"])
def test_bytes_behind_the_sound_of_other_formats_are_told(caplog, first):
    assert abs(load_audio(OTHERS[first] + b"more" * 2000)[0].size - load_audio(OTHERS[first])[0].size) < 2000
    assert "8,000 bytes" in caplog.text


def test_a_tag_behind_a_wav_file_is_no_sound(caplog):
    load_audio(OTHERS["wav"] + b"ID3\x03\0\0\0\0\x10\0" + bytes(2038) + b"\1" * 10)
    assert caplog.text == ""


@pytest.mark.parametrize("size", [0, 2**31 - 1])
def test_au_whose_size_was_never_filled_in(size):
    content = OTHERS["au"]
    assert load_audio(content[:8] + struct.pack(">I", size) + content[12:])[0].size == RATE


def test_caf_whose_size_was_never_filled_in():
    content = OTHERS["caf"]
    place = content.index(b"data") + 4
    assert load_audio(content[:place] + bytes(8) + content[place + 8 :])[0].size == RATE


def test_a_header_alone_is_told_with_its_length():
    with pytest.raises(AudioError, match=r"cut short, 0\.00 of 1\.00 s"):
        load_audio(OTHERS["wav"][:44])


def test_mp3_files_in_a_row_are_told(caplog):
    load_audio(2 * OTHERS["mp3"])
    assert "joined from 2 recordings, which are read as one" in caplog.text


def test_a_hole_in_an_mp3_file_is_told(caplog):
    content = bytearray(written(8.0, "MP3", "MPEG_LAYER_III"))
    place = max(content.find(b"Xing"), content.find(b"Info"), 0)
    content[place : place + 4] = bytes(4)  # no count that would give it away
    content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    load_audio(bytes(content))
    assert "bytes in it are not MP3" in caplog.text


def test_sphere_files_that_are_joined_or_compressed_are_refused():
    with pytest.raises(AudioError, match="several recordings were joined"):
        load_audio(2 * sphere(RATE))
    packed = sphere(RATE).replace(b"-s3 pcm", b"-s26 pcm,embedded-shorten-v2.00")
    with pytest.raises(AudioError, match=r"compressed .*sph2pipe"):
        load_audio(packed)


@pytest.mark.parametrize(
    "content",
    [
        b"404: Not Found",
        "<html><title>Zugriff verweigert \u2013 \u00dc</title>".encode(),
        "\ufeff<?xml version='1.0'?><Error/>".encode(),
        "<html>\u00dcbung</html>".encode("utf-16"),
        b"a" * 199 + "\u00fc".encode() + b" more",
    ],
)
def test_texts_in_place_of_a_recording(content):
    with pytest.raises(AudioError, match=r"text .*not a recording"):
        load_audio(content)
