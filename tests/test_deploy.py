"""The image, the compose file and the dashboard, as far as they can be checked without Docker."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def checked(*command: str) -> None:
    """Run a linter of this environment; skips where it is not installed."""
    program = Path(sys.executable).parent / command[0]
    if not program.exists():
        pytest.skip(f"{command[0]} is not installed (make install brings it)")
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_by_hadolint():
    checked("hadolint", str(DEPLOY / "Dockerfile"))


def test_the_compose_file_by_its_schema():
    checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"))


def test_the_image_gets_all_that_the_wheel_is_made_of(tmp_path):
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    let_through = re.findall(r"^!(.+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert sorted(copied) == sorted(let_through)
    source = tmp_path / "source"
    source.mkdir()
    for name in copied:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheel")]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "wheel").glob("*.whl"))) == 1


def dashboard_metrics() -> set[str]:
    """The names of metrics in the dashboard's queries."""
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return {name for query in queries for name in re.findall(r"(?:neucodec_tts|vllm):\w+", query)}


def test_the_dashboard_shows_each_of_our_metrics_and_no_other():
    pytest.importorskip("vllm", reason="vLLM is not installed; the server uses what comes with it")
    from prometheus_client import REGISTRY

    from neucodec_tts_vllm.server.metrics import metrics

    metrics()
    families = [family for family in REGISTRY.collect() if family.name.startswith("neucodec_tts:")]
    kinds = {
        family.name: {"histogram": "_bucket|_sum|_count", "counter": "_total", "gauge": ""}[family.type]
        for family in families
    }
    shown = {name for name in dashboard_metrics() if name.startswith("neucodec_tts:")}
    for family, endings in kinds.items():
        mine = {name for name in shown if re.fullmatch(f"{family}({endings})", name)}
        assert mine, f"the dashboard does not show {family}"
        shown -= mine
    assert not shown
