"""The WebSocket for voice agents: text as it is written, speech sentence by sentence."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, suppress
from typing import Any

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from neucodec_tts.speech.sentences import clauses, sentences
from neucodec_tts.text import has_speech
from neucodec_tts_vllm.server.encoding import encode, make_encoder
from neucodec_tts_vllm.server.errors import ApiError, as_api_error
from neucodec_tts_vllm.server.protocol import SessionConfig, validated
from neucodec_tts_vllm.server.routes import log_failure, service_of
from neucodec_tts_vllm.server.service import SpeechService

router = APIRouter()

_WAITING_SENTENCES = 256


@router.websocket("/v1/audio/speech/stream")
async def speech_session(socket: WebSocket) -> None:
    """Speak while somebody writes.

    The client sends JSON: ``session.config`` first, then ``input.text`` as often as it likes, ``input.done`` at the end
    of an utterance, ``input.cancel`` to be silent at once, and ``session.close``. It gets JSON, and the audio as binary
    frames between ``audio.start`` and ``audio.done`` of each sentence; ``session.done`` ends an utterance.
    """
    await socket.accept()
    try:
        service = service_of(socket)
        with service.admitted():
            await _Session(socket, service).run()
    except WebSocketDisconnect:
        return
    except Exception as error:
        told = as_api_error(error)
        if told.status >= 500:
            log_failure(error)
        with suppress(RuntimeError, WebSocketDisconnect):
            await socket.send_json(
                {"type": "error", "message": told.message, "param": told.param, "code": told.status}
            )
    with suppress(RuntimeError, WebSocketDisconnect):
        await socket.close()


class _Session:
    def __init__(self, socket: WebSocket, service: SpeechService) -> None:
        self._socket = socket
        self._service = service
        self._config: SessionConfig | None = None
        self._text = ""
        self._sentences: asyncio.Queue[str | None] = asyncio.Queue(_WAITING_SENTENCES)  # None: input.done
        self._speaking: asyncio.Task[None] | None = None
        self._idle = True
        self._utterance = 0
        self._said = 0
        self._failure: Exception | None = None

    async def run(self) -> None:
        self._speaking = asyncio.create_task(self._speak_all())
        try:
            while await self._take(await self._message()):
                pass
        finally:
            self._speaking.cancel()
            await asyncio.gather(self._speaking, return_exceptions=True)

    async def _message(self) -> dict[str, Any]:
        """The next message; gives up where nothing comes and nothing is being spoken."""
        while True:
            receiving = asyncio.ensure_future(self._socket.receive())
            watched = {receiving} if self._speaking is None else {receiving, self._speaking}
            await asyncio.wait(
                watched, timeout=self._service.settings.idle_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if self._speaking is not None and self._speaking.done():
                receiving.cancel()
                await self._speaking  # raises what went wrong
            if receiving.done():
                break
            receiving.cancel()
            with suppress(asyncio.CancelledError):
                await receiving
            if self._idle and self._sentences.empty():
                raise ApiError(400, "nothing has come for a long time; the session is closed")
        frame = receiving.result()
        if frame["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(frame.get("code", 1000))
        try:
            message = json.loads(frame.get("text") or "")
        except (ValueError, RecursionError) as error:
            raise ApiError(
                400, 'messages are JSON objects, as in {"type": "input.text", "text": "Hello."}'
            ) from error
        if not isinstance(message, dict):
            raise ApiError(400, "messages are JSON objects with a type")
        return message

    async def _take(self, message: dict[str, Any]) -> bool:
        """Do what a message says; False at the end of the session."""
        kind = message.get("type")
        if kind == "session.config":
            if self._text or not self._idle:
                raise ApiError(400, "session.config cannot come within an utterance; send input.done first")
            config = validated(SessionConfig, {key: value for key, value in message.items() if key != "type"})
            await self._service.check(config, "")
            self._config = config
        elif kind == "session.close":
            return False
        elif self._config is None:
            raise ApiError(400, f"the first message must be session.config, not {kind!r:.40}")
        elif kind == "input.text":
            text = message.get("text")
            if not isinstance(text, str):
                raise ApiError(400, "input.text needs text", "text")
            self._text += text
            await self._service.check(self._config, self._text)
            await self._cut(done=False)
        elif kind == "input.done":
            await self._cut(done=True)
            await self._sentences.put(None)
        elif kind == "input.cancel":
            await self._cancel()
        else:
            raise ApiError(400, f"unknown message {kind!r:.40}")
        return True

    async def _cut(self, done: bool) -> None:
        """Take whole sentences off the front of the text; the last one may go on until `done`."""
        assert self._config is not None
        granularity = self._config.split_granularity
        if granularity == "none":
            spans = []
        else:
            spans = list(sentences(self._text))
            if granularity == "clause":
                spans = [clause for span in spans for clause in clauses(self._text, span)]
        whole = spans if done else spans[:-1]
        end = 0
        for span in whole:
            await self._queue(self._text[span.start : span.end])
            end = span.end
        self._text = self._text[end:]
        if done:
            rest, self._text = self._text, ""
            await self._queue(rest)

    async def _queue(self, sentence: str) -> None:
        if has_speech(sentence):
            self._idle = False
            await self._sentences.put(sentence)

    async def _cancel(self) -> None:
        """Be silent at once, and forget what has not been said."""
        if self._speaking is not None:
            self._speaking.cancel()
            await asyncio.gather(self._speaking, return_exceptions=True)
        while not self._sentences.empty():
            self._sentences.get_nowait()
        self._text, self._idle = "", True
        await self._done(cancelled=True)
        self._speaking = asyncio.create_task(self._speak_all())

    async def _speak_all(self) -> None:
        while True:
            sentence = await self._sentences.get()
            if sentence is None:
                await self._done()
                continue
            await self._speak(sentence)

    async def _done(self, cancelled: bool = False) -> None:
        await self._socket.send_json(
            {
                "type": "session.done",
                "utterance_index": self._utterance,
                "total_sentences": self._said,
                **({"cancelled": True} if cancelled else {}),
            }
        )
        self._utterance += 1
        self._said = 0
        self._idle = self._sentences.empty()

    async def _speak(self, sentence: str) -> None:
        config, service = self._config, self._service
        assert config is not None
        place = {"utterance_index": self._utterance, "sentence_index": self._said}
        lora = await service.check(config, sentence)
        plan, account = await service.begin(config, sentence)
        rate = service.speaker.sample_rate
        await self._socket.send_json(
            {
                "type": "audio.start",
                **place,
                "sentence_text": sentence,
                "format": config.response_format,
                "sample_rate": rate,
            }
        )
        encoder = make_encoder(config.response_format, rate)
        held = []
        try:
            async with aclosing(service.stream(config, plan, account, lora)) as sounds:
                async for sound in sounds:
                    if not config.stream_audio:
                        held.append(sound)
                    elif data := encoder.push(sound):
                        await self._socket.send_bytes(data)
            if config.stream_audio:
                data = await asyncio.to_thread(encoder.finish)
            else:
                import numpy as np

                data = await asyncio.to_thread(encode, np.concatenate(held), config.response_format, rate)
            if data:
                await self._socket.send_bytes(data)
        finally:
            encoder.close()
        self._said += 1
        await self._socket.send_json({"type": "audio.done", **place, "usage": account.usage()})
