"""A server of one's own for as long as it is measured."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from neucodec_tts.errors import EngineError
from random_models import BABBLE_LAYERS, save_babbling_model

logger = logging.getLogger(__name__)

_START_SECONDS = 900
_END_SECONDS = 60


@dataclass(frozen=True)
class OwnServer:
    """The address of the server.

    Attributes:
        url: on this machine.
        model: folder or hub id of what it serves.
        pid: of its first process.
    """

    url: str
    model: str
    pid: int


@contextmanager
def own_server(
    model: str | None = None,
    options: Sequence[str] = (),
    *,
    layers: int = BABBLE_LAYERS,
    environment: Mapping[str, str] | None = None,
    start_seconds: float = _START_SECONDS,
) -> Iterator[OwnServer]:
    """Start ``neucodec-tts serve`` on this machine alone, wait until it is healthy, and stop it in the end.

    Args:
        model: folder or hub id; without it a small one of random weights.
        options: for vLLM.
        layers: of the model of random weights.
        environment: of the server, beside this process' own.
        start_seconds: after which it is given up.

    Raises:
        EngineError: it did not start; the message has the end of what it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="neucodec-tts-bench-") as name:
        folder = Path(name)
        if model is None:
            save_babbling_model(folder / "model", layers=layers)
        served = model or str(folder / "model")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "neucodec_tts", "serve", "--model", served, "--port", str(port)]
        log = folder / "server.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [*command, "--", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "VLLM_NO_USAGE_STATS": "1", **(environment or {})},
                start_new_session=True,  # so that Ctrl-C ends it here and not by itself
            )
        try:
            deadline = time.monotonic() + start_seconds
            while not _healthy(url):
                if process.poll() is not None:
                    raise EngineError(f"the server ended before it had started: {end_of_log(log)}")
                if time.monotonic() > deadline:
                    raise EngineError(
                        f"the server did not start within {start_seconds:g} s: {end_of_log(log)}"
                    )
                time.sleep(0.5)
            yield OwnServer(url, served, process.pid)
        finally:
            _stop(process)


def _healthy(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def end_of_log(log: Path) -> str:
    """The last lines of what a program has written."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-5:])[-1500:] or "it wrote nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        logger.warning("the server did not end by itself and was killed")
    # Its children belong to its group: without this an engine would outlive a killed server.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
