"""The terminal of both agents: lines that are typed, words in place of a language model's, and the sound."""

from __future__ import annotations

import argparse
import asyncio
import sys
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

RATE = 24_000
_BLOCK = 2 * RATE // 50  # bytes of 20 ms


def arguments(description: str) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of the server")
    parser.add_argument("--key", help="of the server; $NEUCODEC_TTS_API_KEY by default")
    parser.add_argument("--voice", help="that the server knows")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a WAV file, in place of the loudspeaker")
    parser.add_argument(
        "--line", action="append", help="what is typed, in place of the terminal; may be repeated"
    )
    return parser.parse_args()


async def typed_lines(
    given: list[str] | None, silence: Callable[[], AsyncIterator[None]]
) -> AsyncIterator[str]:
    """Lines of the terminal until the end of input; lines that are given, and the end, wait for silence."""
    for line in given or ():
        yield line
        async for _ in silence():
            pass
    while given is None:
        sys.stdout.write("you: ")
        sys.stdout.flush()
        line = await asyncio.to_thread(sys.stdin.readline)
        if not line:
            async for _ in silence():
                pass
            break
        yield line.strip()


async def words(line: str) -> AsyncIterator[str]:
    """Write an answer word by word, as a language model does; put yours here."""
    answer = f"You said: {line}. I am a voice without an account. Type while I speak, and I stop."
    for word in answer.split():
        yield f"{word} "
        await asyncio.sleep(0.05)


def loudspeaker() -> Any:
    """Open the loudspeaker of this machine, for 16-bit samples."""
    try:
        import sounddevice

        device = sounddevice.RawOutputStream(RATE, channels=1, dtype="int16")
        device.start()
    except Exception as error:  # the package, the system's library, or a device is missing
        raise SystemExit(f"there is no loudspeaker ({error}); --output FILE writes a WAV file") from error
    return device


class Player:
    """Plays sound at the pace of listening, on the loudspeaker or into a file.

    Args:
        output: a WAV file; the loudspeaker if None.
        on_silence: called with the seconds played when all sound that came has been played.
    """

    def __init__(
        self, output: Path | None, on_silence: Callable[[float], None] = lambda seconds: None
    ) -> None:
        self._sound = bytearray()
        self._more = False  # True while more sound may follow what is there
        self._played = 0
        self._on_silence = on_silence
        if output is None:
            self._device = loudspeaker()
        else:
            self._file = wave.open(str(output), "wb")  # noqa: SIM115 - closed by close()
            self._file.setparams((1, 2, RATE, 0, "NONE", ""))
        self._output = output
        self._task = asyncio.create_task(self._play())

    def expect(self) -> None:
        """Sound will come."""
        self._more = True

    def add(self, sound: bytes) -> None:
        """Play 16-bit samples after what is there."""
        self._more = True
        self._sound += sound

    def end(self) -> None:
        """No more sound follows for now."""
        self._more = False

    def clear(self) -> float:
        """Be silent at once; returns the seconds played."""
        self._sound.clear()
        seconds, self._played = self._played / RATE, 0
        return seconds

    async def until_silent(self) -> AsyncIterator[None]:
        """Ends when all sound has been played and no more follows."""
        while self._more or self._sound:
            yield
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Give the loudspeaker or the file back."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._output is None:
            await asyncio.to_thread(self._device.close)
        else:
            self._file.close()

    async def _play(self) -> None:
        while True:
            block = bytes(self._sound[:_BLOCK])
            del self._sound[:_BLOCK]
            if not block:
                if not self._more and self._played:
                    self._on_silence(self.clear())
                await asyncio.sleep(0.01)
            elif self._output is None:
                await asyncio.to_thread(self._device.write, block)
            else:
                self._file.writeframes(block)
                await asyncio.sleep(len(block) / 2 / RATE)
            self._played += len(block) // 2
