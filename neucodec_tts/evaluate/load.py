"""Driving a speech server over HTTP as clients would, and what they get."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from neucodec_tts.errors import EngineError

_SAMPLE_BYTES = 2
_TEXTS = (
    "Good morning, and welcome to the first train of the day.",
    "The weather will stay dry until the evening, with a light wind from the west.",
    "Please have your tickets ready, and mind the gap between the train and the platform.",
    "I could not find the book that you asked for. Shall I look for another one?",
    "Your call is important to us.",
    "Turn left at the next crossing, then keep to the right for two miles.",
    "It was a bright cold day in April, and the clocks were striking thirteen.",
    "Thank you. Your order has been sent, and you will hear from us tomorrow.",
)


@dataclass
class Heard:
    """What one client got.

    Attributes:
        status: of HTTP; 0 if the connection broke.
        first_audio: seconds until the first audio.
        total: seconds until the last.
        audio: seconds of it.
        dry: how often a client that plays from the first chunk on would have run out of sound.
        dry_seconds: for how long in all.
        tokens: speech tokens, where the server says so.
    """

    status: int = 0
    first_audio: float = 0.0
    total: float = 0.0
    audio: float = 0.0
    dry: int = 0
    dry_seconds: float = 0.0
    tokens: int = 0


@dataclass
class LoadReport:
    """What all clients got, and what the server says of itself.

    Attributes:
        clients: each client's.
        seconds: from the first request to the last answer.
        server: growth of the server's metrics meanwhile, by name.
        worst_stall: of the server's event loop, in seconds, since its start.
        memory: of the server's front process at the beginning and at the end, in bytes; zeros if it does not say.
    """

    clients: list[Heard] = field(default_factory=list)
    seconds: float = 0.0
    server: dict[str, float] = field(default_factory=dict)
    worst_stall: float = 0.0
    memory: tuple[float, float] = (0.0, 0.0)

    @property
    def good(self) -> list[Heard]:
        """Those that got their speech."""
        return [one for one in self.clients if one.status == 200]

    @property
    def lost(self) -> int:
        """How many did not."""
        return len(self.clients) - len(self.good)

    @property
    def audio(self) -> float:
        """Seconds of speech."""
        return sum(one.audio for one in self.good)

    def mean(self, histogram: str) -> float:
        """Mean of one of the server's histograms; 0 if it was not used."""
        count = self.server.get(f"{histogram}_count", 0.0)
        return self.server.get(f"{histogram}_sum", 0.0) / count if count else 0.0

    def first_audio(self, share: float) -> float:
        """A quantile of the time to first audio, in seconds."""
        times = sorted(one.first_audio for one in self.good)
        return times[min(len(times) - 1, int(share * len(times)))] if times else 0.0

    @property
    def token_rate(self) -> float:
        """Speech tokens a second, by the server's count."""
        return self.server.get("neucodec_tts:speech_tokens_total", 0.0) / max(self.seconds, 1e-9)


def measure_load(
    url: str,
    *,
    requests: int,
    concurrency: int,
    seconds: float = 0.0,
    api_key: str | None = None,
    voice: str | None = None,
    model: str | None = None,
    texts: Sequence[str] = _TEXTS,
    decode: bool = True,
    advance: Callable[[int], None] = lambda count: None,
) -> LoadReport:
    """Ask a server for speech, many times at once.

    Args:
        url: of the server, without a path.
        requests: how many in all.
        concurrency: at a time.
        seconds: go on for so long instead of for `requests`.
        api_key: what it wants to be told.
        voice: on the server.
        model: name under which it serves; any by default.
        texts: spoken in turn.
        decode: streams of sound; otherwise the codes only, by which one sees what decoding costs.
        advance: told of each answer.

    Raises:
        EngineError: the server is not there, or refuses what it is asked.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    common = {name: value for name, value in (("voice", voice), ("model", model)) if value}
    return asyncio.run(
        _drive(url.rstrip("/"), headers, common, texts, requests, concurrency, seconds, decode, advance)
    )


async def _drive(
    url: str,
    headers: dict[str, str],
    common: dict[str, str],
    texts: Sequence[str],
    requests: int,
    concurrency: int,
    seconds: float,
    decode: bool,
    advance: Callable[[int], None],
) -> LoadReport:
    report = LoadReport()
    limits = httpx.Limits(max_connections=concurrency + 4, max_keepalive_connections=concurrency + 4)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=600, limits=limits) as client:
        await _check(client, common)
        before = await _metrics(client)
        start = time.perf_counter()
        numbers = iter(range(10**9))

        async def work() -> None:
            while True:
                number = next(numbers)
                if number >= requests if not seconds else time.perf_counter() - start >= seconds:
                    return
                body = {"input": texts[number % len(texts)], "seed": number, **common}
                report.clients.append(await (_listen if decode else _ask_codes)(client, body))
                advance(1)

        await asyncio.gather(*(work() for _ in range(concurrency)))
        report.seconds = time.perf_counter() - start
        after = await _metrics(client)
    report.server = {name: value - before.get(name, 0.0) for name, value in after.items()}
    report.worst_stall = after.get("neucodec_tts:event_loop_worst_stall_seconds", 0.0)
    memory = "process_resident_memory_bytes"
    report.memory = (before.get(memory, 0.0), after.get(memory, 0.0))
    return report


async def _check(client: httpx.AsyncClient, common: dict[str, str]) -> None:
    """One request to begin with, so that what is wrong is said once."""
    try:
        answer = await client.post(
            "/v1/audio/speech", json={"input": "Hello.", "response_format": "pcm", **common}
        )
    except httpx.HTTPError as error:
        raise EngineError(
            f"no server answers at {client.base_url}: {error or type(error).__name__}"
        ) from error
    if answer.status_code != 200:
        raise EngineError(f"the server refuses ({answer.status_code}): {answer.text[:300]}")


async def _listen(client: httpx.AsyncClient, body: dict[str, Any]) -> Heard:
    heard = Heard()
    start = time.perf_counter()
    size = 0
    try:
        request = {**body, "response_format": "pcm", "stream": True}
        async with client.stream("POST", "/v1/audio/speech", json=request) as answer:
            rate = int(answer.headers.get("x-sample-rate", 24_000)) * _SAMPLE_BYTES
            played_out = 0.0  # when what has come so far has been played
            async for chunk in answer.aiter_bytes():
                now = time.perf_counter() - start
                if not size:
                    heard.first_audio = played_out = now
                elif now > played_out:
                    heard.dry += 1
                    heard.dry_seconds += now - played_out
                    played_out = now
                size += len(chunk)
                played_out += len(chunk) / rate
            heard.audio = size / rate
            heard.status = answer.status_code if size else 0
    except httpx.HTTPError:
        heard.status = 0
    heard.total = time.perf_counter() - start
    return heard


async def _ask_codes(client: httpx.AsyncClient, body: dict[str, Any]) -> Heard:
    heard = Heard()
    start = time.perf_counter()
    try:
        answer = await client.post("/v1/audio/speech", json={**body, "response_format": "codes"})
        heard.status = answer.status_code
        if answer.status_code == 200:
            heard.tokens = int(answer.json()["usage"]["output_tokens"])
    except httpx.HTTPError:
        heard.status = 0
    heard.total = time.perf_counter() - start
    return heard


_METRIC = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})? (\S+)$")


async def _metrics(client: httpx.AsyncClient) -> dict[str, float]:
    """The server's metrics, summed over their labels; none if it has none."""
    try:
        text = (await client.get("/metrics", follow_redirects=True)).text
    except httpx.HTTPError:
        return {}
    found: dict[str, float] = {}
    for line in text.splitlines():
        match = _METRIC.match(line)
        if match and not match[1].endswith("_bucket"):
            found[match[1]] = found.get(match[1], 0.0) + float(match[2])
    return found


def first_audio_bound(report: LoadReport, first_codes: int = 10) -> float:
    """What the time to first audio should stay below: first token, the first chunk's tokens, 1.5 batched decodes."""
    between = max(
        report.mean("vllm:inter_token_latency_seconds"), report.mean("vllm:time_per_output_token_seconds")
    )
    return (
        report.mean("neucodec_tts:time_to_first_token_seconds")
        + (first_codes - 1) * between
        + 1.5 * report.mean("neucodec_tts:decode_batch_seconds")
    )
