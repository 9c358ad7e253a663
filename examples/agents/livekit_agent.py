"""An agent of LiveKit in the terminal: type, and it answers aloud. It needs a server of speech and no account.

neucodec-tts serve
python examples/agents/livekit_agent.py
python examples/agents/livekit_agent.py --line "Hello there" --output answer.wav
"""

from __future__ import annotations

import asyncio
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession, llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.voice.io import AudioOutput, AudioOutputCapabilities
from terminal import RATE, Player, arguments, typed_lines, words

from neucodec_tts_livekit import TTS

TYPED = {"turn_detection": "manual", "interruption": {"resume_false_interruption": False}}


class Words(llm.LLM):
    """A language model that writes word by word."""

    def chat(self, *, chat_ctx: llm.ChatContext, tools: Any = None, **options: Any) -> WordStream:
        return WordStream(
            self, chat_ctx=chat_ctx, tools=tools or [], conn_options=DEFAULT_API_CONNECT_OPTIONS
        )


class WordStream(llm.LLMStream):
    async def _run(self) -> None:
        asked = [item for item in self._chat_ctx.items if item.type == "message" and item.role == "user"]
        async for word in words((asked[-1].text_content or "") if asked else ""):
            delta = llm.ChoiceDelta(role="assistant", content=word)
            self._event_ch.send_nowait(llm.ChatChunk(id="words", delta=delta))


class Loudspeaker(AudioOutput):
    """Gives LiveKit's frames to the player, and tells LiveKit what was heard."""

    def __init__(self, options: Any) -> None:
        super().__init__(
            label="terminal", capabilities=AudioOutputCapabilities(pause=False), sample_rate=RATE
        )
        self.player = Player(options.output, self._on_silence)

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self.player.add(frame.data.tobytes())

    def flush(self) -> None:
        super().flush()
        self.player.end()

    def clear_buffer(self) -> None:
        self.player.end()
        if self._pending_playback_count:
            self.on_playback_finished(playback_position=self.player.clear(), interrupted=True)

    def _on_silence(self, seconds: float) -> None:
        self.on_playback_finished(playback_position=seconds, interrupted=False)


async def main() -> None:
    options = arguments(__doc__ or "")
    loudspeaker = Loudspeaker(options)
    voice = TTS(base_url=options.url, api_key=options.key, voice=options.voice)
    voice.on("metrics_collected", lambda figures: print(f"[first sound after {figures.ttfb:.2f} s]"))
    session = AgentSession(llm=Words(), tts=voice, vad=None, turn_handling=TYPED)
    session.on("error", lambda event: print(f"[{event.error}]"))
    session.output.audio = loudspeaker
    await session.start(Agent(instructions=""))
    speech = None

    async def silence():
        if speech is not None:
            await speech.wait_for_playout()
        loudspeaker.player.end()
        async for _ in loudspeaker.player.until_silent():
            yield

    async for line in typed_lines(options.line, silence):
        if speech is not None and not speech.done():
            await session.interrupt()
        speech = session.generate_reply(user_input=line)
    await session.aclose()
    await voice.aclose()
    await loudspeaker.player.close()


if __name__ == "__main__":
    asyncio.run(main())
