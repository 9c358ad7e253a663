"""A bot of Pipecat in the terminal: type, and it answers aloud. It needs a server of speech and no account.

neucodec-tts serve
python examples/agents/pipecat_agent.py
python examples/agents/pipecat_agent.py --line "Hello there" --output answer.wav
"""

from __future__ import annotations

import asyncio
import sys

from loguru import logger
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
    TTSStoppedFrame,
)
from pipecat.metrics.metrics import TTFBMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner
from terminal import Player, arguments, typed_lines, words

from neucodec_tts_pipecat import NeuCodecTTSService, NeuCodecTTSSettings


class Words(FrameProcessor):
    """A language model that writes word by word."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, ErrorFrame):
            print(f"[{frame.error}]")
        if not isinstance(frame, LLMTextFrame) or direction is not FrameDirection.DOWNSTREAM:
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        async for word in words(frame.text):
            await self.push_frame(LLMTextFrame(word))
        await self.push_frame(LLMFullResponseEndFrame())


class Loudspeaker(FrameProcessor):
    """Gives the sound to the player, and is silent when the bot is interrupted."""

    def __init__(self, player: Player) -> None:
        super().__init__()
        self._player = player

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self._player.add(frame.audio)
        elif isinstance(frame, InterruptionFrame):
            self._player.clear()
        elif isinstance(frame, (TTSStoppedFrame, LLMFullResponseEndFrame)):
            self._player.end()
        elif isinstance(frame, MetricsFrame):
            for each in frame.data:
                if isinstance(each, TTFBMetricsData) and each.value:
                    print(f"[first sound after {each.value:.2f} s]")
        await self.push_frame(frame, direction)


async def main() -> None:
    options = arguments(__doc__ or "")
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    player = Player(options.output)
    voice = NeuCodecTTSService(
        base_url=options.url, api_key=options.key, settings=NeuCodecTTSSettings(voice=options.voice)
    )
    worker = PipelineWorker(
        Pipeline([Words(), voice, Loudspeaker(player)]),
        params=PipelineParams(enable_metrics=True),
        cancel_on_idle_timeout=False,
        enable_rtvi=False,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def on_started(worker, frame):
        started.set()

    await started.wait()
    async for line in typed_lines(options.line, player.until_silent):
        player.expect()
        await worker.queue_frame(InterruptionFrame())
        await worker.queue_frame(LLMTextFrame(line))
    await worker.queue_frame(EndFrame())
    await running
    await player.close()


if __name__ == "__main__":
    asyncio.run(main())
