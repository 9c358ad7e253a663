"""Packing a corpus, and the segments that steps hear."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from neucodec_tts.audio.resampling import resample
from neucodec_tts.errors import DatasetError
from neucodec_tts.training.codec.packed_codes import PackedCodes, encode_packed
from neucodec_tts.training.codec.packed_speech import PackedSpeech, pack
from neucodec_tts.training.codec.reconstruction import within_band
from neucodec_tts.training.codec.segments import SegmentBatches, SegmentSettings
from tests.training.codec.conftest import listed, small_codec, voice, write_corpus


def test_packing_goes_on_where_it_was(tmp_path: Path, corpus: Path) -> None:
    whole = pack(listed(corpus), tmp_path / "whole", rate=24_000)
    assert [clip.id for clip in whole.clips] == ["c0", "c1", "c2", "c3"]
    assert whole.seconds == pytest.approx(4.8)
    wave = whole.samples(whole.clips[1])
    assert np.abs(wave - voice(1.2, 24_000, 220, 1)).max() < 1e-3
    # As if it had been killed within the last recording.
    for name, cut in (("speech.int16", 1001), ("clips.jsonl", 7)):
        path = tmp_path / "whole" / name
        path.write_bytes(path.read_bytes()[:-cut])
    again = pack(listed(corpus), tmp_path / "whole", rate=24_000)
    assert again.clips == whole.clips
    assert np.array_equal(again.samples(again.clips[3]), whole.samples(whole.clips[3]))


def test_a_longer_corpus_is_packed_on(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "corpus", clips=2)
    first = pack(listed(manifest), tmp_path / "packed", rate=16_000, least_rate=16_000)
    write_corpus(tmp_path / "corpus", clips=4)
    both = pack(listed(manifest), tmp_path / "packed", rate=16_000, least_rate=16_000)
    assert both.clips[:2] == first.clips
    assert len(both.clips) == 4


def test_recordings_below_the_rate_are_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_corpus(tmp_path / "corpus", rate=8_000)
    with caplog.at_level(logging.WARNING), pytest.raises(DatasetError, match="no speech in the corpus"):
        pack(listed(manifest), tmp_path / "packed", rate=24_000)
    assert "2.wav is left out: its rate is 8000 Hz" in caplog.text
    assert "4 recordings left out" in caplog.text
    kept = pack(listed(manifest), tmp_path / "kept", rate=24_000, least_rate=8_000)
    assert {clip.bandwidth for clip in kept.clips} == {4_000}


def test_another_rate_needs_another_folder(tmp_path: Path, corpus: Path) -> None:
    pack(listed(corpus), tmp_path, rate=24_000)
    with pytest.raises(DatasetError, match="at 24000 Hz, not 16000"):
        pack(listed(corpus), tmp_path, rate=16_000)


def test_a_folder_without_speech_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no packed speech"):
        PackedSpeech(tmp_path)


def batches(packed: PackedSpeech, **changes: object) -> SegmentBatches:
    settings = SegmentSettings(batch_seconds=4.0, shortest=0.5, longest=1.0, changed_share=0.5)
    values: dict[str, object] = {"rate": 16_000, "hop": 320, "output_hop": 480, "seed": 3}
    return SegmentBatches([packed], settings, **(values | changes))  # type: ignore[arg-type]


def test_what_a_step_hears_depends_on_its_number_alone(tmp_path: Path, corpus: Path) -> None:
    packed = pack(listed(corpus), tmp_path, rate=24_000)
    alone = batches(packed)[7]
    frames = alone.heard.shape[1] // 320
    assert alone.wanted.shape == (len(alone.heard), frames * 480)
    shared = [batches(packed, rank=rank, processes=2)[7] for rank in range(2)]
    for row in range(len(alone.heard)):
        assert torch.equal(alone.wanted[row], shared[row % 2].wanted[row // 2])
    assert not torch.equal(batches(packed, seed=4)[7].wanted[:1, :100], alone.wanted[:1, :100])


def test_both_rates_hear_the_same(tmp_path: Path, corpus: Path) -> None:
    packed = pack(listed(corpus), tmp_path, rate=24_000)
    batch = batches(packed)[0]
    low = within_band(batch.wanted, torch.full((len(batch.wanted),), 7_000.0), 24_000)
    spectrum = torch.fft.rfft(low)[:, : batch.heard.shape[1] // 2 + 1] * (2 / 3)
    heard = torch.fft.irfft(spectrum, batch.heard.shape[1])
    wanted = within_band(batch.heard, torch.full((len(batch.heard),), 7_000.0), 16_000)
    assert float((heard - wanted).square().mean()) < 1e-3 * float(wanted.square().mean())


def test_bands_end_where_the_recording_ends() -> None:
    noise = torch.randn(2, 24_000)
    kept = within_band(noise, torch.tensor([12_000.0, 4_000.0]), 24_000)
    assert torch.allclose(kept[0], noise[0], atol=1e-5)
    spectrum = torch.fft.rfft(kept[1]).abs()
    assert float(spectrum[4_100:].max()) < 1e-2 < float(spectrum[3_000:3_800].mean())


def test_a_corpus_is_encoded_once_and_on(tmp_path: Path, corpus: Path) -> None:
    packed = pack(listed(corpus), tmp_path, rate=24_000)
    codec = small_codec().eval()
    first = encode_packed(packed.part(lambda number: number > 1), codec)
    clip = packed.clips[1]
    whole = codec.encode(resample(packed.waveform(clip), 24_000, 16_000), 16_000)
    assert first.of(clip).tolist() == whole[: clip.samples // 480].tolist()
    assert first.of(clip, 3, 4).tolist() == whole[3:7].tolist()
    (path,) = tmp_path.glob("codes-*")
    complete = path.read_bytes()
    path.write_bytes(complete[:-10])  # as if it had been killed within the last recording
    written = path.stat().st_ino
    again = encode_packed(packed, codec)
    assert path.read_bytes() == complete
    assert path.stat().st_ino == written
    assert again.of(packed.clips[3]).tolist() == first.of(packed.clips[3]).tolist()
    encode_packed(packed, small_codec(seed=1))
    assert len(list(tmp_path.glob("codes-*"))) == 2  # another encoder finds other codes


class _Numbered(PackedCodes):
    """Codes that say where they are from: the index of their frame in the packed file."""

    def __init__(self) -> None:
        self.hop = 480

    def of(self, clip, first=0, count=None):
        stop = clip.samples // 480 if count is None else min(first + count, clip.samples // 480)
        return clip.start // 480 + np.arange(first, stop)


def test_coded_segments_have_the_sound_of_their_codes(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "corpus", clips=4, seconds=0.6)
    packed = pack(listed(manifest), tmp_path / "packed", rate=24_000)
    batch = batches(packed, codes=[_Numbered()])[0]
    assert batch.codes is not None
    assert batch.codes.shape[1] * 480 == batch.wanted.shape[1]
    assert batch.heard.shape == (len(batch.codes), 0)
    everything = np.fromfile(tmp_path / "packed" / "speech.int16", np.int16) / 32767
    joined = 0
    for codes, wanted in zip(batch.codes.numpy(), batch.wanted.numpy(), strict=True):
        joined += int((np.diff(codes) != 1).any())
        for code, sound in zip(codes, wanted.reshape(-1, 480), strict=True):
            assert np.allclose(sound, everything[code * 480 : code * 480 + 480], atol=1e-6)
    assert joined  # recordings of 0.6 s for segments of up to a second
