"""A small real HTTP server with the routes of a speech server; what it says is noise, different for each request."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from zlib import crc32

import numpy as np

RATE = 24_000
FRAME = RATE // 50


class SpeechServer(ThreadingHTTPServer):
    """Streams noise; `answer` may be replaced to send something else.

    Attributes:
        frames: length of what it says.
        key: that it wants, if any.
        bodies: of all requests, by path.
        answer: gives the parts of the sound of a request, after how many times its seed was asked for before.
        health: is called before ``/health`` is answered.
        refuse: gives status and error of a request by its path and body, None if it is as it should be.
        active: requests that are being answered.
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.frames = 20
        self.key: str | None = None
        self.root: str | None = None
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.asked: Counter[int] = Counter()
        self.lock = threading.Lock()
        self.answer: Callable[[dict[str, Any], int], Iterator[bytes] | tuple[int, str]] = self.speech
        self.health: Callable[[], None] = lambda: None
        self.refuse: Callable[[str, bytes], tuple[int, dict[str, Any]] | None] = refusal
        self.active = 0
        self.tokens = 0
        self.cache = Counter[str]()  # prompt tokens, as vLLM counts them
        self.texts: set[str] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client may go whenever it likes
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def sound(self, text: str, seed: int, frames: int | None = None) -> np.ndarray:
        noise = np.random.default_rng([crc32(text.encode()), seed])
        return noise.integers(-20_000, 20_000, (frames or self.frames) * FRAME).astype("<i2")

    def speech(self, body: dict[str, Any], before: int) -> Iterator[bytes] | tuple[int, str]:
        """The sound in parts of an odd number of bytes."""
        data = self.sound(body["input"], body["seed"], body.get("max_new_tokens")).tobytes()
        return (data[start : start + 5001] for start in range(0, len(data), 5001))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SpeechServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/health":
            self.server.health()
            self._send(200, b"")
        elif self.path == "/v1/models":
            if self._allowed():
                served = {"id": "noise", "root": self.server.root}
                self._send(200, json.dumps({"object": "list", "data": [served]}).encode())
        elif self.path == "/metrics":
            with self.server.lock:
                tokens = self.server.tokens
                requests = len(self.server.bodies)
                cache = dict(self.server.cache)
            text = f'# HELP x y\nneucodec_tts:speech_tokens_total{{a="b"}} {tokens}\n'
            text += f"neucodec_tts:decode_batch_seconds_sum {0.01 * requests}\n"
            text += f"neucodec_tts:decode_batch_seconds_count {2 * requests}\nprocess_resident_memory_bytes 1e+08\n"
            text += f"neucodec_tts:active_requests {self.server.active}\n"
            text += "neucodec_tts:event_loop_worst_stall_seconds 0.25\n"
            text += f"neucodec_tts:decode_batch_size_sum {6 * requests}\n"
            for name, value in cache.items():
                text += f'vllm:prefix_cache_{name}_total{{engine="0"}} {value}\n'
            self._send(200, text.encode())
        else:
            self._send(404, b"{}")

    def do_DELETE(self) -> None:
        self._send(404, json.dumps(error("there is no such voice")).encode())

    def do_POST(self) -> None:
        with self.server.lock:
            self.server.active += 1
        try:
            self._post()
        finally:
            with self.server.lock:
                self.server.active -= 1

    def _post(self) -> None:
        data = self._body()
        if not self._allowed():
            return
        if refused := self.server.refuse(self.path, data):
            self._send(refused[0], json.dumps(refused[1]).encode())
            return
        try:
            body = json.loads(data)
        except ValueError:
            body = {}
        if "input" not in body and "prompt" not in body:
            self._send(200, b"{}")
            return
        body.setdefault("seed", 0)
        with self.server.lock:
            self.server.bodies.append((self.path, body))
            if self.path.endswith("/speech"):
                before = self.server.asked[body["seed"]]
                self.server.asked[body["seed"]] += 1
                self.server.tokens += body.get("max_new_tokens") or self.server.frames
                self.server.cache["queries"] += 100
                self.server.cache["hits"] += 90 if body["input"] in self.server.texts else 25
                self.server.texts.add(body["input"])
        if self.path.endswith("/completions"):
            self._complete(body)
            return
        answer = self.server.answer(body, before)
        if isinstance(answer, tuple):
            self._send(answer[0], json.dumps({"error": {"message": answer[1]}}).encode())
            return
        self._begin("audio/pcm", {"X-Sample-Rate": str(RATE)})
        try:
            for part in answer:
                self._part(part)
        except ConnectionAbortedError:  # the test wants it cut off
            self.close_connection = True
            return
        self._part(b"")

    def _body(self) -> bytes:
        if (length := self.headers["content-length"]) is not None:
            return self.rfile.read(int(length))
        parts = []
        while size := int(self.rfile.readline() or b"0", 16):
            parts.append(self.rfile.read(size + 2)[:-2])
        return b"".join(parts)

    def _complete(self, body: dict[str, Any]) -> None:
        tokens = list(range(self.server.frames))
        if not body["stream"]:
            self._send(200, json.dumps({"choices": [{"token_ids": tokens}]}).encode())
            return
        self._begin("text/event-stream", {})
        for token in tokens:
            self._part(f"data: {json.dumps({'choices': [{'token_ids': [token]}]})}\n\n".encode())
        self._part(b"data: [DONE]\n\n")
        self._part(b"")

    def _allowed(self) -> bool:
        if self.server.key in (None, (self.headers.get("authorization") or "").removeprefix("Bearer ")):
            return True
        self._send(401, b'{"error": {"message": "Unauthorized"}}')
        return False

    def _begin(self, kind: str, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in {"Content-Type": kind, "Transfer-Encoding": "chunked", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _part(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def error(message: str) -> dict[str, Any]:
    """In OpenAI's shape."""
    return {"error": {"message": message}}


def refusal(path: str, data: bytes) -> tuple[int, dict[str, Any]] | None:
    """What a careful server says of a request that it refuses."""
    if len(data) > 20_000_000:
        return 413, error("too large")
    if path.endswith("/voices"):
        return 400, error("no voice")
    try:
        body = json.loads(data, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        return 400, error("no JSON")
    if path.endswith("/batch"):
        return None
    if not isinstance(body, dict):
        return 400, error("no object")
    text = body.get("input") or body.get("prompt")
    unusual = "ref_audio" in body or body.get("voice") or body.get("response_format", "pcm") != "pcm"
    values = [body.get(name, 1) for name in ("speed", "temperature", "top_p", "max_new_tokens")]
    if unusual or None in values or min(values) <= 0 or body.get("seed", 0) > 2**63:
        return 400, error("no such thing")
    if isinstance(text, str) and (not text.strip(" .") or len(text) > 20_000):
        return 400, error("no such text")
    return None if text else (400, error("no text"))


@contextmanager
def running() -> Iterator[SpeechServer]:
    server = SpeechServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
