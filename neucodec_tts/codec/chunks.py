"""Long recordings in pieces, so that memory does not grow with the length."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def forward_in_chunks(
    encode: Callable[[Tensor, Tensor | None], Tensor],
    waveform: Tensor,
    lengths: Tensor | None,
    *,
    hop_length: int,
    reach: int,
    chunk_frames: int,
) -> Tensor:
    """Call ``encode`` on pieces that each see as far around them as the network reaches; equal up to rounding.

    Args:
        encode: waveform (B, 1, T) and valid samples of each item (or None) to (B, C, T / hop_length).
        waveform: (B, 1, T), T a multiple of the hop.
        lengths: valid samples of each item, LongTensor (B,), multiples of the hop; None if all have T.
        hop_length: samples a frame.
        reach: how many frames away a sample can still change a frame.
        chunk_frames: frames a piece.

    Returns:
        (B, C, T / hop_length); what lies beyond an item's end has no meaning.
    """
    frames = waveform.shape[-1] // hop_length
    if frames <= chunk_frames + 2 * reach:
        return encode(waveform, lengths)
    pieces = []
    for start in range(0, frames, chunk_frames):
        stop = min(start + chunk_frames, frames)
        left = max(0, start - reach)
        right = min(frames, stop + reach)
        window = waveform[..., left * hop_length : right * hop_length]
        inside = None
        if lengths is not None:
            inside = (lengths - left * hop_length).clamp(min=hop_length, max=window.shape[-1])
        pieces.append(encode(window, inside)[..., start - left : stop - left])
    return torch.cat(pieces, dim=-1)


def split_windows(waveform: Tensor, window: int, overlap: int) -> Iterator[Tensor]:
    """Cut a waveform (samples,) into windows that overlap, all in samples; one that fits a window stays whole."""
    start = 0
    while waveform.numel() - start > window:
        yield waveform[start : start + window]
        start += window - overlap
    yield waveform[start:]


def join_windows(windows: list[Tensor], overlap: int) -> Tensor:
    """Codes of overlapping windows; each half of an overlap is taken from the window that it is deeper inside."""
    if len(windows) == 1:
        return windows[0]
    half = overlap // 2
    parts = [
        codes[half if i else 0 : -half if i < len(windows) - 1 else None] for i, codes in enumerate(windows)
    ]
    return torch.cat(parts)
