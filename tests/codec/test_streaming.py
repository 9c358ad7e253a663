"""The streaming contract: any split gives the same samples, none lost, none late."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
import torch

from neucodec_tts import CodesError, DecodeScheduler, StreamError, StreamSettings
from neucodec_tts.codec.cuda_graphs import FixedShapeDecoder
from neucodec_tts.codec.decoder import Attention
from neucodec_tts.codec.streaming import Stream, Window
from tests.codec.remembering import Remembering
from tests.parity.comparisons import snr


@pytest.fixture(scope="module")
def codes(codec):
    return torch.randint(codec.codebook_size, (173,), generator=torch.Generator().manual_seed(1))


def streamed(decoder, codes, split):
    parts = [decoder.push(part) for part in codes.split(split)]
    return torch.cat([*parts, decoder.flush()])


@pytest.mark.parametrize("split", [1, 3, 26, 173])
def test_any_split_gives_the_same_samples(codec, codes, split):
    whole = streamed(codec.stream(), codes, 7)
    assert len(whole) == 480 * len(codes)
    assert torch.equal(streamed(codec.stream(), codes, split), whole)


@pytest.mark.parametrize("frames", [1, 2, 5, 6, 9, 10, 11, 15, 36])
def test_short_streams_are_complete(codec, codes, frames):
    audio = streamed(codec.stream(), codes[:frames], 4)
    assert len(audio) == 480 * frames
    if frames < 10:  # all of it fits the last window, which sees everything
        assert snr(codec.decode(codes[:frames]), audio) > 80


def test_sound_comes_as_soon_as_its_lookahead_is_there(codec, codes):
    decoder = codec.stream(first_chunk=5, lookahead=5, chunk=25, growth=2)
    heard = torch.cumsum(torch.tensor([len(decoder.push(int(code))) for code in codes[:80]]), 0) // 480
    arrivals = {int(frames): int((heard < frames).sum()) + 1 for frames in heard.unique() if frames}
    assert arrivals == {5: 10, 11: 16, 23: 28, 47: 52, 72: 77}


@pytest.mark.parametrize(
    ("growth", "slack", "first_chunk"),
    [(1, 0, 5), (1, 0.4, 25), (1.25, 0.4, 5), (1.25, 0.2, 1), (1.25, 0.4, 2), (1.5, 0.8, 10), (2, 0.4, 5)],
)
def test_a_listener_never_runs_dry_where_codes_come_fast_enough(codec, growth, slack, first_chunk):
    """By reckoning, in frames: codes come `growth` times as fast as they are played, and decoding all chunks but the
    first takes as long as is said that it may."""
    settings = StreamSettings(growth=growth, slack=slack, first_chunk=first_chunk)
    stream: Stream[torch.Tensor] = Stream(settings, codec.output_hop_length)
    begun = (first_chunk + settings.lookahead) / growth  # when the first chunk can be heard
    for known in range(1, 1500):
        stream.push(torch.zeros(1, dtype=torch.long))
        while (window := stream.next_window()) is not None:
            late = slack * first_chunk if window.start else 0
            assert known / growth + late <= begun + window.start + 1e-9
    assert stream.settings.chunk_end(1400) == 1400 + (50 if growth > 1 else (1 - slack) * first_chunk)


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.05, 1.1, 1.2, 1.5])
@pytest.mark.parametrize("total", [40, 100, 250, 700])
def test_a_listener_who_waits_as_long_as_is_said_never_runs_dry_and_no_shorter_wait_does(speed, total):
    """By reckoning, in frames of time: code n comes at n / speed, and decoding takes no time."""
    settings = StreamSettings()
    stream = Stream(settings, 480)
    arrivals = []  # of each chunk: when it comes, and where it begins
    for known in range(1, total + 1):
        stream.push(torch.zeros(1, dtype=torch.long))
        if known == total:
            stream.finish()
        while (window := stream.next_window()) is not None:
            arrivals.append((known / speed, window.start))

    first = settings.needed(0)
    begin = first / speed + settings.lateness(first, total, speed)
    assert max(come - (begin + start) for come, start in arrivals[1:]) == pytest.approx(0, abs=1e-9)
    known = min(total, first + 7)  # asked again when more has come, it says the same
    assert known / speed + settings.lateness(known, total, speed) == pytest.approx(begin)
    assert settings.lateness(total, total, speed) < settings.lateness(first, total, speed)


def test_with_all_context_a_stream_is_the_whole(codec, codes):
    decoder = codec.stream(lookback=1000, chunk=200, first_chunk=200, lookahead=0, overlap=0)
    assert snr(codec.decode(codes), streamed(decoder, codes, 10)) > 80


def test_the_cross_fade_joins_two_windows(codec, codes):
    """In the overlap the sound goes from what the first window foresaw to what the second one says."""
    settings = {"lookback": 20, "chunk": 30, "lookahead": 5, "overlap": 2, "first_chunk": 30, "slack": 0}
    audio = streamed(codec.stream(**settings), codes[:60], 60)
    windows = Remembering(codec, 20)
    first, second = windows.decode(codes[:35], 30), windows.decode(codes[30:60], 30)
    hop = 480
    weight = (torch.arange(2 * hop) + 0.5) / (2 * hop)
    faded = first[30 * hop : 32 * hop] * (1 - weight) + second[: 2 * hop] * weight
    assert snr(torch.cat([first[: 30 * hop], faded, second[2 * hop :]]), audio) > 80


def test_no_frame_is_computed_twice_but_the_foresight(codec, codes, monkeypatch):
    """And what is remembered does not grow with the stream."""
    decode = codec.decode_windows
    lengths: list[int] = []
    memories: set[int] = set()

    def counted(windows):
        lengths.extend(window.codes.numel() for window in windows)
        memories.update(window.memory.numel() for window in windows if window.memory is not None)
        return decode(windows)

    monkeypatch.setattr(codec, "decode_windows", counted)
    decoder = codec.stream(chunk=25, first_chunk=5, lookahead=5, growth=2)
    assert len(streamed(decoder, codes, 10)) == 480 * len(codes)
    assert lengths == [10, 11, 17, 29, *[30] * 4, 26]
    assert len(memories) == 1


def test_the_memory_does_not_depend_on_the_order_of_layers(codec, codes, monkeypatch):
    """Each layer has a place of its own, here where all windows but the first ask for values before keys."""
    expected = streamed(codec.stream(), codes, 40)
    forward = Attention.forward

    def values_first(layer, x, frames):
        remember = frames.remember
        values = remember(layer.v_proj, layer.v_proj(x), frames.lookback)
        frames.remember = lambda place, *of: values if place is layer.v_proj else remember(place, *of)
        attended = forward(layer, x, frames)
        del frames.remember
        return attended

    def alternating(layer, x, frames):
        return (forward if frames._memory is None else values_first)(layer, x, frames)

    monkeypatch.setattr(Attention, "forward", alternating)
    assert torch.equal(streamed(codec.stream(), codes, 40), expected)


def test_after_flush_or_the_end_of_the_block_a_new_stream_begins(codec, codes):
    decoder = codec.stream()
    once = streamed(decoder, codes, 10)
    assert torch.equal(streamed(decoder, codes, 10), once)
    with decoder:
        decoder.push(codes[:30])
    assert torch.equal(streamed(decoder, codes, 10), once)
    assert len(decoder.flush()) == 0


def test_codes_that_are_refused_do_not_disturb_the_stream(codec, codes):
    decoder = codec.stream()
    parts = [decoder.push(codes[:40])]
    with pytest.raises(CodesError, match="outside"):
        decoder.push([1, 70_000])
    parts += [decoder.push([]), decoder.push(codes[40:]), decoder.flush()]
    assert torch.equal(torch.cat(parts), streamed(codec.stream(), codes, 50))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"chunk": 0}, "chunk is 0"),
        ({"lookback": -1}, "lookback is -1"),
        ({"first_chunk": 101}, "first_chunk is 101"),
        ({"overlap": 6}, "overlap is 6"),
        ({"lookahead": 0}, "overlap is 1"),
        ({"growth": 0.9}, "growth is 0.9"),
        ({"growth": float("nan")}, "growth is nan"),
        ({"slack": -0.1}, "slack is -0.1"),
        ({"slack": 1}, "slack is 1"),
        ({"slack": float("nan")}, "slack is nan"),
    ],
)
def test_settings_out_of_range_are_refused(codec, settings, says):
    with pytest.raises(StreamError, match=says):
        codec.stream(**settings)


def test_many_streams_at_different_positions_sound_as_alone(codec, codes):
    scheduler = DecodeScheduler(codec, max_batch_frames=200)
    lengths = {"a": 173, "b": 4, "c": 60, "d": 99}
    speeds = {"a": 9, "b": 1, "c": 3, "d": 25}
    sounds: dict[Hashable, list[torch.Tensor]] = {name: [] for name in lengths}
    sent = dict.fromkeys(lengths, 0)
    while any(sent[name] < lengths[name] for name in lengths) or len(scheduler):
        for name, length in lengths.items():
            scheduler.push(name, codes[sent[name] : min(length, sent[name] + speeds[name])])
            if sent[name] < length <= sent[name] + speeds[name]:
                scheduler.finish(name)
            sent[name] = min(length, sent[name] + speeds[name])
        while samples := scheduler.step():
            for heard, part in samples.items():
                sounds[heard].append(part)
    for name, length in lengths.items():
        alone = streamed(codec.stream(), codes[:length], 10)
        assert len(torch.cat(sounds[name])) == 480 * length
        assert snr(alone, torch.cat(sounds[name])) > 80


def test_streams_without_sound_come_first_and_batches_are_bounded(codec, codes):
    scheduler = DecodeScheduler(codec, StreamSettings(growth=3), max_batch_frames=80)
    scheduler.push("old", codes[:19])
    assert set(scheduler.step()) == set(scheduler.step()) == {"old"}
    scheduler.push("old", codes[19:120])
    for name in range(9):
        scheduler.push(name, codes[:10])
    assert set(scheduler.step()) == set(range(8))  # 8 windows of 10 frames fill 80
    assert set(scheduler.step()) == {8}
    assert set(scheduler.step()) == {"old"}
    assert len(scheduler) == 10
    scheduler.drop("old")
    assert "old" not in scheduler.step()
    for name in range(9):
        scheduler.finish(name)
    while scheduler.step():
        pass
    assert len(scheduler) == 0


def test_windows_go_together_that_are_about_as_long(codec, codes):
    """A short window beside a long one would be computed as a long one."""
    decoded = []

    def decode(windows):
        decoded.append(sorted(window.codes.numel() for window in windows))
        return codec.decode_windows(windows)

    scheduler = DecodeScheduler(codec, StreamSettings(growth=2), max_padding=0.2, decode=decode)
    for name, frames in {"long": 40, "first": 10, "longer": 42, "other": 11}.items():
        scheduler.begin(name, StreamSettings(growth=2, first_chunk=frames - 5))
        scheduler.push(name, codes[:frames])
    assert scheduler.ready == 4
    while scheduler.step():
        pass
    assert decoded == [[40, 42], [10, 11]]
    assert scheduler.ready == 0


def test_a_scheduler_takes_its_settings(codec, codes):
    scheduler = DecodeScheduler(codec, StreamSettings(first_chunk=25))
    scheduler.push("a", codes[:29])
    assert scheduler.step() == {}
    scheduler.push("a", codes[29:30])
    assert len(scheduler.step()["a"]) == 25 * 480


def test_a_window_that_fails_ends_its_own_stream_only(codec, codes):
    failed = []

    def decode(windows):
        if any(int(window.codes[0]) == 7 for window in windows):
            raise RuntimeError("device-side assert")
        return codec.decode_windows(windows)

    bad = torch.cat([torch.tensor([7]), codes[:20]])
    scheduler = DecodeScheduler(codec, decode=decode, on_failure=lambda *what: failed.append(what))
    for name, stream in {"a": codes[:10], "bad": bad, "b": codes[20:30]}.items():
        scheduler.push(name, stream)
    assert scheduler.ready == 3
    heard = scheduler.step()
    assert set(heard) == {"a", "b"}
    assert torch.allclose(heard["a"], codec.decode(codes[:10])[: 5 * 480], atol=1e-5)
    assert [(name, str(error)) for name, error in failed] == [("bad", "device-side assert")]
    assert len(scheduler) == 2
    strict = DecodeScheduler(codec, decode=decode)
    strict.push("bad", bad)
    with pytest.raises(RuntimeError, match="assert"):
        strict.step()


def test_streams_that_look_back_differently_are_not_decoded_together(codec, codes):
    scheduler = DecodeScheduler(codec)
    for name, lookback in {"near": 5, "far": 50, "as near": 5}.items():
        scheduler.begin(name, StreamSettings(lookback=lookback))
        scheduler.push(name, codes[:15])
    assert [set(scheduler.step()) for _ in range(4)] == [{"near", "as near"}, {"far"}] * 2


@pytest.mark.parametrize("count", [1, 2, 3, 7, 11])
def test_fixed_shapes_sound_like_any_others(codec, codes, count):
    fixed = FixedShapeDecoder(codec, (10, 40), lookback=20, batch_sizes=(1, 2, 4))
    if count == 11:
        fixed.warm_up()
    begun = [Window(codes[i : i + 10], 0, 5, 20, None) for i in range(count)]
    later = [
        Window(codes[i + 5 :][: 1 + (13 * i) % 40], 5, 6 + (7 * i) % (1 + (13 * i) % 40), 20, decoded.memory)
        for i, decoded in enumerate(codec.decode_windows(begun))
    ]
    mixed = [(begun if i % 3 == 1 else later)[i] for i in range(count)]
    for some in (begun, later, mixed, begun):
        for ours, expected in zip(fixed(some), codec.decode_windows(some), strict=True):
            assert snr(expected.audio, ours.audio) > 80
            assert snr(expected.memory, ours.memory) > 80


def test_windows_that_fit_no_fixed_shape_are_decoded_as_they_are(codec, codes):
    fixed = FixedShapeDecoder(codec, 40, lookback=20)
    for window in (Window(codes[:41], 0, 41, 20, None), Window(codes[:5], 0, 5, 21, None)):
        assert torch.equal(fixed([window])[0].audio, codec.decode_windows([window])[0].audio)
