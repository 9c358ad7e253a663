"""The scripts that make the environments: what they detect, and when they have nothing to do."""

from __future__ import annotations

from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@pytest.fixture
def venvs(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import venvs

    monkeypatch.delenv("TORCH", raising=False)
    return venvs


@pytest.fixture
def nvidia_smi(monkeypatch, tmp_path):
    """Puts a driver tool on PATH that answers as told."""

    def put(answer: str, status: int) -> None:
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\necho '{answer}'\nexit {status}\n")
        tool.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return put


@pytest.mark.parametrize(
    ("answer", "status", "cpu"),
    [
        ("GPU 0: NVIDIA H100 (UUID: GPU-1)", 0, False),
        ("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.", 9, True),
        ("No devices found", 0, True),
    ],
)
def test_torch_build_follows_the_gpu(venvs, nvidia_smi, answer, status, cpu):
    nvidia_smi(answer, status)
    assert venvs.wants_cpu_build() is cpu


def test_torch_build_can_be_chosen(venvs, nvidia_smi, monkeypatch):
    nvidia_smi("GPU 0: NVIDIA H100 (UUID: GPU-1)", 0)
    monkeypatch.setenv("TORCH", "cpu")
    assert venvs.wants_cpu_build() is True
    monkeypatch.setenv("TORCH", "rocm")
    with pytest.raises(venvs.SetupError, match="rocm"):
        venvs.wants_cpu_build()


def test_an_environment_from_empty_to_complete_and_stale(venvs, monkeypatch, tmp_path):
    monkeypatch.setattr(venvs, "ROOT", tmp_path)
    needs = tmp_path / "pyproject.toml"
    needs.write_text("dependencies = []")
    environment = venvs.Environment(".venv", [needs])
    assert not environment.is_complete()
    environment.create()
    assert not environment.is_complete(), "an empty environment must not count as complete"
    environment.mark_complete()
    assert environment.is_complete()
    needs.write_text("dependencies = ['torch']")
    assert not environment.is_complete()
    environment.create()
    assert environment.python.exists()
    # What pip says when it fails is passed on.
    with pytest.raises(venvs.SetupError, match=r"(?s)the missing wheel could not be installed.*no-such-file"):
        environment.install("the missing wheel", "--no-index", str(tmp_path / "no-such-file.whl"))
