"""A sample of each voice: one sentence, spoken when it is first asked for and kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from neucodec_tts_vllm.server.encoding import encode
from neucodec_tts_vllm.server.protocol import SpeechRequest

if TYPE_CHECKING:
    from neucodec_tts_vllm.server.service import SpeechService

MEDIA_TYPE = "audio/mpeg"
_KEPT = 256  # of about 30 kB
_SENTENCES = {
    "de": "Guten Morgen, so klingt diese Stimme.",
    "en": "Good morning, this is what I sound like.",
    "es": "Buenos días, así suena esta voz.",
    "fr": "Bonjour, voici le son de cette voix.",
}


class VoiceSamples:
    """Speaks the same sentence in each voice, once.

    Args:
        service: speaks.
    """

    def __init__(self, service: SpeechService) -> None:
        self._service = service
        self._made: OrderedDict[bytes, asyncio.Task[bytes]] = OrderedDict()

    async def of(self, name: str) -> bytes:
        """Return the sample of a voice, as MP3.

        Raises:
            ApiError: there is no such voice, or no room for the work.
            NeuCodecError: it could not be spoken.
        """
        service = self._service
        language = (service.language or "en").split("-")[0].lower()
        request = SpeechRequest(
            input=_SENTENCES.get(language, _SENTENCES["en"]),
            voice=name,
            seed=1 if service.speaker.seeds else None,
        )
        voice = await service.voices.of(request)
        key = hashlib.sha256(b"" if voice is None else voice.codes.tobytes() + voice.text.encode()).digest()
        made = self._made.get(key)
        if made is None or (made.done() and (made.cancelled() or made.exception() is not None)):
            made = self._made[key] = asyncio.create_task(self._speak(request))
        self._made.move_to_end(key)
        while len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return await asyncio.shield(made)  # others may wait for it, too

    async def _speak(self, request: SpeechRequest) -> bytes:
        service = self._service
        with service.admitted():
            script, account = await service.begin(request, request.input)
            samples = await service.whole(request, script, account, None)
            return await asyncio.to_thread(encode, samples, "mp3", service.speaker.sample_rate)
