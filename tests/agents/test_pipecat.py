"""Pipecat's side: the service in a real pipeline, on servers that do well, and on servers that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest

pytest.importorskip("pipecat", reason="Pipecat is not installed here; `make agents` makes .venv-agents")

from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
    TTSUpdateSettingsFrame,
)
from pipecat.metrics.metrics import TTFBMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.service_switcher import ServiceSwitcher, ServiceSwitcherStrategyFailover
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.utils.errors import ErrorCategory
from pipecat.workers.runner import WorkerRunner

from neucodec_tts_client import SpeechUrlError
from neucodec_tts_pipecat import NeuCodecTTSService, NeuCodecTTSSettings
from tests.agents.faulty_server import RATE, SOUND, faulty_server, well_behaved


class Listener(FrameProcessor):
    """Keeps what comes by, in one direction."""

    def __init__(self, direction: FrameDirection) -> None:
        super().__init__(enable_direct_mode=True)
        self._direction = direction
        self.frames: list[Frame] = []
        self._news = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction == self._direction:
            self.frames.append(frame)
            self._news.set()
        await self.push_frame(frame, direction)

    def of(self, *kinds: type) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kinds)]

    async def until(self, condition: Callable[[], object]) -> None:
        async def wait() -> None:
            while not condition():
                self._news.clear()
                await self._news.wait()

        await asyncio.wait_for(wait(), 120)


class Bot:
    """A pipeline around a service, and what comes out at both ends."""

    def __init__(self, service: FrameProcessor) -> None:
        self.errors, self.heard = Listener(FrameDirection.UPSTREAM), Listener(FrameDirection.DOWNSTREAM)
        self.worker = PipelineWorker(
            Pipeline([self.errors, service, self.heard]),
            cancel_on_idle_timeout=False,
            enable_rtvi=False,
            params=PipelineParams(enable_metrics=True, enable_usage_metrics=True),
        )

    async def write(self, *pieces: str, end: bool = True) -> None:
        """Send a reply as a language model writes it."""
        await self.worker.queue_frame(LLMFullResponseStartFrame())
        for piece in pieces:
            await self.worker.queue_frame(LLMTextFrame(piece))
        if end:
            await self.worker.queue_frame(LLMFullResponseEndFrame())

    async def until_spoken(self, replies: int = 1) -> None:
        await self.heard.until(lambda: len(self.heard.of(TTSStoppedFrame)) >= replies)

    async def until_error(self, count: int = 1) -> ErrorFrame:
        await self.errors.until(lambda: len(self.errors.of(ErrorFrame)) >= count)
        return self.errors.of(ErrorFrame)[count - 1]

    def sound(self) -> bytes:
        return b"".join(frame.audio for frame in self.heard.of(TTSAudioRawFrame))


@asynccontextmanager
async def bot(service: FrameProcessor) -> AsyncIterator[Bot]:
    it = Bot(service)
    started = asyncio.Event()

    @it.worker.event_handler("on_pipeline_started")
    async def on_started(worker, frame):
        started.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(it.worker)
    running = asyncio.create_task(runner.run())
    try:
        await asyncio.wait_for(started.wait(), 30)
        yield it
        await it.worker.queue_frame(EndFrame())
        await asyncio.wait_for(running, 30)
    finally:
        await it.worker.cancel()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def run(test) -> None:
    asyncio.run(asyncio.wait_for(test(), 300))


def test_text_goes_in_as_it_is_written_and_sentences_come_out():
    async def speak_early(visit) -> None:
        await visit.until("input.text")
        await visit.say("Hello.")
        await visit.until("input.done")
        await visit.say("And so on.")
        await visit.done()

    async def test() -> None:
        async with faulty_server(speak_early) as server:
            service = NeuCodecTTSService(base_url=server.url, settings=NeuCodecTTSSettings(voice="dave"))
            async with bot(service) as it:
                await it.write("Hello.", " And", end=False)
                await it.heard.until(it.sound)  # before the text is complete
                await it.worker.queue_frame(LLMTextFrame(" so on."))
                await it.worker.queue_frame(LLMFullResponseEndFrame())
                await it.until_spoken()
            assert it.sound() == SOUND * 2
            assert all(frame.sample_rate == RATE for frame in it.heard.of(TTSAudioRawFrame))
            assert " ".join(frame.text.strip() for frame in it.heard.of(TTSTextFrame)) == "Hello. And so on."
            assert len(it.heard.of(TTSStartedFrame)) == 1
            assert server.texts() == "Hello. And so on."
            assert server.configs()[0]["voice"] == "dave"
            figures = [each for frame in it.heard.of(MetricsFrame) for each in frame.data]
            assert any(isinstance(each, TTFBMetricsData) and each.value > 0 for each in figures)
            assert it.errors.of(ErrorFrame) == []

    run(test)


def test_replies_follow_one_another_on_one_connection():
    async def test() -> None:
        async with faulty_server(well_behaved) as server:
            service = NeuCodecTTSService(base_url=server.url)
            async with bot(service) as it:
                await it.write("Grüße, 你好!")
                await it.write("Two.")
                await it.worker.queue_frame(TTSSpeakFrame("Three."))
                await it.until_spoken(3)
                await it.worker.queue_frame(
                    TTSUpdateSettingsFrame(delta=NeuCodecTTSSettings(voice="dave", speed=1.5))
                )
                await it.write("Four.")
                await it.until_spoken(4)
            assert it.sound() == SOUND * 4
            assert server.visits == 1
            assert server.texts() == "Grüße, 你好!Two.Three.Four."
            assert [(each.get("voice"), each.get("speed")) for each in server.configs()] == [
                (None, None),
                ("dave", 1.5),
            ]
            assert it.errors.of(ErrorFrame) == []

    run(test)


def test_a_phrase_between_the_words_of_a_reply_is_spoken_between_them():
    async def speaks(visit) -> None:
        while True:
            await visit.until("input.done")
            await visit.say()
            await visit.done()

    async def test() -> None:
        async with faulty_server(speaks) as server:
            async with bot(NeuCodecTTSService(base_url=server.url)) as it:
                await it.write("One", end=False)
                await it.worker.queue_frame(TTSSpeakFrame("Meanwhile."))
                await it.worker.queue_frame(LLMTextFrame(" two."))
                await it.worker.queue_frame(LLMFullResponseEndFrame())
                await it.until_spoken(2)
            assert it.sound() == SOUND * 3
            assert server.texts() == "OneMeanwhile. two."
            assert it.errors.of(ErrorFrame) == []

    run(test)


@pytest.mark.parametrize("moment", ["before the first sound", "within a sentence", "between sentences"])
def test_an_interruption_silences_the_server_and_the_next_reply_starts_clean(moment):
    silenced = asyncio.Event()

    async def interrupted(visit) -> None:
        await visit.until("input.text")
        if moment == "within a sentence":
            await visit.start()
            await visit.sound()
        elif moment == "between sentences":
            await visit.say()
        await visit.until("input.cancel")
        silenced.set()
        await visit.sound(b"\x02\x00" * 1000)  # was on its way
        await visit.done(cancelled=True)
        await well_behaved(visit)

    async def test() -> None:
        async with faulty_server(interrupted) as server:
            async with bot(NeuCodecTTSService(base_url=server.url)) as it:
                await it.write("Hello. And so", end=False)
                if moment == "before the first sound":
                    while not server.texts():
                        await asyncio.sleep(0.01)
                else:
                    await it.heard.until(it.sound)
                await it.worker.queue_frame(InterruptionFrame())
                await it.heard.until(lambda: it.heard.of(InterruptionFrame))
                await asyncio.wait_for(silenced.wait(), 10)
                before = len(it.heard.frames)
                await it.write("Heard.")
                await it.heard.until(
                    lambda: any(isinstance(frame, TTSStoppedFrame) for frame in it.heard.frames[before:])
                )
            after = [frame for frame in it.heard.frames[before:] if isinstance(frame, TTSAudioRawFrame)]
            assert b"".join(frame.audio for frame in after) == SOUND
            assert server.texts() == "Hello. And soHeard."
            assert server.visits == 1
            assert it.errors.of(ErrorFrame) == []

    run(test)


def test_an_interruption_of_silence_is_none():
    async def test() -> None:
        async with faulty_server(well_behaved) as server:
            async with bot(NeuCodecTTSService(base_url=server.url)) as it:
                await it.worker.queue_frame(InterruptionFrame())
                await it.heard.until(lambda: it.heard.of(InterruptionFrame))
                await it.write("Heard.")
                await it.until_spoken()
            assert it.sound() == SOUND
            assert "input.cancel" not in server.kinds()

    run(test)


def test_speech_that_must_not_be_interrupted_is_heard():
    spoken = asyncio.Event()

    async def speaks(visit) -> None:
        await visit.until("input.done")
        await visit.start()
        await visit.sound()
        await spoken.wait()
        await visit.sound()
        await visit._tell("audio.done", usage={})
        visit._sentence = 1
        await visit.done()

    async def test() -> None:
        async with faulty_server(speaks) as server:
            async with bot(NeuCodecTTSService(base_url=server.url)) as it:
                important = TTSSpeakFrame("Important.")
                important.interruptible = False
                await it.worker.queue_frame(important)
                await it.heard.until(it.sound)
                await it.worker.queue_frame(InterruptionFrame())
                await it.heard.until(lambda: it.heard.of(InterruptionFrame))
                spoken.set()
                await it.until_spoken()
            assert it.sound() == SOUND * 2
            assert "input.cancel" not in server.kinds()

    run(test)


def test_what_cannot_be_spoken_is_left_out():
    async def nothing_to_say(visit) -> None:
        while True:
            await visit.until("input.done")
            await visit.done()

    async def test() -> None:
        async with faulty_server(nothing_to_say) as server:
            service = NeuCodecTTSService(base_url=server.url)
            async with bot(service) as it:
                for count in range(1, 5):
                    await it.write("👍")
                    await it.until_spoken(count)
                await it.write()
                await it.write("", "  ")
            assert not any(it.sound())
            assert service.is_usable
            assert it.errors.of(ErrorFrame) == []

    run(test)


async def closes_within(visit) -> None:
    await visit.until("input.text")
    await visit.start()
    await visit.drop()


async def closes_between(visit) -> None:
    await visit.until("input.text")
    await visit.say()
    await visit.close()


async def is_silent(visit) -> None:
    await visit.until("input.done")


async def is_full(visit) -> None:
    await visit.until("input.text")
    await visit.refuse(429, "too many", None)


async def finds_the_text_too_long(visit) -> None:
    await visit.until("input.text")
    await visit.refuse(400, "the text has 30,000 characters", "input")


@pytest.mark.parametrize(
    ("behaviour", "category", "says"),
    [
        (closes_within, ErrorCategory.CONNECTIVITY, "a reply is cut off"),
        (closes_between, ErrorCategory.CONNECTIVITY, "a reply is cut off"),
        (is_silent, ErrorCategory.CONNECTIVITY, "silent for 1 s"),
        (is_full, ErrorCategory.RATE_LIMIT, "too many"),
        (finds_the_text_too_long, ErrorCategory.APPLICATION, "30,000"),
    ],
)
def test_a_fault_is_an_error_and_the_next_reply_is_spoken(behaviour, category, says):
    async def test() -> None:
        async with faulty_server(behaviour, well_behaved) as server:
            service = NeuCodecTTSService(base_url=server.url, timeout=1)
            async with bot(service) as it:
                await it.write("Hello. And so")
                error = await it.until_error()
                assert says in error.error
                assert error.category is category
                while service._session is None or service._session.closed or server.visits < 2:
                    await asyncio.sleep(0.01)
                before = len(it.sound())
                await it.write("Heard.")
                await it.heard.until(lambda: len(it.sound()) > before)
                await it.heard.until(lambda: isinstance(it.heard.frames[-1], LLMFullResponseEndFrame))
            assert it.sound()[before:] == SOUND
            assert service.is_usable

    run(test)


async def knows_no_voice(visit) -> None:
    await visit.until("input.text")
    await visit.refuse(404, "there is no voice 'nobody'", "voice")


def failing(server, **options) -> NeuCodecTTSService:
    return NeuCodecTTSService(base_url=server.url, timeout=1, **options)


@pytest.mark.parametrize(
    "status", [None, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND]
)
def test_what_no_repetition_mends_makes_pipecat_take_another_voice(status):
    async def test() -> None:
        async with faulty_server(knows_no_voice, status=status) as bad, faulty_server(well_behaved) as good:
            first, second = failing(bad), failing(good)
            switcher = ServiceSwitcher([first, second], strategy_type=ServiceSwitcherStrategyFailover)
            switched = asyncio.Event()

            @switcher.strategy.event_handler("on_service_switched")
            async def on_switched(strategy, service):
                switched.set()

            async with bot(switcher) as it:
                await it.write("Hello.")
                await asyncio.wait_for(switched.wait(), 30)
                await it.write("Heard.")
                await it.heard.until(lambda: good.texts().endswith("Heard.") and it.sound())
                assert not first.is_usable

    run(test)


def test_a_server_that_is_not_there_is_an_error_and_one_that_comes_later_is_found():
    async def test() -> None:
        async with faulty_server(well_behaved) as server:
            url = server.url
        service = NeuCodecTTSService(base_url=url, timeout=1)
        async with bot(service) as it:
            assert (await it.until_error()).category is ErrorCategory.CONNECTIVITY
            await it.write("Not", " heard.")
            await it.errors.until(lambda: unspoken(it))
            await it.heard.until(lambda: it.heard.of(LLMFullResponseEndFrame))
            assert len(unspoken(it)) == 1, "one error for a reply, not one for each word"
            assert sum("cannot be reached" in error.error for error in it.errors.of(ErrorFrame)) == 2
            async with faulty_server(well_behaved, port=int(url.rpartition(":")[2])):
                await it.write("Heard.")
                await it.heard.until(it.sound)
        assert it.sound() == SOUND

    def unspoken(it: Bot) -> list[ErrorFrame]:
        return [error for error in it.errors.of(ErrorFrame) if "is not spoken" in error.error]

    run(test)
    with pytest.raises(SpeechUrlError, match="localhost:8000"):
        NeuCodecTTSService(base_url="localhost:8000")
