"""A real server for the agents, in the Python that has vLLM."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters.neucodec_tts_vllm.server_process import KEY, Server, serving, wait_until_healthy

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The built-in model, served by the Python of $NEUCODEC_TTS_SERVER_PYTHON, or of ``.venv``."""
    python = os.environ.get("NEUCODEC_TTS_SERVER_PYTHON") or str(ROOT / ".venv" / "bin" / "python")
    found = Path(python).exists() and subprocess.run([python, "-c", "import vllm"], capture_output=True)
    if not found or found.returncode:
        pytest.skip(f"vLLM is not installed for {python} (make install brings its CPU build)")
    environment = {"VLLM_API_KEY": KEY, "NEUCODEC_TTS_WATERMARK": "0", "VLLM_NO_USAGE_STATS": "1"}
    folder = tmp_path_factory.mktemp("server")
    with serving(["--model", "tiny"], [], environment, folder, python) as server:
        wait_until_healthy(server)
        yield server
