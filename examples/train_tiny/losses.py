"""The losses of `tiny`: the spectrum at three resolutions, its cepstrum as speech recognisers hear it, and the
envelopes that STOI listens to.

All of them compare a reconstruction (B, T) with its target (B, T), float32 at 24 kHz, and return one number.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLE_RATE = 24_000  # Hz


def mel_filters(bins: int, mels: int, low: float = 0.0, high: float = SAMPLE_RATE / 2) -> Tensor:
    """Triangular filters (bins, mels), equally spaced in mel, over the bins of a real FFT."""

    def mel(hertz: Tensor) -> Tensor:
        return 2595 * torch.log10(1 + hertz / 700)

    edges = torch.linspace(float(mel(torch.tensor(low))), float(mel(torch.tensor(high))), mels + 2)
    position = mel(torch.linspace(0, SAMPLE_RATE / 2, bins))[:, None]
    width = edges[1] - edges[0]
    filters = (1 - (position - edges[1:-1]).abs() / width).clamp(min=0)
    return filters / filters.sum(dim=0).clamp(min=1e-6)


class SpectralLoss(nn.Module):
    """Log-mel and linear magnitude distance at one window length.

    Short windows matter: the decoder's frames are 80 ms long and 20 ms apart, and only windows shorter than that see
    whether neighbouring frames add up in phase.
    """

    def __init__(self, window: int, mels: int) -> None:
        super().__init__()
        self.hop = window // 2
        hann = torch.hann_window(window)
        self.register_buffer(
            "window", 2 * hann / hann.sum(), persistent=False
        )  # a sine's magnitude is its amplitude
        self.register_buffer("filters", mel_filters(window // 2 + 1, mels), persistent=False)

    def forward(self, audio: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the L1 distance of log-mel magnitudes (nepers) and the spectral convergence."""
        frames = torch.cat([audio, target]).unfold(-1, len(self.window), self.hop) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(frames))
        magnitude = (spectrum.square().sum(-1) + 1e-10).sqrt()
        log_mel = (magnitude @ self.filters + 1e-4).log()
        ours, theirs = log_mel.chunk(2)
        linear, wanted = magnitude.chunk(2)
        distance = (linear - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1).clamp(min=1e-4)
        return (ours - theirs).abs().mean(), distance.mean()


class CepstralLoss(nn.Module):
    """L1 distance of mel cepstra (nepers), the features of a classic speech recogniser: the spectrum's smooth shape.

    40 mel bands of 25 ms frames 10 ms apart, 16 coefficients of a DCT-II. They keep what tells the sounds apart,
    and leave out pitch, which weighs much in `SpectralLoss`.
    """

    def __init__(self, bands: int = 40, coefficients: int = 16) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(600) / 300, persistent=False)
        self.register_buffer("filters", mel_filters(513, bands, 100, 7600), persistent=False)
        angle = torch.pi / bands * (torch.arange(bands) + 0.5)[:, None] * torch.arange(coefficients)
        self.register_buffer("cosines", angle.cos() * (2 / bands) ** 0.5, persistent=False)

    def forward(self, audio: Tensor, target: Tensor) -> Tensor:
        frames = torch.cat([audio, target]).unfold(-1, 600, 240) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(frames, 1024))
        power = spectrum.square().sum(-1) @ self.filters
        ours, theirs = ((power + 1e-8).log() / 2 @ self.cosines).chunk(2)
        return (ours - theirs).abs().mean()


class EnvelopeLoss(nn.Module):
    """One minus the correlation of short-time band envelopes: STOI (Taal et al., 2011) as a loss.

    The same 15 third-octave bands, 25.6 ms frames, 384 ms segments, normalisation and clipping, at 24 kHz instead of
    10 kHz. Frames 40 dB under the loudest weigh nothing here, where STOI cuts them out.
    """

    FRAMES = 30  # a segment, 384 ms
    CLIP = 1 + 10 ** (15 / 20)

    def __init__(self) -> None:
        super().__init__()
        window, self.hop, self.n_fft = 614, 307, 1024
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        frequency = torch.linspace(0, SAMPLE_RATE / 2, self.n_fft // 2 + 1)[:, None]
        centre = 150 * 2 ** (torch.arange(15) / 3)
        bands = (frequency >= centre * 2 ** (-1 / 6)) & (frequency < centre * 2 ** (1 / 6))
        self.register_buffer("bands", bands.float(), persistent=False)

    def forward(self, audio: Tensor, target: Tensor) -> Tensor:
        frames = torch.cat([audio, target]).unfold(-1, len(self.window), self.hop) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(frames, self.n_fft))
        envelope = (spectrum.square().sum(-1) @ self.bands + 1e-8).sqrt()  # (2B, frames, 15)
        ours, theirs = envelope.unfold(1, self.FRAMES, 3).chunk(2)  # each (B, segments, 15, 30)
        with torch.no_grad():
            energy = frames[len(audio) :].square().sum(-1)  # (B, frames)
            active = (energy > energy.amax(dim=1, keepdim=True) * 1e-4).float()
            active = active.unfold(1, self.FRAMES, 3)[:, :, None]  # (B, segments, 1, 30)
            count = active.sum(-1, keepdim=True).clamp(min=1)
        scale = (theirs * active).norm(dim=-1, keepdim=True) / (ours * active).norm(
            dim=-1, keepdim=True
        ).clamp(min=1e-5)
        ours = torch.minimum(ours * scale, theirs * self.CLIP)
        ours = (ours - (ours * active).sum(-1, keepdim=True) / count) * active
        theirs = (theirs - (theirs * active).sum(-1, keepdim=True) / count) * active
        correlation = F.cosine_similarity(ours, theirs, dim=-1, eps=1e-6).mean(-1)  # (B, segments)
        weight = count[:, :, 0, 0] / self.FRAMES
        return 1 - (correlation * weight).sum() / weight.sum().clamp(min=1e-6)


class SpreadLoss(nn.Module):
    """How far the quantizer's inputs (..., D) are from independent normal numbers.

    Left alone, they drift to where the bounds saturate, and of four levels the outer two are used. Drawn towards the
    mean and deviation at which each level holds a quarter of them, all codes are used. A process' batch is its sample.
    """

    MEAN, DEVIATION = -0.24, 0.9  # through both bounds: quarters

    def forward(self, inputs: Tensor) -> Tensor:
        values = (inputs.flatten(0, -2) - self.MEAN) / self.DEVIATION  # (N, D)
        count = len(values)
        ranks = (torch.arange(count, device=values.device) + 0.5) / count
        quantiles = torch.erfinv(2 * ranks - 1) * 2**0.5
        marginal = (values.sort(dim=0).values - quantiles[:, None]).square().mean()
        correlation = torch.corrcoef(values.T)
        return marginal + (correlation - torch.diag(correlation.diag())).square().sum() / len(correlation)


class ReconstructionLoss(nn.Module):
    """The weighted sum, and its terms by name for the log."""

    WINDOWS = ((128, 12), (512, 48), (2048, 120))  # samples, mel bands

    def __init__(
        self, mel: float = 1.0, convergence: float = 0.5, envelope: float = 2.0, cepstrum: float = 1.0
    ) -> None:
        super().__init__()
        self.cepstral = CepstralLoss()
        self.spectral = nn.ModuleList(SpectralLoss(window, mels) for window, mels in self.WINDOWS)
        self.envelope = EnvelopeLoss()
        self.weights = (mel, convergence, envelope, cepstrum)

    def forward(self, audio: Tensor, target: Tensor) -> tuple[Tensor, dict[str, float]]:
        # Frames half a window apart are enough because the first lies elsewhere each time.
        start = int(torch.randint(0, 1024, ()))
        parts = [loss(audio[:, start:], target[:, start:]) for loss in self.spectral]
        mel = torch.stack([part[0] for part in parts]).mean()
        convergence = torch.stack([part[1] for part in parts]).mean()
        envelope = self.envelope(audio, target)
        cepstrum = self.cepstral(audio, target)
        terms = {"mel": mel, "convergence": convergence, "envelope": envelope, "cepstrum": cepstrum}
        total = torch.stack([w * term for w, term in zip(self.weights, terms.values(), strict=True)]).sum()
        return total, {name: term.item() for name, term in terms.items()}
