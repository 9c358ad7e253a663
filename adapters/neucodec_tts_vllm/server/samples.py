"""A sample of each voice: one sentence, spoken when it is first asked for and kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from neucodec_tts_vllm.server.protocol import SpeechRequest

SAMPLE_FORMAT = "mp3"
_KEPT = 256  # of about 30 kB
_SENTENCES = {
    "de": "Guten Morgen, so klingt diese Stimme.",
    "en": "Good morning, this is what I sound like.",
    "es": "Buenos días, así suena esta voz.",
    "fr": "Bonjour, voici le son de cette voix.",
}


def sample_request(voice: str, language: str | None, seeded: bool) -> SpeechRequest:
    """The request that a voice's sample answers.

    Args:
        voice: its name.
        language: of the model, as in ``en-us``; English where it is not known.
        seeded: give it a seed, so that it sounds the same on every server.
    """
    sentence = _SENTENCES.get((language or "en").split("-")[0].lower(), _SENTENCES["en"])
    return SpeechRequest(input=sentence, voice=voice, seed=1 if seeded else None)


class Samples:
    """Keeps the samples that were made last, and makes each once, however many ask for it."""

    def __init__(self) -> None:
        self._made: OrderedDict[bytes, asyncio.Task[bytes]] = OrderedDict()

    async def of(self, voice: bytes, make: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
        """Return the sample of a voice; one that failed is made again.

        Args:
            voice: all that it is made of.
            make: speaks.
        """
        key = hashlib.sha256(voice).digest()
        made = self._made.get(key)
        if made is None or (made.done() and (made.cancelled() or made.exception() is not None)):
            made = self._made[key] = asyncio.create_task(make())
        self._made.move_to_end(key)
        while len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return await asyncio.shield(made)  # others may wait for it, too
