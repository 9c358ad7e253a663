"""The calls of users, and the errors for bad input."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import soundfile
import torch

from neucodec_tts import AudioError, CheckpointError, CodesError, DeviceError, NeuCodec
from neucodec_tts.codec import neucodec
from tests.parity.comparisons import snr
from tests.parity.signals import speechlike
from tests.parity.sizes import small_config


def test_one_item_or_a_list(codec, speech):
    long, short = speech(1.0), speech(0.3)
    codes = codec.encode(long, 16_000)
    assert codes.dtype == torch.long
    assert codes.shape == (50,)
    both = codec.encode([short, long.numpy()], 16_000)
    assert [len(item) for item in both] == [15, 50]
    assert torch.equal(both[1], codes)
    audio = codec.decode(codes)
    assert audio.dtype == torch.float32
    assert audio.shape == (480 * 50,)
    assert snr(audio, codec.decode([both[0], codes.tolist()])[1]) > 80
    assert codec.encode([], 16_000) == []
    assert codec.decode([]) == []


def test_a_list_of_numbers_is_one_item(codec, speech):
    wave = speech(0.1)
    codes = codec.encode(wave, 16_000)
    assert torch.equal(codec.encode(wave.tolist(), 16_000), codes)
    assert torch.equal(codec.decode(codes.tolist()), codec.decode(codes))
    assert torch.equal(codec.decode(codes.numpy().astype(np.uint16)), codec.decode(codes))


def test_files_arrays_and_their_rates(codec, speech, tmp_path):
    wave = speech(0.5)
    path = tmp_path / "speech.wav"
    soundfile.write(path, wave.numpy(), 16_000, subtype="FLOAT")
    codes = codec.encode(wave, 16_000)
    assert torch.equal(codec.encode(path), codes)
    assert torch.equal(codec.encode(str(path)), codes)
    assert torch.equal(codec.encode(torch.stack([wave, wave], dim=1), 16_000), codes)
    assert len(codec.encode(speech(1.5), 48_000)) == 25


def test_upstreams_calls(codec, speech, tmp_path):
    wave = speech(1.0)
    fsq_codes = codec.encode_code(torch.stack([wave, wave])[:, None])
    assert fsq_codes.shape == (2, 1, 50)
    assert fsq_codes.dtype == torch.int32
    assert torch.equal(fsq_codes[1, 0].long(), codec.encode(wave, 16_000))
    recon = codec.decode_code(fsq_codes)
    assert recon.shape == (2, 1, 24_000)
    path = tmp_path / "speech.wav"
    soundfile.write(path, wave.numpy(), 16_000, subtype="FLOAT")
    assert torch.equal(codec.encode_code(str(path)), fsq_codes[:1])


def test_batches_do_not_change_the_answer(codec, speech):
    waves = [speech(seconds) for seconds in (0.2, 1.3, 0.4, 0.9, 0.41)]
    apart = codec.encode(waves, 16_000, max_batch_seconds=0.1)
    assert all(torch.equal(a, b) for a, b in zip(codec.encode(waves, 16_000), apart, strict=True))
    alone = codec.decode(apart, max_batch_seconds=0.1)
    assert min(snr(a, b) for a, b in zip(alone, codec.decode(apart), strict=True)) > 80


def test_the_acoustic_encoder_in_chunks_is_the_whole(codec, speech):
    encoder = codec.acoustic_encoder
    waves = torch.stack([speech(6.4), speech(6.4).flip(0)])[:, None]
    lengths = torch.tensor([6.4 * 16_000, 2.4 * 16_000]).long()
    whole = encoder(waves, lengths)
    chunks = encoder.forward_in_chunks(waves, lengths, chunk_frames=64)
    assert snr(whole[0], chunks[0]) > 80
    assert snr(whole[1, :, :120], chunks[1, :, :120]) > 80


def test_long_recordings_go_through_overlapping_windows(codec, speech, monkeypatch):
    wave = speech(9.0)
    whole = codec.encode(wave, 16_000)
    exact = codec.decode(whole)
    monkeypatch.setattr(neucodec, "EXACT_SECONDS", 4.0)
    monkeypatch.setattr(neucodec, "_WINDOW_OVERLAP_SECONDS", 2.0)
    codes = codec.encode([speech(1.0), wave], 16_000)[1]
    assert len(codes) == 450
    # Windows begin every 2 s, on a frame, so that the first is the beginning of the recording encoded alone.
    assert torch.equal(codes[:150], codec.encode(wave[: 4 * 16_000], 16_000)[:150])
    audio = codec.decode(whole)
    assert len(audio) == len(exact)
    assert torch.isfinite(audio).all()


@pytest.mark.parametrize(
    ("audio", "rate", "says"),
    [
        (torch.zeros(319), 16_000, "319 samples at 16000 Hz are shorter than one frame"),
        (torch.zeros(1), 16_000, "shorter than one frame"),
        (torch.zeros(16_000), None, "sample_rate"),
        (torch.full((16_000,), float("nan")), 16_000, "sample 0"),
        (torch.zeros(0), 16_000, "no samples"),
        ("no_such_file.wav", None, r"no_such_file\.wav"),
    ],
)
def test_what_is_not_speech_is_refused_by_name(codec, speech, audio, rate, says):
    with pytest.raises(AudioError, match=says):
        codec.encode(audio, rate)
    with pytest.raises(AudioError, match=f"^item 1: .*{says}"):
        codec.encode([speech(0.1) if rate else _file(codec), audio], rate)


def _file(codec):
    from pathlib import Path

    import neucodec_tts

    return next((Path(neucodec_tts.__file__).parent / "assets").glob("*.flac"))


def test_silence_and_clipping_are_encoded(codec, speech):
    assert len(codec.encode(torch.zeros(16_000), 16_000)) == 50
    assert len(codec.encode(speech(1.0).mul(1000).clamp(-1, 1), 16_000)) == 50


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        ([65_536], "code 65536 at position 0 is outside"),
        ([0, -1], "code -1 at position 1 is outside"),
        (torch.zeros(3), "integers"),
        ([0.5, 1.0], "integers"),
        (torch.zeros(0, dtype=torch.long), "no codes"),
        (torch.zeros(1, 1, 3, dtype=torch.long), "decode_code"),
        (np.array(["a"]), "integers"),
        ("abc", "integers"),
        (None, r"a sequence of integers was expected, not NoneType$"),
        (b"abc", r"a sequence of integers was expected, not bytes$"),
        ({"codes": [1]}, r"a sequence of integers was expected, not dict$"),
        ([2**70], r"these are no integers that a code can be$"),
    ],
)
def test_what_is_not_codes_is_refused_by_name(codec, codes, says):
    with pytest.raises(CodesError, match=says):
        codec.decode(codes)
    with pytest.raises(CodesError, match=f"^item 1: .*{says}"):
        codec.decode([[1, 2], codes])


def test_shapes_that_upstreams_calls_do_not_take(codec):
    with pytest.raises(AudioError, match=r"\(B, 1, T\)"):
        codec.encode_code(torch.zeros(16_000))
    with pytest.raises(CodesError, match=r"\(B, 1, frames\)"):
        codec.decode_code(torch.zeros(3, dtype=torch.long))
    with pytest.raises(AudioError, match=r"\(B, 1, T\) .* not \(0, 1, 16000\)"):
        codec.encode_code(torch.zeros(0, 1, 16_000))
    with pytest.raises(CodesError, match=r"\(B, 1, frames\), not \(0, 1, 3\)"):
        codec.decode_code(torch.zeros(0, 1, 3, dtype=torch.long))


def test_a_stream_refuses_what_is_no_codes(codec):
    with pytest.raises(CodesError, match="a sequence of integers was expected, not NoneType"):
        codec.stream().push(None)


def test_an_empty_name_is_no_folder(codec):
    with pytest.raises(CheckpointError, match="the name of the model is empty"):
        type(codec).from_pretrained("")


def test_too_little_memory_says_what_to_lower(codec, speech, monkeypatch):
    def allocate(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(NeuCodec, "_encode_branches", allocate)
    with pytest.raises(DeviceError, match=r"2 items of up to 1\.0 s; set max_batch_seconds below 60"):
        codec.encode([speech(1.0)] * 2, 16_000)


def test_a_configuration_that_is_no_codec_is_refused():
    config = small_config()
    config.quantization_dim = 99
    with pytest.raises(CheckpointError, match="quantization_dim is 99"):
        NeuCodec(config)


def test_training_mode_passes_gradients_through_the_quantizer(speech):
    torch.manual_seed(0)
    codec = NeuCodec(small_config())
    wave = torch.stack([speech(0.6), speech(0.6).flip(0)])
    audio, codes, frames = codec(wave, torch.tensor([9600, 6400]))
    assert codes.shape == (2, 29)
    assert frames.tolist() == [29, 19]
    audio.square().mean().backward()
    without = [name for name, p in codec.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == ["semantic_encoder.masked_spec_embed"]  # of Wav2Vec2-BERT's own pretraining


@pytest.mark.parametrize(
    "part", ["semantic_encoder", "semantic_adapter", "acoustic_encoder", "fc_encoder", "quantizer.project_in"]
)
def test_the_fingerprint_of_the_encoder_covers_all_of_its_parts(codec, part):
    changed = copy.deepcopy(codec)
    assert changed.encoder_fingerprint() == codec.encoder_fingerprint()
    with torch.no_grad():
        weight = list(changed.get_submodule(part).parameters())[-1]
        weight.view(-1)[-1] += 1e-3
    assert changed.encoder_fingerprint() != codec.encoder_fingerprint()


def test_the_fingerprint_of_the_encoder_leaves_the_decoder_out(codec):
    changed = copy.deepcopy(codec)
    with torch.no_grad():
        changed.acoustic_decoder.head.linear.weight += 1
    assert changed.encoder_fingerprint() == codec.encoder_fingerprint()
    assert changed.half().encoder_fingerprint() != codec.encoder_fingerprint()


def test_encodes_what_people_hold(codec, tmp_path):
    samples = speechlike(16_000, seed=3)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    content = path.read_bytes()
    expected = codec.encode(path)
    for thing in (
        content,
        io.BytesIO(content),
        {"array": samples, "sampling_rate": 16_000},
        {"bytes": content},
    ):
        assert codec.encode(thing).equal(expected)
    both = codec.encode([content, {"path": str(path)}])
    assert [codes.equal(expected) for codes in both] == [True, True]


def test_two_rows_are_not_guessed_at(codec):
    samples = torch.from_numpy(speechlike(16_000, seed=3))
    with pytest.raises(AudioError, match=r"\(2, 16000\) may be 2 recordings or the channels of one"):
        codec.encode(torch.stack([samples, samples]), 16_000)
    stereo = codec.encode(torch.stack([samples, samples]), 16_000, channels_first=True)
    assert stereo.equal(codec.encode(samples, 16_000))
