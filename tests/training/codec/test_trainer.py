"""The training loop: exact resumption, other rates, and what happens when things go wrong."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]

from neucodec_tts import NeuCodec
from neucodec_tts.errors import CheckpointError
from neucodec_tts.training.codec import state as state_module
from neucodec_tts.training.codec.discriminators import DiscriminatorSizes
from neucodec_tts.training.codec.models import changed, freeze, requantized, spread_new_digits, tiny_config
from neucodec_tts.training.codec.packed_codes import encode_packed
from neucodec_tts.training.codec.packed_speech import PackedSpeech, pack
from neucodec_tts.training.codec.settings import LossWeights, TrainingSettings
from neucodec_tts.training.codec.trainer import CodecTrainer, TrainingError
from neucodec_tts.training.codec.validation import Validation
from tests.training.codec.conftest import SETTINGS, listed, small_codec, write_corpus


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> PackedSpeech:
    return pack(listed(corpus), tmp_path_factory.mktemp("packed"), rate=24_000)


def trainer(
    codec: NeuCodec, speech: PackedSpeech, out: Path, settings: TrainingSettings = SETTINGS, **more: Any
) -> CodecTrainer:
    return CodecTrainer(codec, [speech], out, settings, accelerator=Accelerator(cpu=True), **more)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "state.pt", weights_only=True)["generator"]


def test_a_resumed_training_is_the_same_as_one_that_ran_through(tmp_path: Path, speech: PackedSpeech) -> None:
    trainer(small_codec(), speech, tmp_path / "whole").run()
    part = trainer(small_codec(), speech, tmp_path / "parts", replace(SETTINGS, save_every=2))
    for _ in range(2):
        part._train_step(part._loader_from_here())
    part.save()
    again = trainer(small_codec(seed=9), speech, tmp_path / "parts")
    assert again.step == 2
    again.run()
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_what_is_given_away_loads_here_and_in_transformers(tmp_path: Path, speech: PackedSpeech) -> None:
    from transformers import NeuCodecModel

    done = trainer(small_codec(), speech, tmp_path, validation=Validation(speech, clips=2, written=1))
    assert done.run()
    assert set(done.validate()) >= {"stoi", "log_mel_distance", "codes", "entropy"}
    assert (tmp_path / "validation" / "step-0000004" / "0-after.wav").is_file()
    codec = NeuCodec.from_pretrained(tmp_path / "checkpoint")
    assert codec.decode(torch.arange(20)).shape == (20 * 480,)
    NeuCodecModel.from_pretrained(tmp_path / "checkpoint")


def test_codes_stay_when_the_decoder_learns(tmp_path: Path, speech: PackedSpeech) -> None:
    given = small_codec()
    codec = changed(given)
    done = trainer(codec, speech, tmp_path, replace(SETTINGS, train="decoder"))
    done.run()
    new = NeuCodec.from_pretrained(tmp_path / "checkpoint")
    wave = speech.waveform(speech.clips[0])
    assert torch.equal(new.encode(wave, 24_000), given.eval().encode(wave, 24_000))
    assert new.codec_id == given.codec_id
    assert not torch.equal(new.acoustic_decoder.head.linear.weight, given.acoustic_decoder.head.linear.weight)


def test_a_decoder_learns_behind_codes_that_were_found_before(tmp_path: Path, speech: PackedSpeech) -> None:
    given = small_codec()
    settings = replace(SETTINGS, train="decoder", segments=replace(SETTINGS.segments, changed_share=0.0))
    done = trainer(changed(given), speech, tmp_path, settings, codes=[encode_packed(speech, given)])
    # Nothing is left for the encoder to do.
    done.codec.encode_latents = None  # type: ignore[assignment, method-assign]
    assert done.run()
    assert done.heard == pytest.approx(8, abs=1)
    new = NeuCodec.from_pretrained(tmp_path / "checkpoint")
    assert new.encoder_fingerprint() == given.encoder_fingerprint()
    assert not torch.equal(new.acoustic_decoder.head.linear.weight, given.acoustic_decoder.head.linear.weight)


def levels_of_bands(waveform: torch.Tensor) -> torch.Tensor:
    """A teacher: the logarithm of eight bands, 50 times a second."""
    spectrum = torch.fft.rfft(waveform.unfold(1, 320, 320)).abs().square()
    return (spectrum[..., 1:].unflatten(-1, (8, 20)).sum(-1) + 1e-3).log()


@pytest.mark.parametrize("encoded", [False, True])
def test_a_decoder_learns_what_a_teacher_hears(tmp_path: Path, speech: PackedSpeech, encoded: bool) -> None:
    given = small_codec()
    weights = LossWeights(mel=0.0, adversarial=0.0, features=0.0, heard=1.0)
    segments = replace(SETTINGS.segments, changed_share=0.0)
    settings = replace(SETTINGS, train="decoder", steps=8, rate=1e-2, weights=weights, segments=segments)
    codes = [encode_packed(speech, given)] if encoded else None
    done = trainer(changed(given), speech, tmp_path, settings, codes=codes, teacher=(levels_of_bands, 8))
    loader, heard = done._loader_from_here(), []
    while done.step < 8:
        terms = done._train_step(loader)
        assert {"heard", "semantic"} & set(terms) == {"heard"}
        heard.append(terms["heard"])
    assert heard[-1] < 0.9 * heard[0]


def test_a_decoder_plays_against_what_a_teacher_hears(tmp_path: Path, speech: PackedSpeech) -> None:
    given = small_codec()
    sizes = DiscriminatorSizes(periods=(), windows=(), feature_channels=4)
    weights = LossWeights(mel=0.0, adversarial=1.0, features=1.0, heard=1e-9)
    segments = replace(SETTINGS.segments, changed_share=0.0)
    settings = replace(
        SETTINGS, train="decoder", steps=2, weights=weights, segments=segments, discriminators=sizes
    )
    done = trainer(changed(given), speech, tmp_path, settings, teacher=(levels_of_bands, 8))
    loader = done._loader_from_here()
    for _ in range(2):
        terms = done._train_step(loader)
        assert terms["adversarial"] > 0
        assert terms["features"] > 0
        assert (
            terms["gradient"] > 1e-5
        )  # of the decoder, through the teacher: ``heard`` alone gives a millionth
    assert not any(parameter.grad is not None for parameter in done.discriminators.parameters())


def test_an_encoder_learns_to_find_given_codes(tmp_path: Path, speech: PackedSpeech) -> None:
    given = small_codec()
    student = changed(given, encoder_width=2)
    settings = replace(SETTINGS, train="encoder", steps=3)
    done = trainer(student, speech, tmp_path, settings, given=given)
    done.run()
    trained = done.codec.state_dict()
    for name in ("quantizer.project_out.weight", "acoustic_decoder.fc.weight"):
        assert torch.equal(trained[name], given.state_dict()[name])


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_a_decoder_of_another_rate_trains_and_decodes(tmp_path: Path, rate: int) -> None:
    given = small_codec()
    manifest = write_corpus(tmp_path / "corpus", rate=rate, clips=2)
    speech = pack(listed(manifest), tmp_path / "packed", rate=rate)
    codec = changed(given, output_rate=rate, layers=2)
    settings = replace(SETTINGS, train="decoder", steps=10 if rate == 44_100 else 2)
    trainer(codec, speech, tmp_path / "out", settings).run()
    loaded = NeuCodec.from_pretrained(tmp_path / "out" / "checkpoint")
    assert loaded.output_sample_rate == rate
    assert loaded.decode(torch.arange(10)).shape == (10 * rate // 50,)


def test_added_layers_and_another_rate_begin_as_the_old_decoder() -> None:
    given = small_codec().eval()
    codes = torch.arange(30) % given.codebook_size
    deeper = changed(given, layers=3).eval()
    assert torch.allclose(deeper.decode(codes), given.decode(codes), atol=1e-5)
    wider = changed(given, output_rate=48_000).eval()
    low, high = given.decode(codes), wider.decode(codes)
    spectrum = torch.fft.rfft(high)[: len(low) // 2 + 1] / 2
    below = slice(0, len(spectrum) // 2)
    difference = (spectrum - torch.fft.rfft(low))[below].abs().square().sum()
    assert float(difference) < 0.05 * float(torch.fft.rfft(low)[below].abs().square().sum())


def test_a_smaller_codebook_begins_near_the_old_one() -> None:
    new = requantized(small_codec(), [4, 4])
    assert new.codebook_size == 16


def test_a_larger_codebook_begins_as_the_old_one() -> None:
    given = small_codec().eval()
    new = requantized(given, [*given.config.quantization_levels, 4, 4]).eval()
    sound = torch.randn(16_000, generator=torch.Generator().manual_seed(0)) / 10
    codes = new.encode(sound, sample_rate=16_000)
    # The first digits are those of the old codes, and nobody hears the others yet.
    assert torch.equal(codes % given.codebook_size, given.encode(sound, sample_rate=16_000))
    spread_new_digits(new, sound[None])
    assert torch.equal(
        new.encode(sound, sample_rate=16_000) % given.codebook_size, codes % given.codebook_size
    )
    digits = new.encode(sound, sample_rate=16_000) // given.codebook_size
    assert (
        min(torch.bincount(digits // 4, minlength=4).min(), torch.bincount(digits % 4, minlength=4).min()) > 3
    )
    assert torch.allclose(new.decode(codes), given.decode(codes % given.codebook_size), atol=1e-5)
    assert new.codec_id != given.codec_id


@pytest.mark.parametrize("levels", [(8, 5, 5), (4, 4, 4)])
def test_old_digits_stay_whatever_their_levels(levels: tuple[int, ...]) -> None:
    given = small_codec(quantization_levels=list(levels)).eval()
    new = requantized(given, [*levels, 4]).eval()
    codes = torch.arange(given.codebook_size)[::3]
    torch.testing.assert_close(
        new.quantizer.lookup(codes), given.quantizer.lookup(codes), rtol=1e-4, atol=1e-4
    )


def test_a_wider_or_deeper_encoder_begins_as_the_old_one() -> None:
    given = small_codec().eval()
    norm: Any = given.semantic_encoder.encoder.layers[-1].final_layer_norm
    norm.weight.data.uniform_(0.5, 0.9)
    norm.bias.data.normal_(std=0.1)
    sound = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) / 10
    lengths = torch.tensor([16_000])
    latents = given.encode_latents(sound, lengths)[0].detach()
    wider = changed(given, encoder_width=4, same_codes=False).eval()
    assert sum(p.numel() for p in wider.parameters()) > sum(p.numel() for p in given.parameters())
    assert torch.allclose(wider.encode_latents(sound, lengths)[0], latents, atol=1e-4)
    deeper = changed(given, encoder_layers=3, same_codes=False).eval()
    difference = (deeper.encode_latents(sound, lengths)[0] - latents).detach()
    assert float(difference.square().mean() / latents.square().mean()) < 0.01


def test_only_what_is_trained_has_gradients() -> None:
    codec = small_codec()
    whole = len(list(codec.parameters()))
    decoder, encoder = freeze(codec, "decoder"), freeze(codec, "encoder")
    assert len(decoder) + len(encoder) == whole - 2  # but for what codes stand for
    assert len(freeze(codec, "all")) == whole
    without = freeze(codec, "all", ["acoustic_encoder"])
    assert len(without) == whole - len(list(codec.acoustic_encoder.parameters()))
    with pytest.raises(CheckpointError, match="no part 'ears' to freeze: it has semantic_encoder"):
        freeze(codec, "all", ["ears"])
    with pytest.raises(CheckpointError, match="nothing left to train"):
        freeze(codec, "decoder", ["acoustic_decoder"])


def test_the_tiny_codec_fits_into_the_wheel() -> None:
    with torch.device("meta"):
        codec = NeuCodec(tiny_config())
    assert sum(parameter.numel() for parameter in codec.parameters()) * 2 < 21e6


def test_a_loss_that_is_no_number_stops_with_the_last_state(tmp_path: Path, speech: PackedSpeech) -> None:
    running = trainer(small_codec(), speech, tmp_path, replace(SETTINGS, steps=50))
    running.save()
    before = (tmp_path / "state.pt").read_bytes()
    with torch.no_grad():
        running.codec.acoustic_decoder.head.linear.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="of step 0 is not a number"):
        running._train_step(running._loader_from_here())
    assert (tmp_path / "state.pt").read_bytes() == before


def test_a_full_disk_keeps_the_last_state(
    tmp_path: Path, speech: PackedSpeech, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = trainer(small_codec(), speech, tmp_path)
    running.save()
    before = (tmp_path / "state.pt").read_bytes()

    def full(_state: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(state_module.torch, "save", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        running.save()
    assert (tmp_path / "state.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.part*"))


def test_a_state_of_another_shape_is_refused(tmp_path: Path, speech: PackedSpeech) -> None:
    trainer(small_codec(), speech, tmp_path).save()
    with pytest.raises(CheckpointError, match="other shape"):
        trainer(small_codec(intermediate_size=64), speech, tmp_path)


def test_a_damaged_state_says_so(tmp_path: Path, speech: PackedSpeech) -> None:
    (tmp_path / "state.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="is damaged"):
        trainer(small_codec(), speech, tmp_path)


def test_an_unknown_rate_is_refused() -> None:
    with pytest.raises(CheckpointError, match="choose one of 16000, 24000, 44100, 48000"):
        changed(small_codec(), output_rate=22_050)


@pytest.mark.slow
def test_a_full_size_decoder_trains_at_44_khz(tmp_path: Path) -> None:
    """Random weights. The encoder, which is frozen, has one layer of its sixteen and few channels."""
    from transformers import NeuCodecConfig

    config = NeuCodecConfig(encoder_hidden_size=2)
    config.semantic_model_config.num_hidden_layers = 1  # type: ignore[union-attr]

    manifest = write_corpus(tmp_path / "corpus", rate=44_100, clips=2)
    speech = pack(listed(manifest), tmp_path / "packed", rate=44_100)
    codec = changed(NeuCodec(config), output_rate=44_100)
    segments = replace(SETTINGS.segments, batch_seconds=0.5, longest=0.5)
    settings = replace(SETTINGS, train="decoder", steps=10, rate=1e-5, segments=segments, half=True)
    training = trainer(codec, speech, tmp_path / "out", settings)
    for _ in range(10):
        training._train_step(training._loader_from_here())
    training.export(tmp_path / "checkpoint")
    loaded = NeuCodec.from_pretrained(tmp_path / "checkpoint")
    assert loaded.decode(torch.arange(0, 60_000, 6_000)).shape == (10 * 882,)
