"""A client of a speech server, as asynchronous ones are written: requests, what is heard of them, and when."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from neucodec_tts.errors import EngineError
from serving.playback import Playback

if TYPE_CHECKING:
    from types import TracebackType

    from serving.comparison import Samples

Clock = Callable[[], float]
_SAMPLE_BYTES = 2
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Heard:
    """One request for speech, from the client's side; times in seconds.

    Attributes:
        samples: int16 (n,); what came before an error, if there was one.
        sample_rate: Hz.
        first_audio: from sending the request to its first sound; None if there was none.
        total: until its end.
        playback: what a listener at real time heard of it.
        error: why it is not whole; None if it is.
    """

    samples: Samples
    sample_rate: int
    first_audio: float | None
    total: float
    playback: Playback
    error: str | None = None

    @property
    def real_time_factor(self) -> float:
        """Seconds of waiting per second of speech."""
        seconds = len(self.samples) / self.sample_rate
        return self.total / seconds if seconds else float("inf")


@dataclass(frozen=True)
class Completed:
    """One request to ``/v1/completions``; times in seconds.

    Attributes:
        tokens: how many were generated.
        arrivals: when each of them came after sending; empty where the answer came as a whole.
        error: why there is none; None if there is.
    """

    tokens: int
    arrivals: list[float] = field(default_factory=list)
    error: str | None = None


@dataclass(frozen=True)
class Answer:
    """The answer to a request that ought not to be made.

    Attributes:
        status: of HTTP; None where there was no answer, or its client went before the end of it.
        seconds: until its end.
        proper: whether it says what is wrong in OpenAI's shape, or nothing is.
    """

    status: int | None
    seconds: float
    proper: bool = False


class Stage(Enum):
    """When a client goes."""

    WITHIN_REQUEST = "within the request"
    BEFORE_ANSWER = "before any answer"
    AMID_SOUND = "amid the sound"


class SpeechClient:
    """Talks to one server; use it in ``async with``.

    Args:
        url: of the server, as ``http://127.0.0.1:8000``.
        api_key: that it wants.
        timeout: seconds after which a server that sends nothing is given up.
        clock: tells the time in seconds.

    Raises:
        EngineError: httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 600.0,
        clock: Clock = time.perf_counter,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise EngineError(
                "talking to a server needs httpx: pip install 'neucodec-tts[benchmarks]'"
            ) from error
        self.url = url.rstrip("/")
        self.clock = clock
        self._failures = (httpx.HTTPError, httpx.InvalidURL)
        self._connect = partial(
            httpx.AsyncClient,
            base_url=self.url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=timeout,
            # Servers forget a connection after 5 s without a word; whoever asks on it just then is not answered.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=2.0),
            trust_env=False,  # a proxy would be measured with it
        )
        try:
            self._http = self._connect()
        except (httpx.InvalidURL, ValueError, UnicodeError) as error:
            raise EngineError(f"{url!r} is no address of a server: {error}") from error

    async def __aenter__(self) -> SpeechClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def speak(
        self,
        body: Mapping[str, Any],
        heard: Callable[[float], None] = lambda seconds: None,
        *,
        stream: bool = True,
    ) -> Heard:
        """Ask ``/v1/audio/speech`` for 16-bit samples, and take them as they come. Never raises for a failure.

        Args:
            body: ``input`` and whatever else the request has; that samples are wanted is added.
            heard: called for each sound that comes, with its seconds.
            stream: whether the server is to send them while they are generated.
        """
        sent = self.clock()
        playback = Playback()
        parts: list[bytes] = []
        size, rate = 0, 24_000
        error = None
        try:
            wanted = {**body, "response_format": "pcm", "stream": stream}
            if stream:
                wanted["stream_format"] = "audio"
            async with self._http.stream("POST", "/v1/audio/speech", json=wanted) as answer:
                rate = _rate(answer.headers.get("x-sample-rate"))
                if answer.status_code != 200:
                    await answer.aread()
                    error = _refusal(answer)
                else:
                    async for part in answer.aiter_bytes():
                        parts.append(part)
                        whole = (size + len(part)) // _SAMPLE_BYTES - size // _SAMPLE_BYTES
                        size += len(part)
                        playback.push(self.clock(), whole / rate)
                        heard(whole / rate)
                    if not size:
                        error = "the answer holds no sound"
                    elif size % _SAMPLE_BYTES:
                        error = "the answer ends within a sample"
        except self._failures as failure:
            error = _failure(failure)
        data = b"".join(parts)
        return Heard(
            np.frombuffer(data[: len(data) // _SAMPLE_BYTES * _SAMPLE_BYTES], "<i2"),
            rate,
            None if playback.started is None else playback.started - sent,
            self.clock() - sent,
            playback,
            error,
        )

    async def ask(self, method: str, path: str, **sent: Any) -> Answer:
        """Ask for anything. Never raises for a failure.

        Args:
            method: of HTTP.
            path: of the route.
            sent: ``content``, ``json``, ``data`` or ``files``, as httpx takes them.
        """
        start = self.clock()
        try:
            answer = await self._http.request(method, path, **sent)
        except self._failures:
            return Answer(None, self.clock() - start)
        return Answer(answer.status_code, self.clock() - start, answer.is_success or _says_why(answer))

    async def leave(self, body: Mapping[str, Any], stage: Stage, after: float = 0.02) -> Answer:
        """Ask ``/v1/audio/speech``, and go.

        Args:
            body: of the request.
            stage: when to go.
            after: seconds to wait then. Until they are over nothing more is read.
        """
        start = self.clock()
        data = json.dumps(body).encode()

        async def part() -> AsyncIterator[bytes]:
            yield data[: len(data) // 2]
            await asyncio.sleep(after)
            raise _GoneError

        headers = {"Content-Type": "application/json"}
        content: bytes | AsyncIterator[bytes] = data
        if stage is Stage.WITHIN_REQUEST:
            headers["Content-Length"] = str(len(data))
            content = part()

        async def asked(http: Any) -> int | None:
            async with http.stream("POST", "/v1/audio/speech", content=content, headers=headers) as answer:
                if answer.status_code != 200:
                    return int(answer.status_code)
                if stage is Stage.AMID_SOUND:
                    async for _ in answer.aiter_raw():
                        break
                    await asyncio.sleep(after)
                return None

        try:
            # A connection of one's own, since one that is shared may outlive a request that is given up.
            async with self._connect() as http:
                status = await asyncio.wait_for(asked(http), after if stage is Stage.BEFORE_ANSWER else None)
        except (*self._failures, _GoneError, asyncio.TimeoutError):
            status = None
        return Answer(status, self.clock() - start)

    async def complete(self, body: Mapping[str, Any], *, stream: bool = False) -> Completed:
        """Ask ``/v1/completions`` for tokens. Never raises for a failure.

        Args:
            body: ``prompt`` and whatever else the request has.
            stream: whether to take each token as it comes.
        """
        sent = self.clock()
        wanted = {**body, "stream": stream, "return_token_ids": True}
        try:
            if not stream:
                answer = await self._http.post("/v1/completions", json=wanted)
                if answer.status_code != 200:
                    return Completed(0, error=_refusal(answer))
                return Completed(len(answer.json()["choices"][0]["token_ids"]))
            arrivals: list[float] = []
            async with self._http.stream("POST", "/v1/completions", json=wanted) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    return Completed(0, error=_refusal(answer))
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        choices = json.loads(line[6:]).get("choices") or [{}]
                        new = len(choices[0].get("token_ids") or [])
                        arrivals += [self.clock() - sent] * new
            return Completed(len(arrivals), arrivals)
        except self._failures as failure:
            return Completed(0, error=_failure(failure))
        except (ValueError, KeyError, IndexError, TypeError) as failure:
            return Completed(0, error=f"the answer is not one of /v1/completions: {failure!r}")

    async def models(self) -> list[dict[str, Any]]:
        """The models that are served, the main one first.

        Raises:
            EngineError: nothing of this kind answers there.
        """
        try:
            answer = await self._http.get("/v1/models")
            if answer.status_code != 200:
                raise EngineError(f"{self.url}/v1/models answers with {_refusal(answer)}")
            served = answer.json()["data"]
            if not served or not all(isinstance(model["id"], str) for model in served):
                raise ValueError("no model is named")
        except self._failures as failure:
            raise EngineError(
                f"no server answers at {self.url} ({_failure(failure)}); start one: neucodec-tts serve MODEL"
            ) from failure
        except (ValueError, KeyError, TypeError) as failure:
            raise EngineError(
                f"what answers at {self.url} is no server of OpenAI's kind: {failure!r}"
            ) from failure
        return list(served)

    async def metrics(self) -> dict[str, float]:
        """Every metric of ``/metrics``, summed over its labels; empty where there are none."""
        try:
            answer = await self._http.get("/metrics")
            return parse_metrics(answer.text) if answer.status_code == 200 else {}
        except (*self._failures, ValueError):
            return {}

    async def ping(self) -> float:
        """Seconds until ``/health`` has answered, or failed to."""
        start = self.clock()
        with suppress(*self._failures):
            await self._http.get("/health")
        return self.clock() - start


class StallMeter:
    """Asks for ``/health`` all the time, in ``async with``; `worst` is how long the longest answer took, in seconds.

    The server's event loop answers it as it answers everything, so what keeps that from coming round shows here. So
    does what keeps this process from it: `own` is the longest time by which a short sleep here came too late.
    """

    def __init__(self, client: SpeechClient, interval: float = _POLL_SECONDS) -> None:
        self.worst = 0.0
        self.own = 0.0
        self.answers = 0
        self._client = client
        self._interval = interval
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> StallMeter:
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._watch_own())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            start = self._client.clock()
            try:
                await self._client.ping()
                self.answers += 1
            finally:  # an answer that is still waited for counts, too
                self.worst = max(self.worst, self._client.clock() - start)
            await asyncio.sleep(self._interval)

    async def _watch_own(self) -> None:
        while True:
            start = time.perf_counter()
            await asyncio.sleep(self._interval)
            self.own = max(self.own, time.perf_counter() - start - self._interval)


def parse_metrics(text: str) -> dict[str, float]:
    """Prometheus' text format, each metric summed over its labels; without buckets and times of creation.

    Raises:
        ValueError: this is not that format.
    """
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.endswith(("_bucket", "_created")):
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


class _GoneError(Exception):
    """A client that goes amid its own request."""


def _says_why(answer: Any) -> bool:
    """True if an error has OpenAI's shape."""
    try:
        return bool(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return False


def _rate(header: str | None) -> int:
    return int(header) if header and header.isdigit() and int(header) > 0 else 24_000


def _refusal(answer: Any) -> str:
    """Status and message of an answer in OpenAI's shape, or its text."""
    try:
        message = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = answer.text
    return f"status {answer.status_code}: {' '.join(str(message).split()):.300}"


def _failure(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}".rstrip(": ")
