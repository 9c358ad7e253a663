"""The decoding hook: many streams on one thread, with back-pressure, faults and abrupt ends."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import torch

from neucodec_tts import StreamSettings
from neucodec_tts.codec.streaming import Decoded, Window
from neucodec_tts.errors import CodesError, EngineError
from neucodec_tts_vllm.decode_stream import DecodeStream
from neucodec_tts_vllm.decoding import DecodedBatch, DecodeWorker
from tests.parity.comparisons import snr


def codes_of(seed: int, frames: int, codec) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(codec.codebook_size, (frames,), generator=generator).tolist()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(), 120)  # a hang fails, whatever the machine is doing

    asyncio.run(bounded())


@pytest.fixture
def batches() -> list[DecodedBatch]:
    return []


@pytest.fixture
def worker(codec, batches):
    worker = DecodeWorker(codec, ahead_seconds=1.0, on_batch=batches.append)
    yield worker
    worker.close()


async def heard(stream: AsyncIterator[torch.Tensor]) -> torch.Tensor:
    return torch.cat([torch.empty(0), *[part async for part in stream]])


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def alone(codec, codes: list[int]) -> torch.Tensor:
    decoder = codec.stream()
    return torch.cat([decoder.push(codes), decoder.flush()])


def test_many_streams_sound_as_each_alone(codec, worker, batches):
    lengths = [3, 10, 41, 120, 77, 9, 60, 33] * 3
    texts = [codes_of(seed, length, codec) for seed, length in enumerate(lengths)]

    async def speak(stream: DecodeStream, codes: list[int], step: int) -> None:
        for start in range(0, len(codes), step):
            stream.push(codes[start : start + step])
            await asyncio.sleep(0)
        stream.finish()

    async def test() -> None:
        streams = [worker.open() for _ in texts]
        speaking = [
            speak(stream, codes, 1 + number % 7)
            for number, (stream, codes) in enumerate(zip(streams, texts, strict=True))
        ]
        sounds, _ = await asyncio.gather(asyncio.gather(*map(heard, streams)), asyncio.gather(*speaking))
        for sound, codes in zip(sounds, texts, strict=True):
            assert len(sound) == 480 * len(codes)
            assert snr(alone(codec, codes), sound) > 80
        assert len(worker) == 0

    run(test)
    assert max(batch.streams for batch in batches) > 1
    assert len(worker._scheduler) == 0


def test_a_listener_who_does_not_listen_holds_back_its_own_stream_only(codec, worker):
    codes = codes_of(1, 600, codec)  # 12 s

    async def test() -> None:
        slow, fast = worker.open(), worker.open()
        for stream in (slow, fast):
            stream.push(codes[:300])
            stream.push(codes[300:])
            stream.finish()
        sound = await heard(fast)
        assert len(sound) == 480 * 600
        await until(lambda: slow._waiting_samples >= worker._ahead_samples)
        before = slow._waiting_samples
        assert before < 480 * 600
        await worker.call(lambda: None)  # everything that could be done has been done
        assert slow._waiting_samples <= before + 480 * 400
        assert 0 < slow.backlog <= 600
        assert torch.equal(await heard(slow), sound)
        assert slow.backlog == 0

    run(test)


def test_an_aborted_stream_is_forgotten_at_once(codec, worker):
    async def test() -> None:
        stream = worker.open()
        stream.push(codes_of(2, 200, codec))
        await anext(stream)
        waiting = asyncio.ensure_future(heard(stream))
        await asyncio.sleep(0)
        stream.close()
        stream.close()
        stream.push([1, 2, 3])
        await waiting  # ends, with what had come by then
        await worker.call(lambda: None)
        assert (len(worker), len(worker._scheduler)) == (0, 0)
        assert not stream._codes

    run(test)


def test_a_code_that_is_none_and_a_codec_that_fails_end_one_stream(codec, worker, monkeypatch):
    plain = codec.decode_windows

    def failing(windows: list[Window]) -> list[Decoded]:
        if any(window.codes[0] == 4_042 for window in windows):
            raise RuntimeError("device-side assert triggered")
        return plain(windows)

    monkeypatch.setattr(codec, "decode_windows", failing)
    codes = codes_of(3, 90, codec)

    async def test() -> None:
        good, wrong, bad = worker.open(), worker.open(), worker.open()
        good.push(codes)
        wrong.push([5, 70_000])
        bad.push([4_042, *codes])
        for stream in (good, wrong, bad):
            stream.finish()
        results = await asyncio.gather(*map(heard, (good, wrong, bad)), return_exceptions=True)
        assert isinstance(results[0], torch.Tensor)
        assert snr(alone(codec, codes), results[0]) > 80
        assert isinstance(results[1], CodesError)
        assert isinstance(results[2], EngineError)
        assert "assert triggered" in str(results[2])
        assert (len(worker), len(worker._scheduler)) == (0, 0)

    run(test)


def test_calls_run_in_the_thread_and_their_errors_come_back(codec, worker):
    async def test() -> None:
        await worker.warm_up()
        names = await asyncio.gather(
            *(worker.call(lambda: threading.current_thread().name) for _ in range(3))
        )
        assert set(names) == {"speech-decode"}
        with pytest.raises(ZeroDivisionError):
            await worker.call(lambda: 1 // 0)

    run(test)


def test_a_thread_that_fails_says_so_and_goes_on(codec, worker, monkeypatch):
    """What nobody thought of must not leave everybody waiting."""
    step = worker._scheduler.step
    nothing: dict[str, int] = {}
    monkeypatch.setattr(worker._scheduler, "step", lambda: step() and nothing["no such stream"])

    async def test() -> None:
        stream = worker.open()
        stream.push(codes_of(4, 20, codec))
        with pytest.raises(EngineError, match="no such stream"):
            await heard(stream)
        monkeypatch.setattr(worker._scheduler, "step", step)
        again = worker.open()
        again.push(codes_of(4, 20, codec))
        again.finish()
        assert len(await heard(again)) == 20 * 480

    run(test)


def test_whole_utterances_are_decoded_in_batches_and_fail_alone(codec, worker, monkeypatch):
    plain = codec.decode_batch

    def failing(items: list[torch.Tensor]) -> list[torch.Tensor]:
        if any(item[0] == 4_042 for item in items):
            raise RuntimeError("out of luck")
        return plain(items)

    monkeypatch.setattr(codec, "decode_batch", failing)
    texts = [codes_of(seed, 20 + 90 * seed, codec) for seed in range(9)]
    texts[4][0] = 4_042

    async def test() -> None:
        sounds = await asyncio.gather(*map(worker.decode, texts), return_exceptions=True)
        assert isinstance(sounds.pop(4), EngineError)
        del texts[4]
        for sound, codes in zip(sounds, texts, strict=True):
            assert isinstance(sound, torch.Tensor)
            assert snr(codec.decode(codes), sound) > 80
        with pytest.raises(CodesError):
            await worker.decode([70_000])

    run(test)


def test_a_stream_may_have_settings_of_its_own(codec, worker):
    codes = codes_of(5, 40, codec)

    async def test() -> None:
        stream = worker.open(StreamSettings(first_chunk=2, lookahead=1))
        stream.push(codes[:3])
        assert len(await anext(stream)) == 2 * 480
        stream.push(codes[3:])
        stream.finish()
        assert len(await heard(stream)) == 38 * 480

    run(test)


def test_closing_ends_what_is_open(codec):
    async def test() -> None:
        worker = DecodeWorker(codec)
        stream = worker.open()
        stream.push([1])
        await asyncio.to_thread(worker.close)
        with pytest.raises(EngineError, match="closed"):
            await heard(stream)
        with pytest.raises(EngineError, match="closed"):
            worker.open()
        with pytest.raises(EngineError, match="closed"):
            await worker.call(lambda: None)

    run(test)


def test_the_thread_is_woken_when_there_is_something_to_decode(codec, worker, monkeypatch):
    """64 streams whose codes come one by one would otherwise wake it thousands of times a second."""
    fed: list[int] = []
    feed = worker._feed

    def counted(stream: DecodeStream) -> None:
        fed.append(stream._pushed)
        feed(stream)

    monkeypatch.setattr(worker, "_feed", counted)
    codes = codes_of(6, 40, codec)

    async def test() -> None:
        stream = worker.open()
        listening = asyncio.ensure_future(heard(stream))
        for code in codes:
            stream.push([code])
            await worker.call(lambda: None)
        stream.finish()
        assert snr(alone(codec, codes), await listening) > 80

    run(test)
    settings = StreamSettings()
    ends, start = [], 0
    while (needed := settings.needed(start)) <= len(codes):
        ends.append(needed)
        start = settings.chunk_end(start)
    assert fed == [*ends, len(codes)]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind threads to cores")
def test_the_thread_keeps_to_the_cores_that_it_is_given(codec):
    mine = sorted(os.sched_getaffinity(0))
    worker = DecodeWorker(codec, cores=mine[:1])

    async def test() -> None:
        assert await worker.call(lambda: os.sched_getaffinity(0)) == {mine[0]}
        assert await worker.call(torch.get_num_threads) == 1

    threads = torch.get_num_threads()
    try:
        run(test)
    finally:
        worker.close()
        torch.set_num_threads(threads)
    assert sorted(os.sched_getaffinity(0)) == mine
