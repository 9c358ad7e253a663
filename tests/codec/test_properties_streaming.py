"""The streaming contract as a property, over random settings and random splits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neucodec_tts import DecodeScheduler, NeuCodec, StreamSettings
from tests.codec.remembering import Remembering
from tests.parity.comparisons import MIN_SNR, snr

HOP = 480


@st.composite
def stream_settings(draw: st.DrawFn) -> StreamSettings:
    """Any settings that are allowed, small enough to be quick."""
    chunk = draw(st.integers(3, 12))
    first_chunk = draw(st.integers(1, chunk))
    lookahead = draw(st.integers(0, 6))
    return StreamSettings(
        lookback=draw(st.integers(0, 20)),
        chunk=chunk,
        lookahead=lookahead,
        overlap=draw(st.integers(0, min(lookahead, first_chunk))),
        first_chunk=first_chunk,
        growth=draw(st.sampled_from([1.0, 1.25, 2.0, 7.5])),
        slack=draw(st.sampled_from([0.0, 0.25, 0.4, 0.9])),
    )


@st.composite
def split_codes(draw: st.DrawFn) -> list[list[int]]:
    """Codes in pieces, some of them empty."""
    count, seed = draw(st.integers(1, 40)), draw(st.integers(0, 2**32 - 1))
    codes = np.random.default_rng(seed).integers(0, 65_536, count).tolist()
    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=8)))
    return [codes[a:b] for a, b in itertools.pairwise([0, *cuts, count])]


def stream(codec: NeuCodec, chosen: StreamSettings, pieces: Iterable[list[int]]) -> list[Tensor]:
    """The samples of each push, and then of the flush."""
    with codec.stream(**vars(chosen)) as decoder:
        return [*(decoder.push(piece) for piece in pieces), decoder.flush()]


@settings(max_examples=40)
@given(chosen=stream_settings(), pieces=split_codes())
def test_any_split_gives_the_same_samples(codec, chosen, pieces):
    codes = [*itertools.chain(*pieces)]
    whole = torch.cat(stream(codec, chosen, [codes]))
    parts = stream(codec, chosen, pieces)
    assert len(whole) == HOP * len(codes)
    assert torch.equal(torch.cat(parts), whole)
    assert whole.isfinite().all()
    assert whole.std() > 0


@settings(max_examples=25)
@given(chosen=stream_settings(), pieces=split_codes())
def test_sound_is_neither_late_nor_early(codec, chosen, pieces):
    """Never before its lookahead is there, and never later than one chunk after that."""
    parts = stream(codec, chosen, pieces)
    known = heard = 0
    for piece, part in zip(pieces, parts, strict=False):
        known += len(piece)
        assert len(part) % HOP == 0
        heard += len(part) // HOP
        assert heard <= max(0, known - chosen.lookahead)
        assert heard > known - chosen.lookahead - chosen.chunk


def length_at(start: int, chosen: StreamSettings) -> int:
    """Frames of the chunk that begins at `start`: as many as have come, `slack` before what lies before it is heard."""
    if start == 0:
        return chosen.first_chunk
    heard = start - chosen.slack * chosen.first_chunk
    come = chosen.first_chunk + chosen.lookahead + chosen.growth * heard
    new = math.floor(come - chosen.lookahead - start + 1e-9)
    return min(chosen.chunk, max(1, chosen.overlap, new))


@settings(max_examples=25)
@given(chosen=stream_settings(), pieces=split_codes())
def test_each_sample_is_that_of_its_window(codec, chosen, pieces):
    """Apart from the cross-fades a chunk is what its window is decoded to, with what is remembered of those before."""
    codes = torch.tensor([*itertools.chain(*pieces)])
    audio = torch.cat(stream(codec, chosen, pieces))
    remembering = Remembering(codec, chosen.lookback)
    start = 0
    while start < len(codes):
        stop = start + length_at(start, chosen)
        end = stop + chosen.lookahead
        if end > len(codes):
            stop = end = len(codes)
        expected = remembering.decode(codes[start:end], stop - start)[: (stop - start) * HOP]
        faded = min(chosen.overlap, stop - start) * HOP if start else 0
        if faded < len(expected):
            assert snr(expected[faded:], audio[start * HOP + faded : stop * HOP]) >= MIN_SNR
        start = stop


@settings(max_examples=15)
@given(
    chosen=stream_settings(),
    streams=st.lists(split_codes(), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
    max_batch_frames=st.integers(1, 200),
    max_padding=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_many_streams_sound_as_each_alone(codec, chosen, streams, order, max_batch_frames, max_padding):
    """Their codes come in any order, and are decoded in any batches."""
    scheduler = DecodeScheduler(codec, chosen, max_batch_frames=max_batch_frames, max_padding=max_padding)
    waiting = {name: list(pieces) for name, pieces in enumerate(streams)}
    sounds: dict[Hashable, list[Tensor]] = {name: [] for name in waiting}

    def step() -> bool:
        samples = scheduler.step()
        for heard, part in samples.items():
            sounds[heard].append(part)
        return bool(samples)

    while waiting:
        name = order.choice(list(waiting))
        scheduler.push(name, waiting[name].pop(0))
        if not waiting[name]:
            del waiting[name]
            scheduler.finish(name)
        if order.random() < 0.5:
            step()
    while step():
        pass
    assert len(scheduler) == 0
    for name, pieces in enumerate(streams):
        alone, together = torch.cat(stream(codec, chosen, pieces)), torch.cat(sounds[name])
        assert len(together) == HOP * sum(map(len, pieces))
        assert snr(alone, together) >= MIN_SNR
