"""The examples and the benchmark of agents, run as a user would, on a real server."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import pytest

pytest.importorskip(
    "livekit.agents", reason="LiveKit is not installed here; `make agents` makes .venv-agents"
)

from tests.adapters.neucodec_tts_vllm.server_process import KEY

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def started(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=ROOT)


@pytest.mark.parametrize("name", ["livekit", "pipecat"])
def test_an_agent_answers_in_the_terminal(name, server, tmp_path):
    pytest.importorskip(name, reason="Pipecat is not installed here; it needs Python 3.11")
    wav = tmp_path / "answer.wav"
    done = started(
        f"examples/agents/{name}_agent.py", "--url", server.url, "--key", KEY, "--line", "Hello", "--output", wav
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "first sound after" in done.stdout
    with wave.open(str(wav)) as file:
        assert file.getframerate() == 24_000
        assert file.getnframes() > 24_000
        assert any(file.readframes(24_000))


def test_the_benchmark_measures_both(server):
    pytest.importorskip(
        "livekit.agents", reason="LiveKit is not installed here; `make agents` makes .venv-agents"
    )
    pytest.importorskip("pipecat", reason="Pipecat is not installed here; `make agents` makes .venv-agents")
    options = ["--key", KEY, "--rounds", 1, "--interruptions", 4, "--json"]
    done = started("benchmarks/voice_agents.py", server.url, *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["first_sound"]) == 7
    assert all(each["median_s"] > 0 for each in found["first_sound"].values())
    assert (found["silence"]["clean"], found["silence"]["of"]) == (4, 4)
