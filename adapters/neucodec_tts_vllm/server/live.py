"""A sentence on its way: generated on one side, decoded and heard on the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from neucodec_tts.speech.settling import Spoken

if TYPE_CHECKING:
    from neucodec_tts.speech.engine import FinishReason
    from neucodec_tts.speech.script import Sentence
    from neucodec_tts_vllm.decoding import DecodeStream


class LiveSentence:
    """A sentence that is being generated and heard.

    Args:
        sentence: its prompt and sampling.
        stream: decodes its codes.

    Attributes:
        codes: that have come.
        reason: why it ended, once it has.
        error: of its generation; raised to the listener.
        ended: True once no more codes come.
        accepted: True once it is sent, and not generated again instead.
    """

    def __init__(self, sentence: Sentence, stream: DecodeStream) -> None:
        self.sentence = sentence
        self.stream = stream
        self.codes: list[int] = []
        self.reason: FinishReason = "length"
        self.error: Exception | None = None
        self.ended = False
        self.accepted = False
        self._news = asyncio.Event()

    def add(self, codes: list[int], reason: FinishReason | None) -> None:
        """Take codes as they come, and why they end if they do."""
        self.codes += codes
        self.reason = reason or self.reason
        self.stream.push(codes)
        self._news.set()

    def end(self) -> None:
        """No more codes will come."""
        self.ended = True
        self.stream.finish()
        self._news.set()

    def spoken(self, silent: bool = False) -> Spoken:
        """The finished generation, for `settle`."""
        return Spoken(self.sentence, self.codes, self.reason, silent)

    async def wait(self, seconds: float | None = None) -> None:
        """Wait for more codes or the end, for so long at most."""
        self._news.clear()
        loop = asyncio.get_running_loop()
        alarm = None if seconds is None else loop.call_later(max(0.0, seconds), self._news.set)
        try:
            await self._news.wait()
        finally:
            if alarm is not None:
                alarm.cancel()
