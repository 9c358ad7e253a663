"""Each loss is 0 or least for a perfect reconstruction, and its gradients are finite."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from neucodec_tts.training.codec.discriminators import Discriminators, DiscriminatorSizes
from neucodec_tts.training.codec.losses import (
    CepstralLoss,
    EnvelopeLoss,
    MelLoss,
    SemanticReconstruction,
    Spectra,
    SpreadLoss,
    STFTLoss,
    digit_distance,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from neucodec_tts.training.codec.losses.spectra import window_size

RATES = (16_000, 24_000, 44_100, 48_000)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", [MelLoss, STFTLoss, CepstralLoss, EnvelopeLoss])
def test_a_loss_is_least_for_the_target_itself(kind: type[nn.Module], rate: int) -> None:
    torch.manual_seed(0)
    target = torch.randn(2, rate // 2) * 0.1
    loss = kind(rate)
    assert float(loss(Spectra(target, target))) < 1e-4
    near, far = target + 0.003 * torch.randn_like(target), torch.randn_like(target) * 0.1
    near.requires_grad_()
    small = loss(Spectra(near, target))
    assert 0 < float(small.detach()) < float(loss(Spectra(far, target)))
    small.backward()
    assert near.grad is not None
    assert torch.isfinite(near.grad).all()


@pytest.mark.parametrize(("size", "n_fft"), [(128, None), (90, 128), (50, None)])
def test_gradients_of_magnitudes_are_those_of_pytorch(size: int, n_fft: int | None) -> None:
    torch.manual_seed(0)
    audio, window, weights = (
        torch.randn(2, 700),
        torch.hann_window(size),
        torch.randn((n_fft or size) // 2 + 1),
    )
    ours, theirs = audio.clone().requires_grad_(), audio.clone().requires_grad_()
    (Spectra(ours, audio).magnitudes(window, 40, n_fft)[0] * weights).sum().backward()
    spectrum = torch.fft.rfft(theirs.unfold(-1, size, 40) * window, n_fft)
    ((spectrum.abs().square() + 1e-10).sqrt() * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_windows_have_sizes_whose_transforms_are_fast() -> None:
    assert [window_size(seconds, 24_000) for seconds in (0.0054, 0.0214, 0.0854)] == [128, 512, 2048]
    assert window_size(0.0214, 44_100) == 960
    assert window_size(0.0001, 8_000) == 2


def test_silence_has_finite_losses() -> None:
    silence = torch.zeros(2, 12_000, requires_grad=True)
    for kind in (MelLoss, STFTLoss, CepstralLoss, EnvelopeLoss):
        kind(24_000)(Spectra(silence, torch.zeros(2, 12_000))).backward()
    assert silence.grad is not None
    assert torch.isfinite(silence.grad).all()


def test_spread_is_least_for_independent_normal_numbers() -> None:
    torch.manual_seed(0)
    normal = torch.randn(4000, 3) * SpreadLoss.DEVIATION + SpreadLoss.MEAN
    alike = normal[:, :1].expand(-1, 3)
    narrow = normal * 0.1
    loss = SpreadLoss()
    assert float(loss(normal)) < 0.02
    assert float(loss(alike)) > 0.5
    assert float(loss(narrow)) > 0.5


@pytest.mark.parametrize("game", ["least-squares", "hinge"])
def test_the_games_reward_who_wins(game: str) -> None:
    one, zero = [torch.ones(3)], [torch.zeros(3) if game == "least-squares" else -torch.ones(3)]
    assert float(discriminator_loss(one, zero, game)) == 0  # type: ignore[arg-type]
    assert float(discriminator_loss(zero, one, game)) > 1  # type: ignore[arg-type]
    assert float(generator_loss(one, game)) < float(generator_loss(zero, game))  # type: ignore[arg-type]


def test_feature_matching_passes_no_gradient_to_recordings() -> None:
    real, fake = torch.ones(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    loss = feature_matching([[real]], [[fake]])
    assert float(loss.detach()) == 1
    loss.backward()
    assert real.grad is None
    assert fake.grad is not None


@pytest.mark.parametrize("rate", RATES)
def test_discriminators_judge_any_rate(rate: int) -> None:
    sizes = DiscriminatorSizes(period_channels=(2, 2), spectrum_channels=2)
    logits, hidden = Discriminators(rate, sizes)(torch.randn(2, rate // 4))
    assert len(logits) == len(hidden) == 8
    assert all(torch.isfinite(x).all() for x in logits)
    # Those of periods judge each phase alone.
    assert [len(x) for x in logits] == [2 * period for period in sizes.periods] + [2] * len(sizes.windows)


@pytest.mark.parametrize("rate", RATES)
def test_discriminators_learn_mel_spectra_and_features(rate: int) -> None:
    torch.manual_seed(0)
    real = torch.randn(4, rate // 4)
    sine = 0.1 * torch.sin(torch.arange(rate // 4) * 2 * torch.pi * 440 / rate)
    fake = real * 0.5 + sine
    features = torch.randn(8, 12, 6)
    features[4:, :, 0] += 2
    for sizes in (
        DiscriminatorSizes(periods=(), windows=(), mel_channels=4),
        DiscriminatorSizes(periods=(), windows=(), feature_channels=8),
    ):
        network = Discriminators(rate, sizes, features=6)
        assert len(network(real, features[:4])[0]) == 1
        optimiser = torch.optim.Adam(network.parameters(), 3e-3)
        for _ in range(80):
            (logits,), _ = network(torch.cat([real, fake]), features)
            loss = discriminator_loss([logits[:4]], [logits[4:]])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        assert float(loss.detach()) < 0.3  # who cannot tell has 0.5
    # Without a teacher there are no features to see.
    assert Discriminators(rate, DiscriminatorSizes(feature_channels=8)).of_features is None


def test_what_a_recording_has_above_telephones_is_not_told_by_its_mel_spectrum() -> None:
    torch.manual_seed(0)
    network = Discriminators(24_000, DiscriminatorSizes(periods=(), windows=(), mel_channels=4))
    low = torch.randn(1, 12_000) * 0.1
    tones = [torch.sin(torch.arange(12_000) * 2 * torch.pi * hertz / 24_000) for hertz in (9000, 3000)]
    _, [before] = network(low)
    above, within = (float((network(low + tone)[1][0][0] - before[0]).abs().max().detach()) for tone in tones)
    assert above < 0.2 < within  # a window leaks a little


def test_semantic_features_can_be_rebuilt() -> None:
    torch.manual_seed(0)
    head = SemanticReconstruction(8, 4, hidden=16)
    quantized = torch.randn(2, 30, 8)
    wanted = quantized[..., :4] * 3 + 1  # of another length, as a teacher's may be
    optimiser = torch.optim.Adam(head.parameters(), 1e-2)
    first = float(head(quantized, wanted[:, :29]).detach())
    for _ in range(60):
        loss = head(quantized, wanted[:, :29])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.3 * first


def test_digits_are_compared_where_both_have_frames() -> None:
    assert float(digit_distance(torch.ones(1, 5, 2), torch.zeros(1, 4, 2))) == 1
