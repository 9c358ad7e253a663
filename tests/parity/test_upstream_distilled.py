"""Our distilled codec against upstream's ``DistillNeuCodec``, with random weights in upstream's own file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from neucodec_tts import DistillNeuCodec, NeuCodec
from tests.parity import cases
from tests.parity.comparisons import (
    Agreement,
    agreement_of_audio,
    agreement_of_codes,
    shares_of_levels,
)
from tests.parity.ours import decode_in_one_batch, encode_each, encode_in_one_batch, encode_list
from tests.parity.reference import Answers
from tests.parity.sizes import SMALL_WINDOW

pytestmark = pytest.mark.upstream

Encode = Callable[[NeuCodec, Mapping[str, np.ndarray]], dict[str, Tensor]]


def with_small_window(codec: NeuCodec) -> DistillNeuCodec:
    """The codec with the windows of the small model, which upstream's file does not tell."""
    assert isinstance(codec, DistillNeuCodec)
    encoder = codec.acoustic_encoder
    encoder.transformer1.window = SMALL_WINDOW * encoder.last_ratio
    encoder.transformer2.window = SMALL_WINDOW
    return codec


@pytest.fixture(scope="module")
def answers(small_answers: dict[str, Answers]) -> Answers:
    """Upstream's, to all cases."""
    return small_answers["distilled"]


@pytest.fixture(scope="module")
def codec(answers: Answers) -> DistillNeuCodec:
    """Ours, loaded by the class that users know, which sees what the file holds."""
    return with_small_window(NeuCodec.from_pretrained(answers.checkpoint))


def test_the_random_model_uses_its_whole_codebook(answers: Answers):
    """Or else equal codes would say nothing."""
    shares = shares_of_levels([answers.codes[name] for name in cases.spoken()])
    assert shares.min() > 0.02, shares
    assert answers.gain < 60, "the encoder hardly reacts to its input"
    assert not answers.errors


@pytest.mark.parametrize("encode", [encode_each, encode_list, encode_in_one_batch])
@pytest.mark.parametrize(
    "group",
    [cases.distilled_lengths, cases.spoken, cases.ragged, cases.unusual, cases.nearly_silent],
    ids=lambda group: group.__name__,
)
def test_codes(
    answers: Answers, codec: DistillNeuCodec, group: Callable[[], dict[str, np.ndarray]], encode: Encode
):
    waveforms = group()
    codes = encode(codec, waveforms)
    assert [len(item) for item in codes.values()] == [len(w) // cases.HOP + 1 for w in waveforms.values()]
    agreement_of_codes(answers, codes).check()


def test_codes_of_files(answers: Answers, codec: DistillNeuCodec, audio_files: dict[str, Path]):
    names = ["mono24000", "mono44100"]
    codes = codec.encode([audio_files[name] for name in names])
    agreement_of_codes(answers, dict(zip(names, codes, strict=True))).check()


def test_samples(answers: Answers, codec: DistillNeuCodec):
    codes = {name: sequence for name, sequence in cases.code_sequences().items() if name in answers.audio}
    agreement_of_audio(answers, {name: codec.decode(each) for name, each in codes.items()}).check()
    agreement_of_audio(answers, decode_in_one_batch(codec, codes)).check()


def test_upstreams_own_calls(answers: Answers, codec: DistillNeuCodec, audio_files: dict[str, Path]):
    """Upstream's ``encode_code`` takes one item; ours takes batches, as both documentations promise."""
    name = f"spoken{cases.SECOND}"
    waveform = torch.from_numpy(cases.spoken()[name])
    codes = codec.encode_code(torch.stack([waveform, waveform])[:, None])
    assert codes[:1].shape == answers.codes[name].shape
    agreement = Agreement()
    for item in codes:
        agreement.add_codes(name, answers.codes[name][0, 0], item[0], answers.bounded[name][0])
    agreement.check()
    assert codec.encode_code(str(audio_files["mono24000"])).shape == answers.codes["mono24000"].shape
    sequence = torch.from_numpy(cases.code_sequences()["codes50"]).view(1, 1, -1)
    assert codec.decode_code(sequence).shape == answers.audio["codes50"].shape


def test_a_normalizing_semantic_encoder_outside_the_checkpoint(small_answers: dict[str, Answers]):
    """Its feature extractor's settings are read where its weights are."""
    answers = small_answers["normalized"]
    (answers.checkpoint / "config.json").unlink()
    codec = with_small_window(
        NeuCodec.from_pretrained(answers.checkpoint, semantic_model=str(answers.semantic_model))
    )
    assert codec.config.normalize_waveform
    agreement_of_codes(answers, encode_in_one_batch(codec, cases.ragged())).check()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_full_size(full_distilled_answers: Answers):
    """The released sizes: ten seconds, a ragged batch, and a code back to audio."""
    codec = DistillNeuCodec.from_pretrained(full_distilled_answers.checkpoint)
    agreement_of_codes(full_distilled_answers, encode_each(codec, cases.full_size_spoken())).check()
    agreement_of_codes(full_distilled_answers, encode_in_one_batch(codec, cases.full_size_ragged())).check()
    audio = codec.decode(cases.full_size_codes()["codes1"])
    agreement_of_audio(full_distilled_answers, {"codes1": audio}).check()
