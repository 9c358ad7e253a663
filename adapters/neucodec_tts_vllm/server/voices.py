"""Find voices: by name, from uploads, and from recordings that come with a request."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from neucodec_tts.errors import EngineError, NeuCodecError, PromptError
from neucodec_tts.voices import SpeakerPrompt, VoiceLibrary
from neucodec_tts.voices.library import check_name, comparable
from neucodec_tts_vllm.server.errors import ApiError
from neucodec_tts_vllm.server.fetching import fetch
from neucodec_tts_vllm.server.recordings import decode_recording, read_data_url

if TYPE_CHECKING:
    from neucodec_tts_vllm.decoding import DecodeWorker
    from neucodec_tts_vllm.server.protocol import Settings
    from neucodec_tts_vllm.server.settings import ServerSettings

_KEPT = 64  # voices in memory
OPENAI_VOICES = (
    *(
        "alloy",
        "ash",
        "ballad",
        "cedar",
        "coral",
        "echo",
        "fable",
        "marin",
        "nova",
        "onyx",
        "sage",
        "shimmer",
    ),
    "verse",
)
"""Names that OpenAI's clients ask for; some take no others."""


class Voices:
    """The voices of a server: those of a folder, and those that came with recent requests.

    Args:
        worker: its codec encodes recordings, in its thread.
        settings: limits.
        own: voices that come with the model; the library's of the same name come first.
        default: name of the voice of requests that name none, if the settings have none.
    """

    def __init__(
        self,
        worker: DecodeWorker,
        settings: ServerSettings,
        own: VoiceLibrary | None = None,
        default: str | None = None,
    ) -> None:
        self.default = settings.default_voice or default
        self._own = own
        self.library = VoiceLibrary(settings.voices or None)
        self._worker = worker
        self._settings = settings
        self._known: OrderedDict[str, SpeakerPrompt] = OrderedDict()  # by name and change, or by content
        self._writing = asyncio.Lock()

    async def of(self, request: Settings) -> tuple[str | None, SpeakerPrompt | None]:
        """Return the name of a request's voice, None for a recording, and the voice, None for the model's own.

        Raises:
            ApiError: there is none of that name, or its recording cannot be used.
            NeuCodecError: likewise.
        """
        if request.ref_audio is not None:
            if request.voice is not None and request.voice in await asyncio.to_thread(self.library.names):
                raise ApiError(400, "give either voice or ref_audio, not both", "ref_audio")
            return None, await self._from_reference(request.ref_audio, request.ref_text, request.language)
        name = await asyncio.to_thread(self._meaning, request.voice or self.default)
        return name, None if name is None else await self.load(name)

    async def check_aliases(self) -> None:
        """Check that each alias means a voice.

        Raises:
            EngineError: one means none.
        """
        for alias, name in self._settings.aliases.items():
            try:
                await self.load(name)
            except (ApiError, NeuCodecError) as error:
                raise EngineError(f"the voice alias {alias}={name} points nowhere: {error}") from error

    def _meaning(self, name: str | None) -> str | None:
        """The voice that a name means: an alias, a voice's own name, or one of OpenAI's names.

        OpenAI's names are shared out among the model's voices, or those of the library, in the order of the alphabet.
        """
        if not name:
            return None
        alias = self._settings.aliases.get(comparable(name))
        if alias is not None:
            return alias
        if self._settings.strict_names or name.lower() not in OPENAI_VOICES or name in self.library:
            return name
        own = [] if self._own is None else self._own.names()
        if name in own:
            return name
        known = sorted(own or self.library.names(), key=comparable)
        return known[OPENAI_VOICES.index(name.lower()) % len(known)] if known else None

    async def load(self, name: str) -> SpeakerPrompt:
        """Read a voice by its name.

        Raises:
            ApiError: there is none.
        """
        try:
            name = check_name(name)  # a name only, never a path
            library = await asyncio.to_thread(self._where, name)
            path = library.path(name)
            changed = await asyncio.to_thread(lambda: path.stat().st_mtime_ns)
        except PromptError as error:
            raise ApiError(400, str(error), "voice") from error
        except OSError as error:
            raise ApiError(
                404, f"there is no voice {name!r}; GET /v1/audio/voices lists those there are", "voice"
            ) from error
        key = f"name:{path}:{changed}"
        found = self._known.get(key)
        if found is None:
            found = await asyncio.to_thread(library.find, name, codec=self._worker.codec)
        return self._keep(key, found)

    async def add(self, name: str, data: bytes, text: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Keep the voice of a recording under a name.

        Raises:
            ApiError: the name is taken, or there are too many voices.
            NeuCodecError: the recording, its transcript or the name cannot be used.
        """
        name = check_name(name)
        async with self._writing:
            names = await asyncio.to_thread(self.library.names)
            if self._own is not None and comparable(name) in map(comparable, self._own.names()):
                raise ApiError(409, f"the voice {name!r} comes with the model; take another name", "name")
            if comparable(name) in map(comparable, names):
                raise ApiError(
                    409, f"there is a voice {name!r} already; delete it first, or take another name", "name"
                )
            if len(names) >= self._settings.max_voices:
                raise ApiError(
                    409, f"this server keeps {self._settings.max_voices} voices at most; delete one", "name"
                )
            voice = await self._encode(data, text, None)
            stored = SpeakerPrompt(
                voice.codes,
                voice.text,
                voice.language,
                voice.codec_id,
                voice.duration,
                {**metadata, "created_at": int(time.time())},
            )
            await asyncio.to_thread(self.library.save, name, stored)
        advice = [one.message for one in voice.advice]
        return {**describe(name, stored), **({"advice": advice} if advice else {})}

    async def remove(self, name: str) -> None:
        """Forget a voice.

        Raises:
            ApiError: there is none of that name.
        """
        await self.load(name)
        if await asyncio.to_thread(self._where, name) is self._own:
            raise ApiError(409, f"the voice {name!r} comes with the model and cannot be deleted", "name")
        await asyncio.to_thread(self.library.remove, name)

    async def listed(self) -> list[dict[str, Any]]:
        """Describe each voice."""
        described = []
        names = {*await asyncio.to_thread(self.library.names)}
        if self._own is not None:
            names |= {*await asyncio.to_thread(self._own.names)}
        for name in sorted(names, key=comparable):
            try:
                described.append(describe(name, await self.load(name)))
            except (ApiError, PromptError):  # deleted meanwhile, damaged, or of another codec
                continue
        return described

    def _where(self, name: str) -> VoiceLibrary:
        """Return the library that holds a name."""
        if self._own is not None and name in self._own and name not in self.library:
            return self._own
        return self.library

    async def _from_reference(self, url: str, text: str | None, language: str | None) -> SpeakerPrompt:
        if not text or not text.strip():
            raise ApiError(
                400, "ref_audio needs ref_text: what is said in the recording, word for word", "ref_text"
            )
        if url[:5].lower() == "data:":
            data = await asyncio.to_thread(read_data_url, url, self._settings.max_upload_bytes)
        else:
            data = await asyncio.to_thread(
                fetch, url, self._settings.ref_audio_hosts, self._settings.max_upload_bytes
            )
        key = hashlib.sha256(b"\0".join([data, text.encode("utf-8", "replace")])).hexdigest()
        found = self._known.get(key)
        return self._keep(key, found or await self._encode(data, text, language))

    async def _encode(self, data: bytes, text: str, language: str | None) -> SpeakerPrompt:
        samples, rate = await asyncio.to_thread(decode_recording, data, self._settings.max_voice_seconds)
        codec = self._worker.codec
        return await self._worker.call(
            lambda: SpeakerPrompt.from_audio(codec, samples, text, sample_rate=rate, language=language)
        )

    def _keep(self, key: str, voice: SpeakerPrompt) -> SpeakerPrompt:
        self._known[key] = voice
        self._known.move_to_end(key)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return voice


def describe(name: str, voice: SpeakerPrompt) -> dict[str, Any]:
    """Describe a voice, without the words of its recording."""
    return {
        "name": name,
        "duration_seconds": round(voice.duration, 2),
        "language": voice.language,
        "created_at": voice.metadata.get("created_at", 0),
    }
