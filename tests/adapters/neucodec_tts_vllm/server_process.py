"""A real server for the tests, started by ``neucodec-tts serve`` as anybody would."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

KEY = "a-key-for-tests"
MODEL = "nonsense"
ADAPTER = "other"
FOUND_ADAPTER, DAMAGED_ADAPTER = "found", "damaged"  # not named at the start, but in a folder of adapters
MAX_REQUESTS = 100
START_SECONDS = 400


@dataclass(frozen=True)
class Server:
    """Where it is, and what it has written.

    While there is a file `broken_codes` with a list of codes, its codec fails on whatever begins with them.
    """

    url: str
    log: Path
    voices: Path
    broken_codes: Path
    process: subprocess.Popen[bytes]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {KEY}"}

    def client(self, **options) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=120, **options)

    @property
    def block_size(self) -> int:
        """Tokens in a block of vLLM's prefix cache."""
        (sample,) = self._samples("vllm:cache_config_info")
        return int(sample.labels["block_size"])

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(sample.value for sample in self._samples(name) if labels.items() <= sample.labels.items())

    def _samples(self, name: str) -> list[Sample]:
        from prometheus_client.parser import text_string_to_metric_families

        text = httpx.get(f"{self.url}/metrics", timeout=60).text
        families = text_string_to_metric_families(text)
        return [sample for family in families for sample in family.samples if sample.name == name]


@contextmanager
def starting_server(model: Path, adapter: Path, certificate: Path, folder: Path) -> Iterator[Server]:
    """Start it, and stop it in the end; `wait_until_healthy` before it is used.

    Args:
        model: that it serves as `MODEL`.
        adapter: a LoRA adapter that it serves as `ADAPTER`, and finds as `FOUND_ADAPTER` when that is asked for.
        certificate: that it trusts when it fetches a recording.
        folder: for what it writes.
    """
    broken = folder / "broken_codes.json"
    to_be_found = folder / "adapters"
    shutil.copytree(adapter, to_be_found / FOUND_ADAPTER)
    shutil.copytree(adapter, to_be_found / DAMAGED_ADAPTER)
    (to_be_found / DAMAGED_ADAPTER / "adapter_model.safetensors").write_bytes(b"no weights")
    environment = {
        "VLLM_API_KEY": KEY,
        "NEUCODEC_TTS_MAX_TEXT_CHARS": "2000",
        "NEUCODEC_TTS_MAX_UPLOAD_BYTES": "2000000",
        "NEUCODEC_TTS_MAX_REQUESTS": str(MAX_REQUESTS),
        "NEUCODEC_TTS_WATERMARK": "0",
        "NEUCODEC_TTS_REF_AUDIO_HOSTS": "localhost,127.0.0.1",
        "SSL_CERT_FILE": str(certificate),
        "VLLM_PLUGINS": "lora_filesystem_resolver",
        "VLLM_LORA_RESOLVER_CACHE_DIR": str(to_be_found),
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "BROKEN_CODES": str(broken),
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).parent / "broken_codec"), os.environ.get("PYTHONPATH")])
        ),
    }
    for_vllm = ["--served-model-name", MODEL, "--max-num-seqs", "128"]
    # With no slot to spare, vLLM 0.32's CPU build applies an adapter to the model's own requests in the same batch.
    for_vllm += ["--max-loras", "3"]
    for_vllm += ["--enable-lora", "--max-lora-rank", "8", "--lora-modules", f"{ADAPTER}={adapter}"]
    with serving(["--model", str(model)], for_vllm, environment, folder) as server:
        yield server


@contextmanager
def serving(
    model: list[str],
    for_vllm: list[str],
    environment: dict[str, str],
    folder: Path,
    python: str = sys.executable,
) -> Iterator[Server]:
    """Start ``neucodec-tts serve``, and stop it in the end; `wait_until_healthy` before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log, voices = folder / "server.log", folder / "voices"
    command = [python, "-m", "neucodec_tts", "serve", *model]
    command += ["--port", str(port), "--voices", str(voices), "--", *for_vllm]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", **environment}
    with open(log, "wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield Server(f"http://127.0.0.1:{port}", log, voices, folder / "broken_codes.json", process)
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
