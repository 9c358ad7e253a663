"""Ours against upstream ``neucodec`` 0.0.6, with random weights in upstream's own checkpoint file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from neucodec_tts import AudioError, NeuCodec
from tests.parity import cases
from tests.parity.comparisons import (
    Agreement,
    agreement_of_audio,
    agreement_of_codes,
    shares_of_levels,
)
from tests.parity.ours import decode_in_one_batch, encode_each, encode_in_one_batch, encode_list
from tests.parity.reference import Answers, Question, Request, ask_upstream
from tests.parity.signals import speechlike
from tests.parity.sizes import OTHER_DECODERS, small_config

pytestmark = pytest.mark.upstream

Encode = Callable[[NeuCodec, Mapping[str, np.ndarray]], dict[str, Tensor]]


def test_the_random_model_uses_its_whole_codebook(answers: Answers):
    """Or else equal codes would say nothing."""
    shares = shares_of_levels([answers.codes[name] for name in cases.spoken()])
    assert shares.min() > 0.02, shares
    assert answers.gain < 30, "the encoder hardly reacts to its input"
    assert all(audio.std() > 0.01 for audio in answers.audio.values())


@pytest.mark.parametrize("encode", [encode_each, encode_list])
@pytest.mark.parametrize(
    "group",
    [cases.around_multiples, cases.spoken, cases.ragged, cases.unusual],
    ids=lambda group: group.__name__,
)
def test_codes(answers: Answers, codec: NeuCodec, group: Callable[[], dict[str, np.ndarray]], encode: Encode):
    agreement_of_codes(answers, encode(codec, group())).check()


def test_every_length_from_one_frame_to_three(answers: Answers, codec: NeuCodec):
    waveforms = cases.every_length()
    codes = encode_list(codec, waveforms)
    for name, waveform in waveforms.items():
        assert len(codes[name]) == len(waveform) // cases.HOP
    agreement = Agreement()
    for batch, (names, _) in cases.every_length_padded().items():
        for i, name in enumerate(names):
            agreement.add_codes(name, answers.codes[batch][i, 0], codes[name], answers.bounded[batch][i])
    assert agreement.items == len(waveforms)
    agreement.check()


def test_nearly_silent(answers: Answers, codec: NeuCodec):
    """Here upstream's answer hangs on the last bit of its own sums, and is only met nearly."""
    agreement = Agreement(max_distance=1e-2)
    for name, waveform in cases.nearly_silent().items():
        codes = codec.encode(waveform, 16_000)
        agreement.add_codes(name, answers.codes[name][0, 0], codes, answers.bounded[name][0])
    agreement.check()


def test_less_than_a_frame_is_refused_as_upstream_cannot_encode_it(answers: Answers, codec: NeuCodec):
    for name, waveform in cases.too_short().items():
        assert name in answers.errors
        with pytest.raises(AudioError, match=f"{len(waveform)} samples"):
            codec.encode(waveform, 16_000)


@pytest.mark.parametrize("group", [cases.ragged, cases.around_multiples], ids=lambda group: group.__name__)
def test_codes_of_one_ragged_batch(
    answers: Answers, codec: NeuCodec, group: Callable[[], dict[str, np.ndarray]]
):
    agreement_of_codes(answers, encode_in_one_batch(codec, group())).check()


@pytest.mark.parametrize("rate", cases.SAMPLE_RATES)
def test_codes_of_files(answers: Answers, codec: NeuCodec, audio_files: dict[str, Path], rate: int):
    name = f"mono{rate}"
    codes = codec.encode(audio_files[name])
    if rate == 16_000:
        # Upstream forgets the batch axis where it need not resample.
        assert name in answers.errors
        assert len(codes) == (2 * rate + 123) // cases.HOP
    else:
        agreement_of_codes(answers, {name: codes}).check()


def test_upstream_cannot_encode_stereo(answers: Answers):
    """Ours takes the mean of the channels, which is therefore our own choice."""
    assert "stereo44100" in answers.errors


def test_samples_of_each_length(answers: Answers, codec: NeuCodec):
    audio = {name: codec.decode(codes) for name, codes in cases.code_sequences().items()}
    agreement_of_audio(answers, audio).check()


def test_samples_of_a_ragged_list(answers: Answers, codec: NeuCodec):
    codes = cases.ragged_codes()
    audio = dict(zip(codes, codec.decode(list(codes.values())), strict=True))
    agreement_of_audio(answers, audio).check()


def test_samples_of_one_ragged_batch(answers: Answers, codec: NeuCodec):
    audio = decode_in_one_batch(codec, cases.ragged_codes() | cases.code_sequences())
    agreement_of_audio(answers, audio).check()


def test_upstreams_attributes(small_answers: dict[str, Answers]):
    """Attributes that programs read have upstream's values, also with decoders of other rates."""
    for name in ("whole", "distilled", *OTHER_DECODERS):
        theirs = small_answers[name]
        ours = NeuCodec.from_pretrained(theirs.checkpoint, device="cpu")
        found = {key: str(getattr(ours, key)) for key in ("sample_rate", "hop_length", "device")}
        found["codes"] = str(ours.encode_code(torch.from_numpy(cases.calibration()).view(1, 1, -1)).dtype)
        assert found == theirs.attributes, name


def test_upstreams_own_calls(answers: Answers, codec: NeuCodec, audio_files: dict[str, Path]):
    """``encode_code`` and ``decode_code``: shapes, types and values."""
    codes = codec.encode_code(torch.from_numpy(cases.alike()))
    assert codes.shape == answers.codes["alike"].shape
    agreement = Agreement()
    for i, actual in enumerate(codes):
        agreement.add_codes(
            f"alike {i}", answers.codes["alike"][i, 0], actual[0], answers.bounded["alike"][i]
        )
    agreement.check()

    from_path = codec.encode_code(str(audio_files["mono24000"]))
    assert from_path.shape == answers.codes["mono24000"].shape
    assert torch.equal(from_path[0, 0].long(), codec.encode(audio_files["mono24000"]))

    audio = codec.decode_code(torch.from_numpy(cases.alike_codes()))
    assert audio.shape == answers.audio["codes alike"].shape
    assert audio.dtype == answers.audio["codes alike"].dtype
    agreement = Agreement()
    for i, actual in enumerate(audio):
        agreement.add_audio(f"alike {i}", answers.audio["codes alike"][i, 0], actual[0])
    agreement.check()


def test_a_checkpoint_without_its_semantic_encoder(upstream: Path, tmp_path: Path):
    """As the released one is: upstream takes Wav2Vec2-BERT from where its authors put it."""
    speech = speechlike(8_000, seed=1)
    request = Request({"speech": speech}, {}, {}, calibration=cases.calibration())
    [answers] = ask_upstream(
        upstream, Question(tmp_path, small_config(), request, seed=1, save="without_semantic")
    )
    (answers.checkpoint / "config.json").unlink()
    codec = NeuCodec.from_pretrained(answers.checkpoint, semantic_model=str(answers.semantic_model))
    agreement_of_codes(answers, encode_each(codec, {"speech": speech})).check()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_full_size(full_answers: Answers):
    """The released sizes: ten seconds, a ragged batch, and both back to audio."""
    codec = NeuCodec.from_pretrained(full_answers.checkpoint)
    ragged = cases.full_size_ragged()
    agreement_of_codes(full_answers, encode_each(codec, cases.full_size_spoken())).check()
    agreement_of_codes(full_answers, encode_in_one_batch(codec, ragged)).check()
    agreement_of_audio(full_answers, decode_in_one_batch(codec, cases.full_size_codes())).check()
