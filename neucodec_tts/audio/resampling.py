"""Sample rate conversion: torchaudio's, because the codes of a recording depend on it.

Upstream neucodec 0.0.6 resamples with ``torchaudio.transforms.Resample(sample_rate, 16000)`` and its
defaults (a windowed sinc of six zero crossings, roll-off 0.99). The class and not the function of the
same name: the class computes its filter in higher precision than the function, and they differ by 1e-6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Longer inputs are converted piece by piece: the whole-signal convolution needs several copies of it.
_PIECE_SAMPLES = 2**25
# torchaudio builds a filter of (new, old + 2 * width) taps after dividing both rates by their greatest common
# divisor: 44,100 -> 16,000 takes 76,000 of them, 44,101 -> 16,000 takes 700 million (5.6 GB). soxr would need little
# memory, but its filter is another one: 39 dB from torchaudio's for speech at 44,101 Hz, and 0.4 % of the codes change.
_MAX_FILTER_TAPS = 2**23
_ZERO_CROSSINGS = 6  # torchaudio's default, "lowpass_filter_width"
_ROLLOFF = 0.99  # torchaudio's default


def resample(waveform: torch.Tensor, old_rate: int, new_rate: int) -> torch.Tensor:
    """Convert `waveform` from `old_rate` to `new_rate`.

    Args:
        waveform: float32 (samples,).
        old_rate: in Hz, positive.
        new_rate: in Hz, positive.

    Returns:
        float32 (ceil(samples * new_rate / old_rate),), the numbers that torchaudio's ``Resample`` gives. Two
        things are done differently where torchaudio would want too much memory, and equal it up to float32
        rounding: signals of more than 33.6 million samples (12 minutes at 48 kHz) are converted in pieces,
        and pairs of rates without a useful common divisor use only the taps of the filter that are not zero.
    """
    if old_rate == new_rate or waveform.numel() == 0:
        return waveform
    divisor = math.gcd(old_rate, new_rate)
    old, new = old_rate // divisor, new_rate // divisor
    width = math.ceil(_ZERO_CROSSINGS * old / (min(old, new) * _ROLLOFF))
    if new * (old + 2 * width) > _MAX_FILTER_TAPS:
        return _resample_by_taps(waveform, old, new, width)
    return _resample_by_torchaudio(waveform, old, new, width)


class ResamplingStream:
    """Converts a rate as the samples come; all it returns together is what `resample` makes of the whole.

    Args:
        old_rate: in Hz, positive.
        new_rate: in Hz, positive.
    """

    def __init__(self, old_rate: int, new_rate: int) -> None:
        import torch

        self._rates = old_rate, new_rate
        divisor = math.gcd(old_rate, new_rate)
        self._old, self._new = old_rate // divisor, new_rate // divisor
        width = math.ceil(_ZERO_CROSSINGS * self._old / (min(self._old, self._new) * _ROLLOFF))
        # Samples that the filter sees on either side, in whole periods of its phases.
        self._margin = math.ceil((width + self._old) / self._old) * self._old
        self._held = torch.zeros(0)
        self._before = 0  # samples of it that have been converted, and are seen again

    def push(self, samples: torch.Tensor) -> torch.Tensor:
        """Add samples, float32 (n,); returns what is settled, float32 (m,), perhaps none."""
        import torch

        self._held = torch.cat([self._held, samples])
        ready = self._held.numel() - self._before - self._margin
        return self._convert(max(0, ready) // self._old * self._old)

    def flush(self) -> torch.Tensor:
        """Return the rest, float32 (m,)."""
        return self._convert(self._held.numel() - self._before)

    def _convert(self, count: int) -> torch.Tensor:
        """Convert the next `count` samples, and forget those that are not seen again."""
        if not count:
            return self._held.new_zeros(0)
        converted = resample(self._held, *self._rates)
        start, end = self._before, self._before + count
        first = start // self._old * self._new
        last = None if end == self._held.numel() else end // self._old * self._new
        forgotten = max(0, end - self._margin) // self._old * self._old
        self._held, self._before = self._held[forgotten:], end - forgotten
        return converted[first:last]


def output_length(samples: int, old: int, new: int) -> int:
    """Samples after resampling: ceil(samples * new / old), rounded to float32 first as torchaudio does.

    float32 holds whole numbers up to 2**24 = 16.8 million; beyond it (and, for a fraction close above a whole
    number, before it) torchaudio's count is off by one or a few samples. Codes must equal upstream's, so
    the count is copied as it is.
    """
    import torch

    wanted = int(torch.ceil(torch.as_tensor(new * samples / old, dtype=torch.float32)))
    return min(wanted, new * (samples // old + 1))


def _resample_by_torchaudio(waveform: torch.Tensor, old: int, new: int, width: int) -> torch.Tensor:
    import torch
    from torchaudio.transforms import Resample

    convert = Resample(old, new)
    samples = waveform.numel()
    if samples <= _PIECE_SAMPLES:
        converted: torch.Tensor = convert(waveform)
        return converted
    # A piece starts at a multiple of `old`, where the filter's phases begin anew, and reads a margin on both
    # sides that covers the filter; what the margin itself yields is thrown away.
    margin = math.ceil((width + old) / old) * old
    step = max(1, _PIECE_SAMPLES // old) * old
    output = waveform.new_empty(output_length(samples, old, new))
    for start in range(0, samples + 1, step):
        position = start // old * new
        count = min(step // old * new, output.numel() - position)
        if count <= 0:
            break
        left = min(margin, start)
        piece = waveform[start - left : min(samples, start + step + margin)]
        # Zeros at the end only so that the last piece yields its last samples.
        piece = torch.nn.functional.pad(piece, (0, old))
        skip = left // old * new
        output[position : position + count] = convert(piece)[skip : skip + count]
    return output


def _resample_by_taps(waveform: torch.Tensor, old: int, new: int, width: int) -> torch.Tensor:
    """The same filter, kept to the taps around each output sample.

    Output sample ``block * new + phase`` lies at input position ``block * old + phase * old / new``.
    """
    import torch

    length = output_length(waveform.numel(), old, new)
    blocks = -(-length // new)
    cutoff = min(old, new) * _ROLLOFF
    offsets = torch.arange(-width, width + 1)
    padded = torch.nn.functional.pad(waveform, (width, blocks * old + width - waveform.numel()))
    output = waveform.new_empty(blocks, new)
    phases_at_once = max(1, 2**22 // (blocks * offsets.numel()))
    for phase in torch.arange(new).split(phases_at_once):
        taps = torch.div(phase * old, new, rounding_mode="floor")[:, None] + offsets
        # Time from the output sample to its taps, in units of `old` input samples. torchaudio rounds the phase
        # to float32 (an int64 tensor over an int); with many phases that is its largest error, so it is copied.
        time = taps.double() / old - (phase / new)[:, None]
        time = (time * cutoff).clamp_(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
        window = torch.cos(time * math.pi / _ZERO_CROSSINGS / 2) ** 2
        kernel = (torch.sinc(time) * window * (cutoff / old)).float()
        starts = torch.arange(blocks)[:, None, None] * old + width
        output[:, phase] = torch.einsum("bpt,pt->bp", padded[starts + taps], kernel)
    return output.flatten()[:length]
