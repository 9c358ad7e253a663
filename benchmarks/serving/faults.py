"""Clients as they should not be, and what a server makes of them: they go, do not read, ask for what is refused."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.client import Answer, Stage
from serving.comparison import compare

if TYPE_CHECKING:
    from serving.client import SpeechClient
    from serving.comparison import Samples, Verdict
    from serving.requests import SpeechCall

SPEECH = "/v1/audio/speech"
VOICES = "/v1/audio/voices"
_RATE = 16_000  # Hz, of recordings that are sent
_LONG = "This text has several sentences. It goes on and on. " * 20
_BATCHES, _BATCH = 40, 64
_SLOW_SECONDS = 3.0
_SETTLED_SECONDS = 60.0
_ACTIVE = ("neucodec_tts:active_requests", "vllm:num_requests_running", "vllm:num_requests_waiting")


@dataclass(frozen=True)
class Fault:
    """The result of one kind of bad behaviour.

    Attributes:
        name: of the kind.
        requests: how many.
        answers: how many of each status; "none" are those whose client had gone, or got no answer.
        wrong: those that were not answered as such a request should be, in OpenAI's shape.
        worst: seconds until the last answer; None where there was none.
        settled: seconds from the end of the last of them until the server worked on nothing; None if it did not
            within a minute, 0 where its metrics do not tell.
        served: whether the next request, which is as it should be, got the same sound as before all this.
    """

    name: str
    requests: int
    answers: dict[str, int]
    wrong: int
    worst: float | None
    settled: float | None
    served: bool

    @property
    def whole(self) -> bool:
        """True if the server took no harm."""
        return not self.wrong and self.settled is not None and self.served


async def measure_faults(
    client: SpeechClient,
    call: SpeechCall,
    reference: Samples,
    *,
    count: int = 8,
    advance: Callable[[str], None] = lambda what: None,
) -> list[Fault]:
    """Behave badly towards a server, in one way after the other, and see whether it still serves others.

    Args:
        client: talks to it.
        call: a request as it should be.
        reference: the sound of it, alone; int16 (n,).
        count: clients of each kind that hang up or do not read.
        advance: told what begins.
    """
    return await _Faults(client, call, reference, count, advance).run()


@dataclass(frozen=True)
class _Bad:
    """A request that deserves to be refused: its path, what httpx takes of it, and the statuses that fit."""

    path: str
    sent: dict[str, Any]
    fitting: tuple[int, ...] = (400,)
    method: str = "POST"


class _Faults:
    def __init__(
        self,
        client: SpeechClient,
        call: SpeechCall,
        reference: Samples,
        count: int,
        advance: Callable[[str], None],
    ) -> None:
        self._client = client
        self._call = call
        self._reference = reference
        self._count = count
        self._advance = advance

    async def run(self) -> list[Fault]:
        found = [await self._leavers(stage) for stage in Stage]
        found.append(await self._slow())
        for name, bad in (
            ("bodies and values that are none", self._malformed()),
            ("names that are paths", self._paths()),
            ("recordings that are none", self._recordings()),
            ("recordings from files and private addresses", self._addresses()),
            ("an hour of sound in 0.2 MB", [self._recorded(await asyncio.to_thread(_hour))]),
            ("bodies of 64 MB, texts of 1 MB", self._oversize()),
        ):
            found.append(await self._refused(name, bad))
        found.append(await self._flood())
        return found

    # Gone, or slow

    async def _leavers(self, stage: Stage) -> Fault:
        name = self._begin(f"hang up {stage.value}")
        ways = (True,) if stage is Stage.AMID_SOUND else (True, False)
        bodies = [{**self._long, "stream": ways[number % len(ways)]} for number in range(self._count)]
        answers = await asyncio.gather(*(self._client.leave(body, stage) for body in bodies))
        return await self._ended(name, answers, [answer.status is None for answer in answers])

    async def _slow(self) -> Fault:
        """Listeners who take nothing for a while, and one meanwhile who is served as ever."""
        name = self._begin("listen to nothing, others meanwhile")
        body = {**self._long, "stream": True}
        slow = [self._client.leave(body, Stage.AMID_SOUND, after=_SLOW_SECONDS) for _ in range(self._count)]
        heard, left = await asyncio.gather(self._client.speak(self._call.body), asyncio.gather(*slow))
        # Beside others a language model's probabilities may round to another token.
        served = heard.error is None and self._verdict(heard.samples) in ("equal", "diverged")
        answers = [Answer(200 if served else None, heard.total), *left]
        return await self._ended(name, answers, [served, *(answer.status is None for answer in left)])

    @property
    def _long(self) -> dict[str, Any]:
        return {**self._call.body, "input": _LONG, "response_format": "pcm"}

    # Refused

    def _malformed(self) -> list[_Bad]:
        bodies = [b"", b"{", b"[]", b"5", b"\xff\xfe", b"[" * 100_000]
        values: list[dict[str, Any]] = [
            {"input": None},
            {"input": ""},
            {"input": " ... "},
            {"speed": float("nan")},
            {"temperature": float("inf")},
            {"top_p": 0},
            {"max_new_tokens": 0},
            {"seed": 2**70},
            {"response_format": "midi"},
        ]
        whole = [json.dumps({**self._call.body, **changed}).encode() for changed in values]
        return [_Bad(SPEECH, {"content": body}) for body in (*bodies, *whole)]

    def _paths(self) -> list[_Bad]:
        names = ["../../etc/passwd", "/etc/passwd", "..", "a\0b", "~root"]
        spoken = [_Bad(SPEECH, {"json": {**self._call.body, "voice": name}}, (400, 404)) for name in names]
        sample = _wav(0.1 * np.random.default_rng(0).standard_normal(4 * _RATE))
        uploads = [
            _Bad(
                VOICES,
                {
                    "data": {"name": name, "ref_text": "Hello.", "consent": "yes"},
                    "files": {"audio_sample": ("../../a.wav", sample, "audio/wav")},
                },
            )
            for name in names
        ]
        return [*spoken, *uploads, _Bad(f"{VOICES}/..%5C..%5Cpasswd", {}, (400, 404), "DELETE")]

    def _recordings(self) -> list[_Bad]:
        random = np.random.default_rng(0)
        return [
            self._recorded(sound)
            for sound in (
                b"",
                b"RIFF",
                random.bytes(50_000),
                b"<html>not found</html>",
                _wav(np.zeros(0)),
                _wav(np.zeros(5 * _RATE)),
            )
        ]

    def _recorded(self, sound: bytes) -> _Bad:
        url = f"data:audio/wav;base64,{base64.b64encode(sound).decode()}"
        return _Bad(SPEECH, {"json": self._cloning(url)}, (400, 413))

    def _cloning(self, url: str) -> dict[str, Any]:
        body = {name: value for name, value in self._call.body.items() if name != "voice"}
        return {**body, "ref_audio": url, "ref_text": "Hello."}

    def _addresses(self) -> list[_Bad]:
        urls = [
            "file:///etc/passwd",
            "http://127.0.0.1:1/a.wav",
            "http://169.254.169.254/latest",
            "http://[::1]/a.wav",
            "ftp://example.org/a.wav",
        ]
        return [_Bad(SPEECH, {"json": self._cloning(url)}, (400, 403)) for url in urls]

    def _oversize(self) -> list[_Bad]:
        async def endless() -> AsyncIterator[bytes]:
            for _ in range(640):
                yield b" " * 100_000

        return [
            _Bad(SPEECH, {"content": b" " * 64_000_000}, (400, 413)),
            _Bad(SPEECH, {"content": endless()}, (400, 413)),
            _Bad(SPEECH, {"json": {**self._call.body, "input": "long " * 200_000}}, (400, 413)),
        ]

    async def _refused(self, name: str, bad: Sequence[_Bad]) -> Fault:
        self._begin(name)
        answers = [await self._client.ask(item.method, item.path, **item.sent) for item in bad]
        pairs = zip(answers, bad, strict=True)
        right = [answer.status in item.fitting and answer.proper for answer, item in pairs]
        return await self._ended(name, answers, right)

    async def _flood(self) -> Fault:
        """More than any server takes, all at once: each is spoken or refused."""
        name = self._begin(f"{_BATCHES * _BATCH:,} texts at once, {_BATCH} a request")
        item = {**self._call.body, "response_format": "pcm", "max_new_tokens": 5}
        body = {"items": [{**item, "seed": number} for number in range(_BATCH)]}
        asked = [self._client.ask("POST", f"{SPEECH}/batch", json=body) for _ in range(_BATCHES)]
        answers = await asyncio.gather(*asked)
        right = [answer.status in (200, 400, 429) and answer.proper for answer in answers]
        return await self._ended(name, answers, right)

    # The outcome

    def _begin(self, name: str) -> str:
        self._advance(f"clients that should not be: {name}")
        return name

    async def _ended(self, name: str, answers: Sequence[Answer], right: Sequence[bool]) -> Fault:
        settled = await self._settled()
        heard = await self._client.speak(self._call.body)
        return Fault(
            name,
            len(answers),
            dict(sorted(Counter(str(answer.status or "none") for answer in answers).items())),
            right.count(False),
            max((answer.seconds for answer in answers if answer.status is not None), default=None),
            settled,
            heard.error is None and self._verdict(heard.samples) == "equal",
        )

    async def _settled(self) -> float | None:
        start = self._client.clock()
        while self._client.clock() - start < _SETTLED_SECONDS:
            metrics = await self._client.metrics()
            if not any(metrics.get(name, 0) for name in _ACTIVE):
                return self._client.clock() - start if any(name in metrics for name in _ACTIVE) else 0.0
            await asyncio.sleep(0.02)
        return None

    def _verdict(self, samples: Samples) -> Verdict:
        return compare(samples, 0, [self._reference])


def describe(faults: Sequence[Fault]) -> list[str]:
    """A table of what came of each kind, as lines."""
    lines = [
        f"{'clients that should not be':<42}{'requests':>8}  {'answers':<18}{'slowest':>8}{'at rest after':>15}"
        f"{'wrong':>7}  the next"
    ]
    for fault in faults:
        answers = ", ".join(f"{number} x {status}" for status, number in fault.answers.items())
        worst = "-" if fault.worst is None else f"{fault.worst:.2f} s"
        settled = "never" if fault.settled is None else f"{fault.settled:.2f} s"
        lines.append(
            f"{fault.name:<42}{fault.requests:8d}  {answers:<18}{worst:>8}{settled:>15}{fault.wrong:7d}  "
            f"{'as before' if fault.served else 'not as before'}"
        )
    return lines


def _wav(samples: np.ndarray) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, _RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _hour() -> bytes:
    import soundfile

    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", _RATE, 1, format="FLAC", subtype="PCM_16") as sound:
        minute = np.zeros(60 * _RATE, np.int16)
        for _ in range(60):
            sound.write(minute)
    return file.getvalue()
