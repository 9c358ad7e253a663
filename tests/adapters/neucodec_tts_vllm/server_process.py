"""A real server for the tests, started by ``neucodec-tts serve`` as anybody would."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

KEY = "a-key-for-tests"
MODEL = "nonsense"
START_SECONDS = 400


@dataclass(frozen=True)
class Server:
    """Where it is, and what it has written."""

    url: str
    log: Path
    voices: Path
    process: subprocess.Popen[bytes]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {KEY}"}

    def client(self, **options) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=120, **options)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        total = 0.0
        for line in httpx.get(f"{self.url}/metrics", timeout=60).text.splitlines():
            head, _, value = line.rpartition(" ")
            if head.partition("{")[0] == name and all(
                f'{key}="{text}"' in head for key, text in labels.items()
            ):
                total += float(value)
        return total


@contextmanager
def starting_server(model: Path, folder: Path) -> Iterator[Server]:
    """Start it, and stop it in the end; `wait_until_healthy` before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log, voices = folder / "server.log", folder / "voices"
    environment = {
        **os.environ,
        "VLLM_API_KEY": KEY,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "NEUCODEC_TTS_MAX_TEXT_CHARS": "2000",
        "NEUCODEC_TTS_MAX_UPLOAD_BYTES": "2000000",
        "NEUCODEC_TTS_MAX_REQUESTS": "100",
        "NEUCODEC_TTS_REF_AUDIO_HOSTS": "localhost",
    }
    command = [
        sys.executable,
        "-m",
        "neucodec_tts",
        "serve",
        str(model),
        "--port",
        str(port),
        "--voices",
        str(voices),
    ]
    command += ["--", "--served-model-name", MODEL, "--max-num-seqs", "128"]
    with open(log, "wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    server = Server(f"http://127.0.0.1:{port}", log, voices, process)
    try:
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_healthy(server: Server) -> None:
    """Wait until it answers; it takes a minute or two."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(f"the server ended:\n{server.log.read_text(errors='replace')[-4000:]}")
        try:
            if httpx.get(f"{server.url}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"the server did not start:\n{server.log.read_text(errors='replace')[-4000:]}")
