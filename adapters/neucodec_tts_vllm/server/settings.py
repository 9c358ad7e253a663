"""Limits and choices of a server, from the environment: vLLM's command line has no room for a plugin's options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from neucodec_tts.errors import EngineError
from neucodec_tts.voices.library import comparable

PREFIX = "NEUCODEC_TTS_"
_SWITCH = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}


@dataclass(frozen=True)
class ServerSettings:
    """Limits and choices; each is read from the environment variable ``NEUCODEC_TTS_`` and its name in capitals.

    Attributes:
        codec: folder or hub id, if it is not the codec that the model names.
        decoder: folder or hub id of a codec whose decoder takes the place of the codec's own.
        codec_device: device of the codec; the first GPU if vLLM computes on GPUs, else the CPU.
        voices: folder of voices that go by name.
        default_voice: voice of requests that name none; by default the one that the model names, if it does.
        watermark: mark speech as synthetic (1, 0); by default where ``resemble-perth`` is installed.
        max_text_chars: longest text of a request.
        max_upload_bytes: largest recording, and largest body of a request.
        max_voice_seconds: longest recording of a voice.
        max_voices: most voices that are kept.
        max_requests: most requests that are worked on or wait, sentences of WebSockets included; more are refused with
            status 429.
        max_sessions: most WebSockets that are open; more are refused with status 429.
        max_batch_items: texts in a request to ``/v1/audio/speech/batch``.
        idle_seconds: a WebSocket is closed when it is silent for so long and sends nothing; a streamed answer is ended
            when its client reads nothing for so long.
        strict_names: refuse OpenAI's names of models and voices (1, 0); by default they mean the model that is served
            and its voices.
        voice_aliases: other names of voices, as in ``alloy=heart,nova=dave``.
        ref_audio_hosts: names of hosts, with commas between, from which ``ref_audio`` may be fetched; none by default.
    """

    codec: str = ""
    decoder: str = ""
    codec_device: str = ""
    voices: str = ""
    default_voice: str = ""
    watermark: bool | None = None
    max_text_chars: int = 20_000
    max_upload_bytes: int = 10_000_000
    max_voice_seconds: float = 30.0
    max_voices: int = 1000
    max_requests: int = 1024
    max_sessions: int = 1024
    max_batch_items: int = 64
    idle_seconds: float = 60.0
    strict_names: bool | None = None
    voice_aliases: tuple[str, ...] = ()
    ref_audio_hosts: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> ServerSettings:
        """Read the settings.

        Raises:
            EngineError: a value is not what it should be; the message names the variable.
        """
        source = os.environ if environment is None else environment
        values: dict[str, object] = {}
        for entry in fields(cls):
            name = PREFIX + entry.name.upper()
            text = source.get(name, "").strip()
            if not text:
                continue
            if isinstance(entry.default, str):
                values[entry.name] = text
            elif entry.default is None:
                if text.lower() not in _SWITCH:
                    raise EngineError(f"{name} is {text!r}; it must be 1 or 0")
                values[entry.name] = _SWITCH[text.lower()]
            elif isinstance(entry.default, tuple):
                parts = text.lower() if entry.name == "ref_audio_hosts" else text
                values[entry.name] = tuple(each.strip() for each in parts.split(",") if each.strip())
            else:
                try:
                    number = int(text) if isinstance(entry.default, int) else float(text)
                except ValueError:
                    number = 0
                if not 0 < number < float("inf"):
                    raise EngineError(f"{name} is {text!r}; it must be a positive number")
                values[entry.name] = number
        settings = cls(**values)  # type: ignore[arg-type]
        for alias in settings.voice_aliases:
            if [bool(part.strip()) for part in alias.split("=")] != [True, True]:
                raise EngineError(
                    f"{PREFIX}VOICE_ALIASES has {alias!r}; it must be NAME=VOICE, as in alloy=heart"
                )
        return settings

    @property
    def aliases(self) -> dict[str, str]:
        """The voice of each other name, as `comparable` has it."""
        pairs = (alias.split("=") for alias in self.voice_aliases)
        return {comparable(name.strip()): voice.strip() for name, voice in pairs}
