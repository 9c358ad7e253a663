"""Scores of a reconstruction against the recording it was made from.

All take mono waveforms of one rate and one length (`align` brings them there) as arrays or tensors (samples,) and
give one number. STOI and PESQ are those of the packages ``pystoi`` and ``pesq``, so that they compare with published
ones. Long recordings are scored in pieces, whose mean is given: PESQ is defined for utterances, and the others
would want gigabytes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from neucodec_tts.audio.resampling import resample
from neucodec_tts.errors import AudioError, NeuCodecError

if TYPE_CHECKING:
    import torch

Waveform: TypeAlias = "np.ndarray | torch.Tensor"

SCORE_RATE = 16_000
"""Hz. Everything is scored at the rate of what went in: above its 8 kHz there is nothing to compare with."""

# ITU's program is made for utterances of 8 to 30 s, and keeps the ones it finds in a table of 50.
_PESQ_PIECE_SECONDS = 20.0
_PIECE_SECONDS = 300.0
_STOI_SECONDS = 0.4  # thirty of its frames
_WARNINGS = Lock()  # which are caught for all threads
# torchmetrics would save nothing: its STOI and PESQ call the same two packages, and SI-SDR is five lines here.
_MEL_BANDS, _MEL_WINDOW, _MEL_HOP, _MEL_FLOOR = 80, 512, 160, 1e-5


class ScoreError(NeuCodecError):
    """A score cannot be computed: its package is not installed, or it is not defined for this audio."""


@dataclass(frozen=True)
class Scores:
    """Scores of one reconstruction; None for one that cannot be had, and `missing` says why."""

    stoi: float | None
    """Intelligibility, 0 to 1."""
    pesq: float | None
    """Quality by PESQ wide-band, 1.0 to 4.64."""
    si_sdr: float | None
    """dB."""
    log_mel_distance: float | None
    """Mean distance of natural logarithms, 0 for equal sounds."""
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CodeUsage:
    """The use of a codebook over some codes."""

    frames: int
    """Codes counted."""
    used: int
    """Number of different codes."""
    codebook_size: int
    entropy_bits: float
    """Entropy of their distribution; the most there could be is the lesser of log2(codebook_size) and log2(frames)."""


def score(reference: Waveform, reference_rate: int, estimate: Waveform, estimate_rate: int) -> Scores:
    """All scores of `estimate` against `reference`, each at its own rate in Hz; what cannot be had is left out.

    Raises:
        AudioError: one of the two is empty.
    """
    reference, estimate = align(reference, reference_rate, estimate, estimate_rate)
    metrics: dict[str, Callable[[Waveform, Waveform], float]] = {
        "stoi": stoi,
        "pesq": pesq,
        "si_sdr": si_sdr,
        "log_mel_distance": log_mel_distance,
    }
    values: dict[str, float | None] = {}
    missing = {}
    for name, metric in metrics.items():
        try:
            values[name] = metric(reference, estimate)
        except ScoreError as problem:
            values[name] = None
            missing[name] = str(problem)
    return Scores(**values, missing=missing)


def align(
    reference: Waveform, reference_rate: int, estimate: Waveform, estimate_rate: int, rate: int = SCORE_RATE
) -> tuple[np.ndarray, np.ndarray]:
    """Resample both to `rate` Hz and cut the longer one: two float32 arrays (samples,) of one length.

    The codec delays nothing (sample t of its output belongs to sample t of its input), and its last frame may be
    longer or shorter than the recording, so cutting the ends is all the alignment there is.

    Raises:
        AudioError: one of the two is empty.
    """
    import torch

    both = []
    for waveform, its_rate in ((reference, reference_rate), (estimate, estimate_rate)):
        tensor = torch.as_tensor(waveform).detach().to("cpu", torch.float32)
        if tensor.ndim != 1 or tensor.numel() == 0:
            raise AudioError(
                f"a mono waveform (samples,) can be scored, not one of the shape {tuple(tensor.shape)}"
            )
        both.append(resample(tensor, its_rate, rate).numpy())
    length = min(both[0].size, both[1].size)
    return both[0][:length], both[1][:length]


def stoi(reference: Waveform, estimate: Waveform, sample_rate: int = SCORE_RATE) -> float:
    """Short-time objective intelligibility, 0 to 1 (Taal et al., 2011, doi:10.1109/TASL.2011.2114881).

    Raises:
        ScoreError: ``pystoi`` is not installed, or less than 0.4 s of the reference is sound.
    """
    try:
        from pystoi import stoi as pystoi_stoi
    except ImportError as problem:
        raise _needs("STOI", "pystoi", "evaluate") from problem

    def of_piece(x: np.ndarray, y: np.ndarray) -> float:
        if x.size < _STOI_SECONDS * sample_rate or not np.any(x):
            raise ScoreError(f"STOI needs at least {_STOI_SECONDS} s of sound")
        with _WARNINGS, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = float(pystoi_stoi(x, y, sample_rate, extended=False))
        # pystoi warns and returns 1e-5 when fewer than 30 of its frames are left after silence is removed.
        if any("Not enough STFT frames" in str(warning.message) for warning in caught):
            raise ScoreError(f"STOI needs at least {_STOI_SECONDS} s of sound")
        return value

    return _mean_over_pieces(of_piece, *_pair(reference, estimate), sample_rate, _PIECE_SECONDS)


def pesq(reference: Waveform, estimate: Waveform, sample_rate: int = SCORE_RATE) -> float:
    """PESQ wide-band, 1.04 to 4.64 (ITU-T P.862.2), of 16 kHz speech.

    Recordings of more than 30 s are scored in pieces of 20 s, leaving out those that hold no speech.

    Raises:
        ScoreError: ``pesq`` is not installed, or there is no speech, or less than 0.25 s of it.
    """
    try:
        from pesq import PesqError
        from pesq import pesq as itu_pesq
    except ImportError as problem:
        raise _needs("PESQ", "pesq", "pesq") from problem
    if sample_rate != 16_000:
        raise ScoreError(f"PESQ wide-band is defined at 16 kHz, not at {sample_rate} Hz; resample both")

    def of_piece(x: np.ndarray, y: np.ndarray) -> float:
        if not (np.any(x) and np.any(y)):
            raise ScoreError("PESQ is not defined for silence")
        try:
            return float(itu_pesq(sample_rate, x, y, "wb"))
        except PesqError as problem:  # the package gives its reasons as bytes
            why = problem.args[0].decode() if isinstance(problem.args[0], bytes) else str(problem)
            raise ScoreError(f"PESQ is not defined for this audio: {why}") from problem

    return _mean_over_pieces(of_piece, *_pair(reference, estimate), sample_rate, _PESQ_PIECE_SECONDS)


def si_sdr(reference: Waveform, estimate: Waveform) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al., 2019, arXiv:1811.02508), means removed.

    Raises:
        ScoreError: one of the two is silent.
    """
    x, y = _pair(reference, estimate)
    x, y = x - x.mean(), y - y.mean()
    if not np.any(x) or not np.any(y):
        raise ScoreError("SI-SDR is not defined for silence")
    target = x * (np.dot(y, x) / np.dot(x, x))
    return _decibels(np.sum(target**2), np.sum((y - target) ** 2))


def snr(reference: Waveform, estimate: Waveform) -> float:
    """Signal-to-noise ratio in dB; infinite for equal signals.

    Raises:
        ScoreError: the reference is silent.
    """
    x, y = _pair(reference, estimate)
    if not np.any(x):
        raise ScoreError("the signal-to-noise ratio is not defined for a silent reference")
    return _decibels(np.sum(x**2), np.sum((y - x) ** 2))


def log_mel(waveform: Waveform, sample_rate: int = SCORE_RATE) -> np.ndarray:
    """Natural logarithm of the mel spectrogram, float32 (80, frames): what `log_mel_distance` compares.

    Magnitudes of a 32 ms Hann window every 10 ms (512 and 160 samples at 16 kHz), centred, in 80 triangular bands
    from 0 Hz to half the rate on the HTK mel scale, each of height 1; below 1e-5 they count as 1e-5.
    """
    import torch
    from torchaudio.functional import melscale_fbanks

    signal = torch.as_tensor(waveform).detach().to("cpu", torch.float32)
    window = round(_MEL_WINDOW * sample_rate / SCORE_RATE)
    spectrum = torch.stft(
        signal,
        n_fft=window,
        hop_length=round(_MEL_HOP * sample_rate / SCORE_RATE),
        window=torch.hann_window(window),
        pad_mode="constant",
        return_complex=True,
    ).abs()
    bands = melscale_fbanks(window // 2 + 1, 0.0, sample_rate / 2, _MEL_BANDS, sample_rate)
    result: np.ndarray = (bands.T @ spectrum).clamp(min=_MEL_FLOOR).log().numpy()
    return result


def log_mel_distance(reference: Waveform, estimate: Waveform, sample_rate: int = SCORE_RATE) -> float:
    """Mean absolute difference of the two `log_mel` spectrograms; 0.1 is about 0.9 dB in every band and frame."""

    def of_piece(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(np.abs(log_mel(x, sample_rate) - log_mel(y, sample_rate))))

    return _mean_over_pieces(of_piece, *_pair(reference, estimate), sample_rate, _PIECE_SECONDS)


def mel_mse(reference: Waveform, estimate: Waveform, sample_rate: int = SCORE_RATE) -> float:
    """Mean squared difference of the two `log_mel` spectrograms."""

    def of_piece(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean((log_mel(x, sample_rate) - log_mel(y, sample_rate)) ** 2))

    return _mean_over_pieces(of_piece, *_pair(reference, estimate), sample_rate, _PIECE_SECONDS)


def bit_rate(codebook_size: int, frame_rate: float) -> float:
    """Bits a second of codes from a codebook of this size at this rate in Hz: 800 for NeuCodec."""
    return frame_rate * math.log2(codebook_size)


def code_usage(codes: Waveform, codebook_size: int) -> CodeUsage:
    """Count how many different codes occur among `codes`, integers of any shape, and their entropy."""
    import torch

    values = torch.as_tensor(codes).cpu().flatten().long()
    counts = torch.bincount(values, minlength=codebook_size).double()
    shares = counts[counts > 0] / max(1, values.numel())
    entropy = float(-(shares * shares.log2()).sum()) if values.numel() else 0.0
    return CodeUsage(values.numel(), int((counts > 0).sum()), codebook_size, max(0.0, entropy))


def _pair(reference: Waveform, estimate: Waveform) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (samples,), of one length."""
    import torch

    x, y = (torch.as_tensor(each).detach().cpu().double().numpy() for each in (reference, estimate))
    if x.shape != y.shape or x.ndim != 1 or x.size == 0:
        raise AudioError(
            f"waveforms of one length are compared, not {x.shape} and {y.shape}; align them first"
        )
    return x, y


def _mean_over_pieces(
    metric: Callable[[np.ndarray, np.ndarray], float],
    x: np.ndarray,
    y: np.ndarray,
    sample_rate: int,
    seconds: float,
) -> float:
    """`metric` of the whole if it is up to half as long again as `seconds`, else its mean over pieces of that length.

    Pieces it is not defined for (silence) are left out, and so is the rest at the end, of less than half a piece.

    Raises:
        ScoreError: it is defined for none of them.
    """
    piece = int(seconds * sample_rate)
    if x.size <= 1.5 * piece:
        return metric(x, y)
    values = []
    reason: ScoreError | None = None
    for start in range(0, x.size - piece // 2, piece):
        try:
            values.append(metric(x[start : start + piece], y[start : start + piece]))
        except ScoreError as problem:
            reason = problem
    if reason and not values:
        raise reason
    return float(np.mean(values))


def _decibels(signal: Any, noise: Any) -> float:
    return math.inf if noise == 0 else (-math.inf if signal == 0 else 10.0 * math.log10(signal / noise))


def _needs(score_name: str, package: str, extra: str) -> ScoreError:
    return ScoreError(f"{score_name} needs the package {package}: pip install 'neucodec-tts[{extra}]'")
