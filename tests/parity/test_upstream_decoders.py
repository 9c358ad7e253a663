"""Decoders of 44.1 and 48 kHz and other depths, in upstream's layout, against upstream's code with their sizes.

The code of the decoders' authors is upstream's, with the hop and the number of layers as arguments.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from neucodec_tts import CheckpointError, NeuCodec
from neucodec_tts.codec.storage import load_codes, save_codes
from tests.parity import cases
from tests.parity.comparisons import agreement_of_audio
from tests.parity.ours import decode_in_one_batch, encode_each
from tests.parity.reference import Answers
from tests.parity.sizes import OTHER_DECODERS

pytestmark = pytest.mark.upstream


@pytest.fixture(params=list(OTHER_DECODERS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def checkpoint(small_answers: dict[str, Answers], kind: str, tmp_path: Path) -> Path:
    """As on the hub: the weights alone."""
    (tmp_path / "pytorch_model.bin").symlink_to(small_answers[kind].checkpoint / "pytorch_model.bin")
    return tmp_path


def test_sizes_are_found_from_the_weights(checkpoint: Path, kind: str):
    rate, layers = OTHER_DECODERS[kind]
    codec = NeuCodec.from_pretrained(checkpoint)
    assert (codec.input_sample_rate, codec.input_hop_length, codec.frame_rate) == (16_000, 320, 50)
    assert (codec.output_sample_rate, codec.output_hop_length) == (rate, rate // 50)
    assert (codec.sample_rate, codec.hop_length) == (rate, rate // 50), "upstream's names are of its output"
    assert len(codec.acoustic_decoder.layers) == layers
    assert codec.decode([1, 2, 3]).numel() == 3 * rate // 50


def test_samples(small_answers: dict[str, Answers], checkpoint: Path, kind: str):
    codec = NeuCodec.from_pretrained(checkpoint)
    answers, codes = small_answers[kind], cases.code_sequences() | cases.ragged_codes()
    agreement_of_audio(answers, {name: codec.decode(each) for name, each in codes.items()}).check()
    agreement_of_audio(answers, decode_in_one_batch(codec, codes)).check()


def test_a_stream_gives_the_samples_of_a_whole_decoding(checkpoint: Path):
    codec = NeuCodec.from_pretrained(checkpoint)
    codes = torch.arange(120) * 523
    with codec.stream(lookback=1000, chunk=1000, lookahead=0, overlap=0, first_chunk=1000) as decoder:
        streamed = torch.cat([decoder.push(codes), decoder.flush()])
    torch.testing.assert_close(streamed, codec.decode(codes), atol=1e-4, rtol=0)
    with codec.stream() as decoder:
        parts = torch.cat([*(decoder.push(part) for part in codes.split(7)), decoder.flush()])
    with codec.stream() as decoder:
        assert torch.equal(parts, torch.cat([decoder.push(codes), decoder.flush()]))
    assert parts.numel() == 120 * codec.output_hop_length


def test_a_decoder_beside_another_encoder(
    small_answers: dict[str, Answers], checkpoint: Path, kind: str, tmp_path_factory: pytest.TempPathFactory
):
    """Codes of the first decode with the second, as its own codes do, and all have one `codec_id`."""
    theirs = NeuCodec.from_pretrained(checkpoint)
    whole = small_answers["whole"].checkpoint  # of the same codebook: the seed is the same
    own, both = NeuCodec.from_pretrained(whole), NeuCodec.from_pretrained(whole, decoder=checkpoint)
    assert own.codec_id == both.codec_id == theirs.codec_id
    assert (own.output_sample_rate, both.output_sample_rate) == (24_000, OTHER_DECODERS[kind][0])
    assert own.encoder_fingerprint() == both.encoder_fingerprint()
    codes = encode_each(own, {"speech": cases.calibration()})["speech"]
    folder = tmp_path_factory.mktemp("codes")
    save_codes(folder / "codes.safetensors", codes, own)
    assert torch.equal(both.decode(load_codes(folder / "codes.safetensors", both)), theirs.decode(codes))

    both.save_pretrained(folder / "both")
    again = NeuCodec.from_pretrained(folder / "both")
    assert again.codec_id == own.codec_id
    assert torch.equal(again.decode(codes), theirs.decode(codes))
    back = NeuCodec.from_pretrained(folder / "both", decoder=whole)  # from the layout of transformers, too
    assert torch.equal(back.decode(codes), own.decode(codes))


def test_a_decoder_of_other_codes_is_refused(small_answers: dict[str, Answers], checkpoint: Path):
    with pytest.raises(CheckpointError, match="trained on its codes"):
        NeuCodec.from_pretrained(small_answers["distilled"].checkpoint, decoder=checkpoint)


def test_a_head_of_another_size(small_answers: dict[str, Answers], checkpoint: Path):
    weights = torch.load(checkpoint / "pytorch_model.bin", weights_only=True)
    weights["generator.head.out.weight"] = weights["generator.head.out.weight"][:-1]
    (checkpoint / "pytorch_model.bin").unlink()
    torch.save(weights, checkpoint / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"head\.out\.weight has \d+ rows"):
        NeuCodec.from_pretrained(checkpoint)
