"""The WebSocket for voice agents: text comes as it is written, speech goes out sentence by sentence.

Connect to ``/v1/audio/speech/stream`` with ``Authorization: Bearer KEY`` where the server has a key. Messages are JSON
objects in text frames; audio comes in binary frames.

The client sends:

    {"type": "session.config", ...}                 first, and again between utterances. Fields of
                                                    POST /v1/audio/speech: voice, ref_audio, ref_text, language, model,
                                                    speed, seed, temperature, top_k, top_p, min_p,
                                                    repetition_penalty, emotion, max_new_tokens,
                                                    text_format ("markdown" by default, of each sentence), normalize,
                                                    initial_codec_chunk_frames, gapless, response_format ("pcm" by
                                                    default; "codes" for codes); and
                                                    split_granularity: "sentence" (default), "clause", "none"
                                                    stream_audio: true (default), or false for one frame a sentence
    {"type": "input.text", "text": "Hello the"}     as often as needed; the pieces are joined as they are
    {"type": "input.done"}                          the utterance ends; what is left of the text is spoken
    {"type": "input.cancel"}                        silence at once; text that was not spoken is dropped
    {"type": "session.close"}                       the server closes the connection

The server sends, for each sentence:

    {"type": "audio.start", "utterance_index": 0, "sentence_index": 0, "sentence_text": "Hello there.",
     "format": "pcm", "sample_rate": 24000, "watermarked": false, "seed": 5, "voice": "heart", "model": "tiny"}
    binary frames                                   bytes of the format; those of one sentence are one file
    {"type": "audio.done", "utterance_index": 0, "sentence_index": 0, "audio_seconds": 1.1, "cut_short": 0,
     "usage": {"input_tokens": 12, "output_tokens": 55, "total_tokens": 67}}

``voice`` and ``model`` are there where they have a name. Both messages have ``warnings``, a list of texts, where a part
of the sentence is not read; ``audio.done`` also where the speech did not end well. ``unused`` lists fields of the
configuration that change nothing here. With the format "codes" a binary frame holds whole codes, unsigned 16-bit
little-endian integers, and ``audio.start`` names their ``codec`` and ``frame_rate``. A sentence of which nothing can be
read is left out:

    {"type": "warning", "utterance_index": 0, "message": "..."}

and after ``input.done`` or ``input.cancel``:

    {"type": "session.done", "utterance_index": 0, "total_sentences": 2}        "cancelled": true after a cancel

An error ends the session, after

    {"type": "error", "message": "...", "param": "voice", "code": 404}          codes are those of HTTP

Text without the end of a sentence may have ``NEUCODEC_TTS_MAX_TEXT_CHARS`` characters. Of a client that writes faster
than it can be spoken to, the server reads no more while 256 sentences wait; an ``input.cancel`` behind them waits, too.

A session takes one of the server's places (``NEUCODEC_TTS_MAX_REQUESTS``) only while a sentence is spoken; where there
is none, the error has code 429. ``NEUCODEC_TTS_MAX_SESSIONS`` limits the open sessions. A session is closed when
nothing comes and nothing is spoken for ``NEUCODEC_TTS_IDLE_SECONDS``, or when the client reads nothing for so long.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import numpy as np
from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from neucodec_tts.errors import NothingToReadError
from neucodec_tts.speech.sentences import clauses, sentences
from neucodec_tts.text import has_speech
from neucodec_tts_vllm.server.answers import log_failure
from neucodec_tts_vllm.server.arrivals import service_of
from neucodec_tts_vllm.server.encoding import codes16, encode, encoded
from neucodec_tts_vllm.server.errors import ApiError, as_api_error
from neucodec_tts_vllm.server.protocol import SessionConfig, validated
from neucodec_tts_vllm.server.service import SpeechService, Task

router = APIRouter()

_WAITING_SENTENCES = 256
_LONG_TEXT = 1000
"""Longer text without an end is looked at only when an eighth has been added, since each look costs time."""


@router.websocket("/v1/audio/speech/stream")
async def speech_session(socket: WebSocket) -> None:
    """Speak while the text is written."""
    await socket.accept()
    try:
        service = service_of(socket)
        with service.session():
            await _Session(socket, service).run()
    except WebSocketDisconnect:
        return
    except Exception as error:
        told = as_api_error(error)
        if told.status >= 500:
            log_failure(error)
        with suppress(RuntimeError, WebSocketDisconnect, asyncio.TimeoutError):
            message = {"type": "error", "message": told.message, "param": told.param, "code": told.status}
            await asyncio.wait_for(socket.send_json(message), 10)
    with suppress(RuntimeError, WebSocketDisconnect):
        await socket.close()


class _Session:
    def __init__(self, socket: WebSocket, service: SpeechService) -> None:
        self._socket = socket
        self._service = service
        self._config: SessionConfig | None = None
        self._text = ""
        self._looked_at = 0  # characters of the text in which no end was found
        self._sentences: asyncio.Queue[str | None] = asyncio.Queue(_WAITING_SENTENCES)  # None: input.done
        self._speaking: asyncio.Task[None] | None = None
        self._between = True  # True between utterances
        self._talking = False  # True while a sentence is spoken
        self._utterance = 0
        self._said = 0

    async def run(self) -> None:
        self._speaking = asyncio.create_task(self._speak_all())
        try:
            while await self._take(await self._message()):
                pass
        finally:
            self._speaking.cancel()
            await asyncio.gather(self._speaking, return_exceptions=True)

    async def _message(self) -> dict[str, Any]:
        """Wait for the next message; gives up when nothing comes and nothing is spoken for too long."""
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
            if not self._talking and self._sentences.empty():
                idle = self._service.settings.idle_seconds
                raise ApiError(408, f"nothing has come for {idle:g} s; the session is closed")
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
        """Obey a message; returns False at the end of the session."""
        kind = message.get("type")
        if kind == "session.config":
            if self._text or not self._between:
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
            await self._put(None)
        elif kind == "input.cancel":
            await self._cancel()
        else:
            raise ApiError(400, f"unknown message {kind!r:.40}")
        return True

    async def _cut(self, done: bool) -> None:
        """Take whole sentences off the front of the text; the last one may go on until `done`."""
        assert self._config is not None
        if not done and len(self._text) > _LONG_TEXT and len(self._text) < self._looked_at * 9 // 8:
            return
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
        self._looked_at = len(self._text)
        if done:
            rest, self._text, self._looked_at = self._text, "", 0
            await self._queue(rest)

    async def _queue(self, sentence: str) -> None:
        if has_speech(sentence):
            self._between = False
            await self._put(sentence)

    async def _put(self, sentence: str | None) -> None:
        """Let a sentence wait for its turn; raises what went wrong if nothing will be spoken any more."""
        assert self._speaking is not None
        putting = asyncio.ensure_future(self._sentences.put(sentence))
        await asyncio.wait({putting, self._speaking}, return_when=asyncio.FIRST_COMPLETED)
        if not putting.done():
            putting.cancel()
            await self._speaking

    async def _cancel(self) -> None:
        """Be silent at once, and forget what has not been said."""
        if self._speaking is not None:
            self._speaking.cancel()
            await asyncio.gather(self._speaking, return_exceptions=True)
        while not self._sentences.empty():
            self._sentences.get_nowait()
        self._text, self._looked_at, self._between = "", 0, True
        await self._done(cancelled=True)
        self._speaking = asyncio.create_task(self._speak_all())

    async def _speak_all(self) -> None:
        while True:
            sentence = await self._sentences.get()
            if sentence is None:
                await self._done()
                continue
            self._talking = True
            try:
                with self._service.admitted():
                    await self._speak(sentence)
            finally:
                self._talking = False

    async def _done(self, cancelled: bool = False) -> None:
        await self._send(
            {
                "type": "session.done",
                "utterance_index": self._utterance,
                "total_sentences": self._said,
                **({"cancelled": True} if cancelled else {}),
            }
        )
        self._utterance += 1
        self._said = 0
        self._between = self._sentences.empty()

    async def _speak(self, sentence: str) -> None:
        config, service = self._config, self._service
        assert config is not None
        place = {"utterance_index": self._utterance, "sentence_index": self._said}
        lora = await service.check(config, sentence)
        try:
            task = await service.begin(config, sentence, lora, self._socket.headers)
        except NothingToReadError as error:  # a picture of a face, or a piece of code
            await self._send(
                {"type": "warning", "utterance_index": self._utterance, "message": f"left out: {error}"}
            )
            return
        await self._send({"type": "audio.start", **place, "sentence_text": sentence, **service.facts(task)})
        async with aclosing(self._frames(task)) as frames:
            async for data in frames:
                await self._send(data)
        self._said += 1
        await self._send({"type": "audio.done", **place, **service.ending(task)})

    async def _frames(self, task: Task) -> AsyncGenerator[bytes, None]:
        """The binary frames of a sentence."""
        assert self._config is not None
        form, rate, pieces = self._config.response_format, self._service.speaker.sample_rate, []
        if form == "codes":
            async with aclosing(self._service.stream_codes(task)) as sentences:
                async for _, codes in sentences:
                    pieces.append(codes16(codes))
                    if self._config.stream_audio:
                        yield pieces.pop()
            if pieces:
                yield b"".join(pieces)
        elif self._config.stream_audio:
            async with aclosing(encoded(self._service.stream(task), form, rate)) as chunks:
                async for chunk in chunks:
                    yield chunk
        else:
            async with aclosing(self._service.stream(task)) as sounds:
                samples = np.concatenate([sound async for sound in sounds])
            yield await asyncio.to_thread(encode, samples, form, rate)

    async def _send(self, message: dict[str, Any] | bytes) -> None:
        """Send a message; gives up when the client reads nothing for too long."""
        send = self._socket.send_json if isinstance(message, dict) else self._socket.send_bytes
        sending = asyncio.ensure_future(send(message))  # type: ignore[arg-type]
        try:
            # Not wait_for, which in Python 3.11 overlooks a cancellation that comes when the message is out.
            done, _ = await asyncio.wait({sending}, timeout=self._service.settings.idle_seconds)
        finally:
            sending.cancel()
        if not done:
            raise WebSocketDisconnect(1001, "the client reads nothing")
        sending.result()
